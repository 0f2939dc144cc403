"""Paired differences between points: on the same items, against one reference for each model.

The reference is the base model where it is scored, so that differences are gains and forgetting; else the multi-task
run on the widest mixture; else the first run. Between points of one training seed each, the interval is of items
alone; where one of the two has several, seeds are resampled as well as items.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sft_sweeps.plan.build import Plan
from sft_sweeps.report.replicates import Replicates, points, rows
from sft_sweeps.report.scores import Scores, Values
from sft_sweeps.spec import Score
from sft_sweeps.stats import (
    Interval,
    detectable,
    detectable_mean,
    holm,
    paired_means,
    paired_proportions,
    spread,
    two_level_difference,
)
from sft_sweeps.store.store import Store

Kept = Mapping[str, list[Values]]  # by a point's label, of each of its seeds that is scored


@dataclass(frozen=True)
class Comparison:
    """A point minus the reference on one benchmark: exact p where items are right or wrong, and what n items can show.

    `seeds` are the training seeds of both, of which more than one make the interval one over seeds and items.
    """

    benchmark: str
    run: str
    against: str
    difference: Interval
    n: int
    p: float | None = None
    adjusted: float | None = None
    detectable: float | None = None
    share: bool = False
    seeds: tuple[int, int] = (1, 1)


def comparisons(plan: Plan, store: Store | Scores) -> Iterator[Comparison]:
    """All of a plan's, benchmark by benchmark; what is not scored, or on other items, is left out."""
    scores = {(s.generation.benchmark.name, s.generation.subject.id): s for s in plan.scores}
    known, by_model = Scores.of(store), _by_model(plan)
    for benchmark in dict.fromkeys(name for name, _ in scores):
        compared: list[Comparison] = []
        for of in by_model:
            kept = {point.label: _kept(point, benchmark, scores, known) for point in of}
            reference = _reference([point for point in of if kept[point.label]])
            compared += [
                _compared(benchmark, point, reference, kept)
                for point in of
                if reference and point != reference and _alike(kept[point.label], kept[reference.label])
            ]
        adjusted = iter(holm([one.p for one in compared if one.p is not None]))
        yield from (one if one.p is None else replace(one, adjusted=next(adjusted)) for one in compared)


def _by_model(plan: Plan) -> list[list[Replicates]]:
    by_model: dict[str, list[Replicates]] = {}
    for point in points(plan):
        by_model.setdefault(point.runs[0].model.id, []).append(point)
    return list(by_model.values())


def _kept(point: Replicates, benchmark: str, scores: Mapping[tuple[str, str], Score], known: Scores) -> list[Values]:
    """Of the seeds that are scored on the same items as the first one."""
    by_seed = [of_run for run in point.runs if (of_run := known.values(scores.get((benchmark, run.id))))]
    return [of_run for of_run in by_seed if of_run.keys() == by_seed[0].keys()]


def _alike(ours: list[Values], theirs: list[Values]) -> bool:
    return bool(ours) and ours[0].keys() == theirs[0].keys()


def _reference(of: list[Replicates]) -> Replicates | None:
    """Of points that are scored."""
    for point in of:
        if point.runs[0].strategy == "base":
            return point
    wide = [point for point in of if point.runs[0].strategy == "multi_task"]
    return max(wide, key=lambda p: len(p.runs[0].stages[-1].mixture.components), default=of[0] if of else None)


def _compared(benchmark: str, point: Replicates, reference: Replicates, kept: Kept) -> Comparison:
    ours, theirs = kept[point.label], kept[reference.label]
    share = all(isinstance(value, bool) for given in (*ours, *theirs) for value in given.values())
    a, b = rows(ours), rows(theirs)
    comparison = Comparison(benchmark, point.label, reference.label, Interval(0, 0, 0), len(a[0]), share=share)
    if len(a) > 1 or len(b) > 1:
        return replace(comparison, difference=two_level_difference(a, b), seeds=(len(a), len(b)))
    if share:
        paired = paired_proportions([bool(x) for x in a[0]], [bool(x) for x in b[0]])
        discordant = ((paired.only_a or 0) + (paired.only_b or 0)) / paired.n
        least = detectable(paired.n, discordant) if discordant else None
        return replace(comparison, difference=paired.interval, p=paired.p, detectable=least)
    apart = [x - y for x, y in zip(a[0], b[0], strict=True)]
    least = detectable_mean(len(apart), spread(apart)) if len(set(apart)) > 1 else None
    return replace(comparison, difference=paired_means(a[0], b[0]).interval, detectable=least)
