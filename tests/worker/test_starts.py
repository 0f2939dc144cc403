"""Two starts of one job at once, each a process: the earlier one ends, and what is left is the later one's."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import values
from common import ROOT
from outcomes import finish

from sft_sweeps.execution import TrainExecution
from sft_sweeps.identity import plain
from sft_sweeps.jobs.job import Job
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store
from sft_sweeps.tracking import metrics

CALL = "20260101-000000-sweep-abcdef.123456"
STEPS = 30
HELD = 12  # the step after which a start waits for `Starts.go_on`: no slow machine lets one end before the other begins
# In the place of training: a step each 0.05 s, a state every five, the record last; it dies at no step of its own.
START = """
import json, os, sys, time
from pathlib import Path
from sft_sweeps.files import fence
from sft_sweeps.store import claims, store
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.tracking.metrics import Metrics
from sft_sweeps.worker import dispatch, slurm_task
claims.HEARTBEAT_SECONDS = float(sys.argv[3])
slurm_task.PATIENCE_SECONDS = 5.0
def work(job, stop, rendezvous):
    folder, lines, start = job.folder, Metrics(job.folder), slurm_task.restarts()
    for step in range(resume_step(folder) + 1, STEPS + 1):
        time.sleep(0.05)
        lines.write({"step": step, "start": start, "seconds": 0.05})
        while step == HELD and not Path(sys.argv[1]).with_name("go").exists():
            time.sleep(0.01)
        if step % 5 == 0:
            fence.check()
            state = folder / "resume" / f".writing-{fence.token()}-{step}"
            state.mkdir(parents=True)
            (state / "start").write_text(str(start))
            fence.publish(state, folder / "resume" / f"step-{step:08d}")
    lines.close()
    fence.check()
    (folder / "model").mkdir()
    (folder / "model" / "start").write_text(str(start))
    store.write_record(folder, job.subject.payload, ["model/start", "metrics.jsonl"], {"start": start})
dispatch.do = work
slurm_task.run(Path(sys.argv[1]).read_bytes(), sys.argv[2], Path(sys.argv[1]))
""".replace("STEPS", str(STEPS)).replace("HELD", str(HELD))


class Starts:
    """A stage's job, submitted and claimed, and its starts."""

    def __init__(self, root: Path, heartbeat: float) -> None:
        store, stage = Store(root.absolute()), values.stage()
        finish(store, stage.parent)
        self.job, self.heartbeat = Job("train", str(store.root), stage, TrainExecution()), heartbeat
        self.folder = self.job.folder
        self.folder.mkdir(parents=True)
        assert claims.take(self.folder, "sweep", CALL)
        content = json.dumps(plain(self.job)).encode()
        self.path = store.root / "sweeps" / "s" / "jobs" / "train.json"
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(content)
        self.digest = hashlib.sha256(content).hexdigest()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, restart: int) -> "subprocess.Popen[bytes]":
        environment = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": CALL, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        if restart:
            environment["SLURM_RESTART_COUNT"] = str(restart)
        command = [sys.executable, "-c", START, str(self.path), self.digest, str(self.heartbeat)]
        self.processes.append(subprocess.Popen(command, env=environment))
        return self.processes[-1]

    def step(self) -> int:
        return int(metrics.last(self.folder).get("step", 0))

    def by_later(self) -> bool:
        """Whether the newest step is the later start's."""
        return metrics.last(self.folder).get("start") == 1

    def go_on(self) -> None:
        self.path.with_name("go").touch()

    def until(self, happens: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not happens():
            assert time.monotonic() < end, [path.read_text() for path in self.folder.glob("logs/*")]
            time.sleep(0.01)


@pytest.fixture(params=[0.2, 60.0], ids=["heartbeat", "between heartbeats"])
def starts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Starts]:
    made = Starts(tmp_path / "store", request.param)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def assert_only_the_later(starts: Starts, later: "subprocess.Popen[bytes]", earlier: "subprocess.Popen[bytes]") -> None:
    assert later.wait(60) == 0, [path.read_text() for path in starts.folder.glob("logs/*")]
    assert earlier.wait(60) == 1
    rows = metrics.read(starts.folder)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    by = [row["start"] for row in rows]
    assert by == sorted(by), "a line of the earlier start stands among those of the later one"
    assert (starts.folder / "model" / "start").read_text() == "1"
    record = starts.job.store.record(starts.job.subject)
    assert record is not None
    assert record["start"] == 1
    assert claims.files(starts.folder) == []
    assert not (starts.folder / "failure.json").exists()


def test_the_earlier_start_ends_when_a_later_one_comes(starts: Starts) -> None:
    earlier = starts.start(0)
    starts.until(lambda: starts.step() >= 7)
    later = starts.start(1)
    starts.until(starts.by_later)
    starts.go_on()
    assert_only_the_later(starts, later, earlier)


def test_one_that_stood_still_meanwhile_ends_when_it_goes_on(starts: Starts) -> None:
    earlier = starts.start(0)
    starts.until(lambda: starts.step() >= 7)
    earlier.send_signal(signal.SIGSTOP)
    later = starts.start(1)
    starts.until(starts.by_later)
    starts.go_on()
    starts.until(lambda: starts.step() > HELD)
    earlier.send_signal(signal.SIGCONT)
    assert_only_the_later(starts, later, earlier)


def test_one_that_comes_late_does_not_begin(starts: Starts) -> None:
    later = starts.start(1)
    starts.until(lambda: starts.step() >= 3)
    earlier = starts.start(0)
    earlier.wait(60)
    starts.go_on()
    assert_only_the_later(starts, later, earlier)


def test_a_start_that_comes_after_a_dead_one_continues(starts: Starts) -> None:
    dead = starts.start(0)
    starts.until(lambda: starts.step() >= 7)
    dead.kill()
    dead.wait()
    starts.go_on()
    assert starts.start(1).wait(60) == 0
    assert [row["start"] for row in metrics.read(starts.folder)] == [0] * 5 + [1] * (STEPS - 5)
    assert os.listdir(starts.folder / "resume") != []
