"""The paper's values beside ours: those of the same place in the grid, whatever else their protocol is."""

from collections.abc import Sequence
from fractions import Fraction

from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.observations import Setting

Place = tuple[str, str, Fraction | None, tuple[tuple[str, Fraction], ...]]


def place(setting: Setting) -> Place:
    """Model, strategy, k, and each ability's fraction: what the paper says of a run."""
    fractions = tuple(sorted({(part.ability, part.fraction) for part in setting.parts}))
    return (setting.model, setting.strategy, setting.k, fractions)


def beside(ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each of our cells with each value that the paper prints for its place."""
    by_place: dict[tuple[Place, str], list[Cell]] = {}
    for cell in theirs:
        by_place.setdefault((place(cell.setting), cell.first.benchmark), []).append(cell)
    return [(o, t) for o in ours for t in by_place.get((place(o.setting), o.first.benchmark), ())]
