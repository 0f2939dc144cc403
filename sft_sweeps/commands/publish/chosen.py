"""Which models are published: one by any of its names, or those that the runs of a sweep end in."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.analysis.observations import LOWER_IS_BETTER
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.commands.show.known import Catalogue, Known
from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, find, sweeps


@dataclass(frozen=True)
class Chosen:
    """A stage whose model is published, called as its run is; `sweeps` have it planned, the newest first."""

    stage: Stage
    label: str
    sweeps: tuple[Sweep, ...]
    store: Store

    @property
    def plan(self) -> Plan:
        """The plan of the newest sweep."""
        return self.sweeps[0].plan()


@dataclass(frozen=True)
class Choice:
    """What is published: one model, or of a `sweep` those of its runs."""

    models: tuple[Chosen, ...]
    sweep: Sweep | None = None


def choose(root: Path, text: str, best: str = "") -> Choice:
    """By the beginning of a stage's id or its whole label, by part of a sweep's name, or by part of a label.

    `best` names a benchmark: of a sweep, the run that is best on it is chosen alone.
    """
    store = Store(root)
    catalogue, known = Catalogue(store), sweeps(store)
    if not catalogue.exactly(text) and any(text in sweep.name for sweep in known):
        return _of_sweep(find(store, text), root, best)
    if best:
        raise RequestError(f"--best chooses among the runs of a sweep, and '{text}' is none; leave it out")
    return Choice((_one(catalogue.find(text, [sweep.short_name for sweep in known]), catalogue, root),))


def _one(known: Known, catalogue: Catalogue, root: Path) -> Chosen:
    name = f"{known.id} {catalogue.name(known)}"
    if not known.trained:
        raise RequestError(f"{name} is a base model, which others publish; name a stage, a run or a sweep")
    if known.kind == "merge":
        raise RequestError(
            f"{name} is an average of stages, a preview; name a stage that was trained, a run or a sweep"
        )
    readable = tuple(sweep for sweep in known.sweeps if sweep.readable)
    if not readable:
        raise RequestError(f"no sweep has {name} planned any more, so nothing says what it is; launch its run again")
    stage = next(stage for stage in readable[0].plan().stages if stage.id == known.id)
    label = next(iter(known.runs), "") or catalogue.name(known)
    return Chosen(stage, label, readable, readable[0].store(root))


def _of_sweep(sweep: Sweep, root: Path, best: str) -> Choice:
    plan, store = sweep.plan(), sweep.store(root)
    runs = [run for run in plan.runs if run.stages and not run.merge]
    if not runs:
        raise RequestError(f"{sweep.name} trains nothing, so there is nothing to publish")
    if best:
        runs = [_best(plan, runs, Scores(store), best)]
    return Choice(tuple(Chosen(run.stages[-1], run.label, (sweep,), store) for run in runs), sweep)


def _best(plan: Plan, runs: Sequence[Run], scores: Scores, benchmark: str) -> Run:
    known = list(dict.fromkeys(generation.benchmark.name for generation in plan.generations))
    if benchmark not in known:
        raise RequestError(f"--best {benchmark} is no benchmark of this sweep; valid: {', '.join(known) or 'none'}")
    found = dict(_scored(plan, scores, benchmark))
    scored = [run for run in runs if run.id in found]
    if not scored:
        raise RequestError(f"no run of this sweep has a score on {benchmark} yet; publish it without --best")
    lower = found[scored[0].id].metric in LOWER_IS_BETTER
    return max(scored, key=lambda run: -found[run.id].value if lower else found[run.id].value)


def _scored(plan: Plan, scores: Scores, benchmark: str) -> Iterator[tuple[str, Scored]]:
    for score in plan.scores:
        if score.generation.benchmark.name == benchmark and (record := scores.record(score)):
            with contextlib.suppress(ValueError):  # a record that cannot be trusted is no score
                yield score.generation.subject.id, Scored.from_record(record, score.id)
