"""What a grid is run for: which of two scores is higher, and what a score is that is not measured yet.

An *ordering* compares two strategies on the same data. A *crossing* compares an ability alone with a mixture at one
fraction: between two fractions with different answers the curves cross. A *hypothesis* is what the study said in
advance. A *prediction* is the score at the largest fraction of a curve.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sft_sweeps.analysis.curves import line_of
from sft_sweeps.analysis.observations import Setting, grouped

KINDS = ("ordering", "crossing", "prediction", "hypothesis")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """About the cells of these numbers: whether `first` scores higher than `second`, or (a prediction) what it scores.

    `text` says the question.
    """

    kind: str
    first: int
    second: int | None
    text: str


def conclusions(
    cells: Sequence[Setting], ability: str, stated: Iterable[tuple[Setting, Setting]] = ()
) -> list[Conclusion]:
    """All conclusions about the cells of one benchmark; `stated` are pairs that the study named in advance."""
    number = {cell: index for index, cell in enumerate(cells)}
    named = {frozenset((number[a.cell], number[b.cell])) for a, b in stated if {a.cell, b.cell} <= number.keys()}
    found = [_pair("hypothesis", min(pair), max(pair), cells) for pair in named if len(pair) == 2]
    found += [
        _pair(kind, a, b, cells)
        for kind, pairs in (("ordering", _orderings(cells)), ("crossing", _crossings(cells, ability)))
        for a, b in pairs
        if frozenset((a, b)) not in named
    ]
    return found + _predictions(cells, ability)


def _pair(kind: str, a: int, b: int, cells: Sequence[Setting]) -> Conclusion:
    return Conclusion(kind, a, b, f"{describe(cells[a])} > {describe(cells[b])}")


def _orderings(cells: Sequence[Setting]) -> Iterable[tuple[int, int]]:
    """Of mixtures of the same data on one model."""
    mixed = [index for index, cell in enumerate(cells) if len(cell.abilities) > 1]

    def data(index: int) -> Hashable:
        cell = cells[index]
        return (cell.model, cell.variant, tuple(sorted(cell.parts)))

    for alike in grouped(mixed, data).values():
        yield from combinations(alike, 2)


def _crossings(cells: Sequence[Setting], ability: str) -> Iterable[tuple[int, int]]:
    """Of the ability alone and the widest mixture, at every fraction that both were run at."""
    lines = {index: line for index, cell in enumerate(cells) if (line := line_of(cell)) and ability in cell.abilities}
    alone = [index for index in lines if cells[index].arm == "alone"]
    mixed = [index for index in lines if cells[index].arm == "multi_task"]
    for index in alone:
        (source,) = lines[index].sources if len(lines[index].sources) == 1 else (None,)
        for other in mixed:
            same = (cells[index].model, cells[index].fraction) == (cells[other].model, cells[other].fraction)
            if same and cells[index].variant == cells[other].variant and source in lines[other].sources:
                yield other, index


def _predictions(cells: Sequence[Setting], ability: str) -> list[Conclusion]:
    """Of the largest fraction of every curve of two or more."""
    on_lines = [i for i, cell in enumerate(cells) if ability in cell.abilities and line_of(cell)]
    ends = []
    for alike in grouped(on_lines, lambda i: line_of(cells[i])).values():
        if len(alike) > 1:
            last = max(alike, key=lambda i: cells[i].fraction or 0)
            ends.append(Conclusion("prediction", last, None, f"what {describe(cells[last])} scores"))
    return ends


def describe(cell: Setting) -> str:
    """A cell in a few words: model, arm, k, fractions."""
    arm = f"{cell.abilities[0]} alone" if cell.arm == "alone" else cell.arm
    words = [cell.model, arm, *([f"k={cell.k}"] if cell.k is not None else [])]
    if cell.fraction is None:
        words += [f"{part.ability} {part.fraction}" for part in cell.parts if part.fraction != 1]
    elif cell.fraction != 1:
        words.append(str(cell.fraction))
    return " ".join(words)
