"""What must hold when the adversary has ended: everything is there, once, and as if nothing had happened."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import processes
from chaos.world import World
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims
from sft_sweeps.store.answers import ITEMS
from sft_sweeps.store.store import RECORD, Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import sweeps
from sft_sweeps.tracking import metrics

SECONDS_TO_END = 60.0  # for what lives on a moment when a launch was killed


@dataclass
class Finished:
    """A thread that notes every record of a stage: the moments at which it was finished, by its folder's name."""

    world: World
    leaving: threading.Event
    seen: dict[str, set[str]] = field(default_factory=dict)

    def watch(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.leaving.is_set():
            for path in self.world.store.glob(f"stages/*/{RECORD}"):
                with suppress(OSError, ValueError, TypeError, KeyError):
                    self.seen.setdefault(path.parent.name, set()).add(json.loads(path.read_text())["finished"])
            time.sleep(0.3)


def plans(store: Path) -> list[Plan]:
    return [sweep.plan() for sweep in sweeps(Store(store))]


def stages(store: Path) -> list[Stage]:
    return list({stage.id: stage for plan in plans(store) for stage in plan.stages}.values())


def undone(store: Path, name: str = "") -> list[str]:
    """What is not done of any sweep of a store, or of that of one name."""
    found = []
    for sweep in sweeps(Store(store)):
        if name and f"-{name}-" not in sweep.name:
            continue
        plan = sweep.plan()
        states = survey(plan, Store(store)).states
        items = (*plan.subjects, *plan.scores)
        found += [
            f"{item.id}: {states[item.id].state} {states[item.id].why}"
            for item in items
            if states[item.id].state != "done"
        ]
    return found


def trained_twice(seen: dict[str, set[str]], cut: Counter[str]) -> Iterator[str]:
    """Stages that were finished more often than their records were cut by a fault, and once."""
    for name, moments in seen.items():
        if len(moments) > 1 + cut[name]:
            yield f"{name} was finished {len(moments)} times: {', '.join(sorted(moments))}"


def lines_lost_or_doubled(store: Path) -> Iterator[str]:
    for stage in stages(store):
        steps = [line["step"] for line in metrics.read(Store(store).folder(stage))]
        if steps != list(range(1, stage.steps + 1)):
            wrong = Counter(steps)
            lost = [step for step in range(1, stage.steps + 1) if not wrong[step]]
            yield f"{stage.label}-{stage.id}: {len(steps)} lines for {stage.steps} steps; lost: {lost[:10]}"


def differences(store: Path, undisturbed: Path) -> Iterator[str]:
    """Weights, losses of every step and answers that are not those of the undisturbed store, bit for bit."""
    here, there = Store(store), Store(undisturbed)
    for plan in plans(store):
        for stage in plan.stages:
            yield from _differ(stage.label, "weights", lambda of, s=stage: _record(of, s).get("digest"), here, there)
            yield from _differ(stage.label, "losses", lambda of, s=stage: _losses(of, s), here, there)
        for score in plan.scores:
            label = f"{score.generation.subject.label} on {score.generation.benchmark.name}"
            yield from _differ(label, "score", lambda of, s=score: _record(of, s).get("score"), here, there)
            yield from _differ(label, "answers", lambda of, g=score.generation: _answers(of, g), here, there)


def _differ(label: str, what: str, of: Callable[[Store], Any], here: Store, there: Store) -> Iterator[str]:
    values = of(here), of(there)
    if values[0] is None or values[0] != values[1]:
        yield f"{label}: {what} differ: {str(values[0])[:200]}, undisturbed {str(values[1])[:200]}"


def _record(store: Store, item: Any) -> dict[str, Any]:
    return store.record(item) or {}


def _answers(store: Store, generation: Any) -> str:
    """Of the answers as they lie: once they are scored nobody needs their record, and one that was cut stays so."""
    return hashlib.sha256((store.write_folder(generation) / ITEMS).read_bytes()).hexdigest()


def _losses(store: Store, stage: Stage) -> list[float]:
    return [line["loss"] for line in metrics.read(store.folder(stage))]


def left_over(world: World) -> list[str]:
    """Processes of ours, and jobs in the queue, that are still there after a while."""
    end = time.monotonic() + SECONDS_TO_END
    while (found := _left(world)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _left(world: World) -> list[str]:
    found = [f"process {one.pid}: {one.name}" for one in processes.ours()]
    if world.cluster:
        found += [f"job {line}" for line in world.slurm("squeue", "-h", "-p", "low", "-o", "%i %j %T %r").splitlines()]
    return found


def locked(store: Path) -> list[str]:
    """Folders that nobody could claim, though nothing works there. The dead leave claims, which others must get past.

    One that cannot be read and was touched lately is given the time in which a heartbeat would put it right.
    """
    end = time.monotonic() + claims.SILENT_SECONDS + 5.0
    while (found := list(_locked(store))) and time.monotonic() < end:
        time.sleep(1.0)
    return found


def _locked(store: Path) -> Iterator[str]:
    for folder in {path.parent for path in store.glob("[ms]*s/**/claim-*.json")}:
        if claim := claims.take(folder, "nobody's"):
            claims.release(folder, claim)
        else:
            yield f"{folder.relative_to(store)}: {getattr(claims.holder(folder), 'who', '')}"


def said(problems: Sequence[str], most: int = 12) -> Iterator[str]:
    """The first of some problems, and how many more there are."""
    yield from problems[:most]
    if len(problems) > most:
        yield f"... and {len(problems) - most} more"
