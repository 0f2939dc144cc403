"""Runs that differ only in `train.seed` are replicates of one point: shown as mean and spread, never as one cell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sft_sweeps.analysis.cells import Cell, without_seed
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.stats import Interval


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
    """As a cell's (`analysis/cells.py`), whose first run is that of the least seed."""
    first = min(runs, key=seed_of)
    return first.label if len(runs) == 1 else without_seed(first.label, seed_of(first))


def replicated(plan: Plan, cells: Sequence[Cell]) -> Iterator[Replicated]:
    """Every cell of several seeds and known items, by benchmark; a seed on other items is in another cell."""
    order = list(dict.fromkeys(generation.benchmark.name for generation in plan.generations))
    several = [cell for cell in cells if len(cell.seeds) > 1 and cell.first.items]
    yield from map(_shown, sorted(several, key=lambda cell: order.index(cell.first.benchmark)))


def _shown(cell: Cell) -> Replicated:
    first = cell.first
    values = tuple(one.value for one in cell.observations)
    n, sd = len(first.items), cell.sd or 0.0
    return Replicated(first.benchmark, cell.label, cell.seeds, values, cell.mean, sd, n, first.share)
