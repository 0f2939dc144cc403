"""Where the points of a line stand along the grid, and how ticks are written: one way for the page and for print.

Amounts of data, ratios and k go by factors, so they stand at their logarithm of base 2. 0, which has none (mixed
sequential training among values of k), stands apart at the left, and no line leads there.
"""

from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from math import log2
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

APART = 2.0  # so far left of the least other value stands 0
MOST_TICKS = 12
BESIDE, WHOLE = 0.12, 0.7  # how far apart lines stand that have a point at one place: of two, of all


def positions(places: Iterable[float]) -> dict[float, float]:
    """Of each place its logarithm; 0 left of the others."""
    known = set(places)
    least = min((log2(at) for at in known if at > 0), default=0.0)
    return {at: log2(at) if at > 0 else least - APART for at in known}


def ticks(places: Iterable[float]) -> list[float]:
    """The places that are named, from left to right: all, but where two lie too close to write both."""
    at = positions(places)
    ordered = sorted(at, key=at.__getitem__)
    least = (at[ordered[-1]] - at[ordered[0]]) / MOST_TICKS if ordered else 0.0
    kept: list[float] = []
    for place in ordered:
        if not kept or at[place] - at[kept[-1]] >= least:
            kept.append(place)
    return kept


def shifts(lines: Sequence[Key]) -> dict[Key, float]:
    """How far the points of each line stand from their place, so that none hides another's."""
    known = list(dict.fromkeys(lines))
    step = min(BESIDE, WHOLE / max(len(known), 1))
    return {line: step * (index - (len(known) - 1) / 2) for index, line in enumerate(known)}


def fraction(at: float) -> str:
    """0, 1/256, 1/4, 4: as fractions are typed."""
    return str(Fraction(at).limit_denominator(4096))


def count(at: float) -> str:
    """100, 1k, 10k: a number of examples, short."""
    return f"{at / 1000:.3g}k" if at >= 1000 else f"{at:.3g}"
