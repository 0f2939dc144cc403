"""Runs that differ only in `train.seed` are replicates of one point: shown as mean and spread, never as one cell."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.report.scores import Scores, Values
from sft_sweeps.stats import Interval, proportion, spread, two_level
from sft_sweeps.store.store import Store


@dataclass(frozen=True)
class Replicates:
    """Replicates, one of each training seed; most points have one."""

    label: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Replicated:
    """A point's score on one benchmark over its seeds.

    `mean` has an interval over seeds and items together; `sd` is the standard deviation between the seeds' scores.
    """

    benchmark: str
    point: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: Interval
    sd: float
    n: int
    share: bool  # of right items, else a mean


def points(plan: Plan) -> list[Replicates]:
    """The runs of a plan by what they are but for their seed, in order."""
    runs_by_point: dict[Any, list[Run]] = {}
    for run in plan.runs:
        stages = tuple((stage.mixture, replace(stage.recipe, seed=0)) for stage in run.stages)
        runs_by_point.setdefault((run.model.id, run.strategy, run.k, stages), []).append(run)
    return [Replicates(_label(runs), tuple(sorted(runs, key=seed_of))) for runs in runs_by_point.values()]


def seed_of(run: Run) -> int:
    """The training seed of a run; a base model has none, which is 0."""
    return run.stages[-1].recipe.seed if run.stages else 0


def _label(runs: list[Run]) -> str:
    first = runs[0].label
    seeds = {f"seed={seed_of(run)}" for run in runs}
    return first if len(runs) == 1 else " ".join(word for word in first.split() if word not in seeds)


def replicated(plan: Plan, store: Store | Scores) -> Iterator[Replicated]:
    """Every point with several seeds, by benchmark; seeds that are not scored, or on other items, are left out."""
    known = Scores.of(store)
    scores = {(s.generation.benchmark.name, s.generation.subject.id): s for s in plan.scores}
    several = [point for point in points(plan) if len(point.runs) > 1]
    for benchmark in dict.fromkeys(name for name, _ in scores) if several else ():
        for point in several:
            kept = [(seed_of(run), known.values(scores.get((benchmark, run.id)))) for run in point.runs]
            kept = [(seed, items) for seed, items in kept if items and items.keys() == kept[0][1].keys()]
            if len(kept) < 2:
                continue
            table = rows([items for _, items in kept])
            means = tuple(sum(row) / len(row) for row in table)
            share = all(isinstance(value, bool) for _, items in kept for value in items.values())
            seeds = tuple(seed for seed, _ in kept)
            mean = _interval(table, share)
            yield Replicated(benchmark, point.label, seeds, means, mean, spread(means), len(table[0]), share)


def _interval(table: list[list[float]], share: bool) -> Interval:
    """Over seeds and items. Where all are right or all wrong, resampling sees no noise: Wilson's, over items, does."""
    interval, n = two_level(table), len(table[0])
    return proportion(round(interval.value * n), n) if share and interval.value in (0.0, 1.0) else interval


def rows(kept: list[Values]) -> list[list[float]]:
    """A table of seeds by items, which are the same for all."""
    items = sorted(kept[0])
    return [[float(of_seed[item]) for item in items] for of_seed in kept]
