"""The paper's values beside ours: those of the same place in the grid, whatever else their protocol is."""

from collections.abc import Sequence
from fractions import Fraction

from sft_sweeps.analysis.cells import Cell, finals
from sft_sweeps.analysis.observations import Setting

Place = tuple[str, str, Fraction | None, tuple[tuple[str, Fraction], ...]]


def place(setting: Setting) -> Place:
    """Model, strategy, k, and each ability's fraction: what the paper says of a run."""
    fractions = tuple(sorted({(part.ability, part.fraction) for part in setting.parts}))
    return (setting.model, setting.strategy, setting.k, fractions)


def cells(ours: Sequence[Cell]) -> list[Cell]:
    """The paper's cells of our models on our benchmarks."""
    from sft_sweeps.analysis import paper

    models = {cell.setting.model for cell in ours}
    benchmarks = {cell.first.benchmark for cell in ours}
    theirs = (one for one in paper.observations() if one.setting.model in models and one.benchmark in benchmarks)
    return finals(theirs)


def beside(ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each of our cells with each value that the paper prints for its place."""
    by_place: dict[tuple[Place, str], list[Cell]] = {}
    for cell in theirs:
        by_place.setdefault((place(cell.setting), cell.first.benchmark), []).append(cell)
    return [(o, t) for o in ours for t in by_place.get((place(o.setting), o.first.benchmark), ())]
