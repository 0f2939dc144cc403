"""Paired differences between points: on the same items, against one reference for each model.

The reference is the base model where it is scored, so that differences are gains and forgetting; else the multi-task
run on the widest mixture; else the first run. How two points are compared is said in `analysis/cells.py`; here is said
which ones are, for the tables and the page alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sft_sweeps.analysis.cells import Cell, Compared, as_family, compared
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.plan.build import Plan
from sft_sweeps.stats import Interval


@dataclass(frozen=True)
class Comparison:
    """A point minus the reference on one benchmark: exact p where items are right or wrong, and what n items can show.

    `seeds` are the numbers of training seeds of both, of which more than one make the interval one over seeds and
    items. `adjusted` is p by Holm over the benchmark's comparisons, `wide` the interval at their level where there is
    no p.
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
    wide: Interval | None = None


def comparisons(plan: Plan, cells: Sequence[Cell]) -> Iterator[Comparison]:
    """All of a plan's, of the cells of what its runs end with, in the benchmarks' order."""
    order = list(dict.fromkeys(generation.benchmark.name for generation in plan.generations))
    found = against_reference(plan, cells)
    yield from map(_shown, sorted(found, key=lambda pair: order.index(pair.ours.first.benchmark)))


def against_reference(plan: Plan, cells: Sequence[Cell]) -> list[Compared]:
    """Each cell against the reference of its model; a benchmark under one protocol is a family of comparisons.

    What is not scored, or on other items than the reference, is left out.
    """
    models = {run.id: run.model.id for run in plan.runs}
    found: list[Compared] = []
    with_items = [cell for cell in cells if cell.first.items]
    for of_benchmark in grouped(with_items, lambda cell: (cell.first.benchmark, cell.first.protocol)).values():
        family = []
        for of_model in grouped(of_benchmark, lambda cell: models[cell.first.run]).values():
            reference = _reference(of_model)
            pairs = (compared(cell, reference) for cell in of_model if cell is not reference)
            family += [pair for pair in pairs if pair]
        found += as_family(family)
    return found


def _reference(cells: Sequence[Cell]) -> Cell:
    """Of two mixtures of as many sources, that of more examples."""
    for cell in cells:
        if cell.setting.arm == "base":
            return cell
    wide = [cell for cell in cells if cell.setting.strategy == "multi_task"]
    return max(wide, key=lambda cell: (len(cell.setting.parts), cell.setting.examples), default=cells[0])


def _shown(pair: Compared) -> Comparison:
    ours, theirs = pair.ours, pair.theirs
    return Comparison(
        benchmark=ours.first.benchmark,
        run=ours.label,
        against=theirs.label,
        difference=pair.difference,
        n=len(ours.first.items),
        p=pair.p,
        adjusted=pair.adjusted,
        detectable=pair.detectable,
        share=ours.first.share,
        seeds=(len(ours.seeds), len(theirs.seeds)),
        wide=pair.wide if pair.p is None else None,
    )
