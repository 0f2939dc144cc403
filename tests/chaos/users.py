"""Two users of one store, whose sweeps share stages. Each types the same command again until its sweep is done."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from chaos.world import World
from sft_sweeps.store.claims import SILENT_SECONDS

STUDY = (
    *("model=mini", "data=mini", "train=mini", "data.sources.math.rows=96", "data.sources.code.rows=64"),
    *("data.sources.general.rows=80", "evaluate=mini", "evaluate.benchmarks=[mini_math,mini_code]"),
    *("evaluate.stages=final", "evaluate.examples=6", "evaluate.max_new_tokens=12"),
    *("cluster.processes=2", "cluster.threads=1", "plan.measure=false"),
)
MIXED, DMT, K = "mixed_sequential", "dmt", "1/4"  # both train on code and math first: one stage
SAVING = ("cluster.save_every_steps=5", "cluster.save_every_seconds=0")
EXPECTED = {0, 1, 2, 75, 130, -2, -9, -15}  # of a launch that others have killed, too
PAUSE = 0.5
# Of one sweep in a row, after the last fault, before it is given up. A claim that was cut short stands for somebody who
# works for as long as it may be his, and launches that find nothing else to do take two seconds.
LAUNCHES, PATIENCE_SECONDS = 40, 3 * SILENT_SECONDS


@dataclass(frozen=True)
class Line:
    """What a user types, but for the round."""

    user: str
    strategy: tuple[str, ...]
    cluster: tuple[str, ...]
    host: str = ""  # on which it is typed; empty: this machine

    def name(self, seed: int) -> str:
        return f"{self.user}{seed}"

    def words(self, world: World, seed: int, epochs: int) -> list[str]:
        """The command of one round: a sweep of its own, since `train.seed` is another."""
        where = (f"name={self.name(seed)}", f"output_dir={world.store}")
        round_ = (f"train.seed={seed}", f"train.epochs={epochs}")
        return [sys.executable, "launch.py", "-m", *STUDY, *self.strategy, *self.cluster, *SAVING, *round_, *where]


def undisturbed(store: Path, seeds: Collection[int], epochs: int) -> list[str]:
    """All that both users have launched, as one sweep on this machine, in another store."""
    where = ("cluster=local", "tracking=none", "name=undisturbed", f"output_dir={store}")
    rounds = (f"train.seed={','.join(map(str, sorted(seeds)))}", f"train.epochs={epochs}")
    return [sys.executable, "launch.py", "-m", *STUDY, f"strategy={MIXED},{DMT}", f"strategy.k={K}", *rounds, *where]


ANNA = Line("anna", (f"strategy={MIXED}",), ("cluster=local", "tracking=wandb"), "anna")
BEN = (f"strategy={DMT}", f"strategy.k={K}")
ON_SLURM = Line("ben", BEN, ("cluster=slurm", "cluster.partition=low", "cluster.time=120", "tracking=none"))
BESIDE = Line("ben", BEN, ("cluster=local", "tracking=none"), "ben")


@dataclass
class User:
    """A thread that launches. `quiet` is set after the last fault: the round that is on is the last one."""

    world: World
    line: Line
    epochs: int
    quiet: threading.Event
    leaving: threading.Event
    seed: int = 0
    rounds: list[int] = field(default_factory=list)
    launches: int = 0
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._live, name=self.line.user, daemon=True)

    @property
    def command(self) -> list[str]:
        return self.line.words(self.world, self.seed, self.epochs)

    @property
    def on_slurm(self) -> bool:
        return "cluster=slurm" in self.line.cluster

    def finish(self, seed: int) -> bool:
        """Launch the sweep of one round until it is done; whether it came to be."""
        self.seed, left, end = seed, LAUNCHES, time.monotonic() + PATIENCE_SECONDS
        if seed not in self.rounds:
            self.rounds.append(seed)
        while not self.leaving.is_set():
            self._wait_for_jobs()
            status, out = self._launch()
            if status == 0 and ("nothing to do" in out or not self.on_slurm):
                return True
            if self.quiet.is_set():
                left -= 1
            else:
                end = time.monotonic() + PATIENCE_SECONDS
            if left <= 0 and time.monotonic() > end:
                self.world.log.problem(
                    f"{self.line.name(seed)} is not done after {LAUNCHES - left} launches: {out[-400:]}"
                )
                return False
            time.sleep(PAUSE)
        return False

    def _live(self) -> None:
        seed = self.seed
        while not self.leaving.is_set():
            if self.finish(seed):
                self.world.log.say(f"{self.line.name(seed)} is done, after {self.launches} launches in all")
            if self.quiet.is_set():
                return
            seed += 1

    def _launch(self) -> tuple[int, str]:
        self.launches += 1
        said = self.world.folder / "said" / f"{self.line.user}-{self.launches:03d}.txt"
        self.world.typed[self.line.user] = (self.command, self.line.host)
        process = self.world.start(self.command, said, self.line.host)
        while process.poll() is None and not self.leaving.is_set():
            time.sleep(0.1)
        if process.poll() is None:
            process.kill()
        return process.wait(), judged(self.world, process, said)

    def _wait_for_jobs(self) -> None:
        """Until none of this user's jobs is in the queue, which must answer."""
        while self.on_slurm and not self.leaving.is_set():
            listed = self.world.slurm("squeue", "-h", "-o", "queued:%j", "--states=PD,R,CG,S,RQ")
            if "queued:" not in listed and self.world.slurm("scontrol", "ping"):
                return
            time.sleep(1.0)


def judged(world: World, process: subprocess.Popen[bytes], said: Path) -> str:
    """What a command of ours said; a traceback, or an exit status that means nothing, is a problem."""
    out = said.read_text(errors="replace")
    early = "\nKeyboardInterrupt\n" in f"{out}\n" and ", in main" not in out  # while Python imports, which may wrap it
    if "Traceback (most recent call last)" in out and not early:
        last = out.strip().splitlines()[-1]
        world.log.problem(f"a traceback in {said.name}: {last}")
    if process.returncode not in EXPECTED:
        world.log.problem(f"{said.name} ended with status {process.returncode}")
    return re.sub(r"\s+", " ", out)
