"""Paired differences between runs: on the same items, against one reference for each model.

The reference is the base model where it is scored, so that differences are gains and forgetting; else the multi-task
run on the widest mixture; else the first run. Only one training seed of each is seen here: the intervals are of items.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sft_sweeps.generate.rows import VERDICTS, read_rows
from sft_sweeps.plan import Plan, Run
from sft_sweeps.spec import Score
from sft_sweeps.statistics import Interval, detectable, holm, paired_means, paired_proportions
from sft_sweeps.store import RecordError, Store

Values = Mapping[str, float | bool]


@dataclass(frozen=True)
class Comparison:
    """A run minus the reference on one benchmark: exact p where items are right or wrong, and what n items can show."""

    benchmark: str
    run: str
    against: str
    difference: Interval
    n: int
    p: float | None = None
    adjusted: float | None = None
    detectable: float | None = None


def comparisons(plan: Plan, store: Store) -> Iterator[Comparison]:
    """All of a plan's, benchmark by benchmark; what is not scored, or on other items, is left out."""
    scores = {(s.generation.benchmark.name, s.generation.subject.id): s for s in plan.scores}
    for benchmark in dict.fromkeys(name for name, _ in scores):
        found = []
        for model in dict.fromkeys(run.model.id for run in plan.runs):
            runs = [run for run in plan.runs if run.model.id == model]
            kept = {run.id: _values(store, scores.get((benchmark, run.id))) for run in runs}
            reference = _reference([run for run in runs if kept[run.id]])
            found += [
                _compared(benchmark, run, reference, kept)
                for run in runs
                if reference and run.id != reference.id and kept[run.id].keys() == kept[reference.id].keys()
            ]
        adjusted = iter(holm([one.p for one in found if one.p is not None]))
        yield from (one if one.p is None else replace(one, adjusted=next(adjusted)) for one in found)


def _reference(runs: list[Run]) -> Run | None:
    """Of runs that are scored."""
    for run in runs:
        if run.strategy == "base":
            return run
    wide = [run for run in runs if run.strategy == "multi_task"]
    return max(wide, key=lambda run: len(run.stages[-1].mixture.components), default=runs[0] if runs else None)


def _compared(benchmark: str, run: Run, reference: Run, kept: Mapping[str, Values]) -> Comparison:
    items = sorted(kept[reference.id])
    ours, theirs = ([kept[one.id][item] for item in items] for one in (run, reference))
    if all(isinstance(value, bool) for value in (*ours, *theirs)):
        found = paired_proportions([bool(x) for x in ours], [bool(x) for x in theirs])
        discordant = ((found.only_a or 0) + (found.only_b or 0)) / found.n
        least = detectable(found.n, discordant) if discordant else None
        return Comparison(benchmark, run.label, reference.label, found.interval, found.n, found.p, None, least)
    means = paired_means([float(x) for x in ours], [float(x) for x in theirs])
    return Comparison(benchmark, run.label, reference.label, means.interval, means.n)


def _values(store: Store, score: Score | None) -> Values:
    """An item's verdict; where there are several numbers for it (turns, samples, repeats), their mean."""
    with contextlib.suppress(RecordError, OSError, ValueError, KeyError):
        if score is None or store.record(score) is None:
            return {}
        by_item: dict[str, list[float | bool]] = {}
        for row in read_rows(store.place(score) / VERDICTS):
            value = next((row[key] for key in ("correct", "score", "loss") if row.get(key) is not None), None)
            if value is not None:
                by_item.setdefault(str(row["item"]), []).append(value)
        return {item: of[0] if len(of) == 1 else sum(of) / len(of) for item, of in by_item.items()}
    return {}
