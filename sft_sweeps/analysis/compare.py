"""The difference of two cells, paired by item, and what a family of such differences can say together.

Only cells of one protocol and the same items are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sft_sweeps.analysis.cells import Cell, minus, table
from sft_sweeps.stats import (
    CONFIDENCE,
    NORMAL,
    Interval,
    detectable,
    detectable_mean,
    holm,
    paired_proportions,
    spread,
)


@dataclass(frozen=True)
class Compared:
    """A cell minus another one on the same items; exact p where both are one seed's right and wrong answers.

    `adjusted` is p by Holm over the family that it was compared in, `wide` the interval at that family's level.
    `detectable` is the smallest difference that so many items would show with 80 % power.
    """

    ours: Cell
    theirs: Cell
    difference: Interval
    p: float | None = None
    detectable: float | None = None
    adjusted: float | None = None
    wide: Interval | None = None

    @property
    def gain(self) -> float:
        """The difference as a gain: of a loss, less is more."""
        return self.difference.value if self.ours.like.higher_is_better else -self.difference.value

    @property
    def sure(self) -> bool:
        """Whether it is beyond noise, with all others of its family counted."""
        wide = self.wide or self.difference
        beyond = wide.low > 0 or wide.high < 0
        return beyond and (self.adjusted is None or self.adjusted < 1 - CONFIDENCE)


def comparable(ours: Cell, theirs: Cell) -> bool:
    """Whether both are scores by one protocol on the same items."""
    a, b = ours.like, theirs.like
    alike = (a.benchmark, a.metric, a.protocol) == (b.benchmark, b.metric, b.protocol)
    return alike and bool(ours.items and theirs.items) and ours.items[0].keys() == theirs.items[0].keys()


def compared(ours: Cell, theirs: Cell) -> Compared | None:
    """Ours minus theirs, paired by item; None where they are not comparable."""
    if not comparable(ours, theirs):
        return None
    found = Compared(ours, theirs, minus(ours, theirs))
    if len(ours.items) > 1 or len(theirs.items) > 1:
        return replace(found, difference=_hull(found.difference, _welch(ours, theirs)))
    (first,), (second,) = table(ours.items), table(theirs.items)
    if ours.like.share and {*first, *second} <= {0.0, 1.0}:
        paired = paired_proportions([value == 1 for value in first], [value == 1 for value in second])
        discordant = ((paired.only_a or 0) + (paired.only_b or 0)) / paired.n
        return replace(found, p=paired.p, detectable=detectable(paired.n, discordant) if discordant else None)
    apart = [x - y for x, y in zip(first, second, strict=True)]
    return replace(found, detectable=detectable_mean(len(apart), spread(apart)) if len(set(apart)) > 1 else None)


def _welch(ours: Cell, theirs: Cell) -> Interval | None:
    """Welch's interval (1947) of the difference of the seeds' scores; None where one has a single seed, or no spread.

    Of three seeds a bootstrap is too narrow, and Welch's does not see the choice of items: the wider one counts.
    """
    errors = [(cell.sd or 0.0) ** 2 / len(cell.seeds) for cell in (ours, theirs)]
    degrees = [len(cell.seeds) - 1 for cell in (ours, theirs)]
    if not all(degrees) or sum(errors) == 0:
        return None
    from scipy.special import stdtrit

    freedom = sum(errors) ** 2 / sum(error**2 / of for error, of in zip(errors, degrees, strict=True))
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * sum(errors) ** 0.5
    value = ours.value - theirs.value
    return Interval(value, value - half, value + half)


def _hull(one: Interval, other: Interval | None) -> Interval:
    return one if other is None else replace(one, low=min(one.low, other.low), high=max(one.high, other.high))


def as_family(found: Sequence[Compared]) -> list[Compared]:
    """Comparisons that are read together: p adjusted by Holm; intervals without p widened (Bonferroni 1936)."""
    adjusted = iter(holm([one.p for one in found if one.p is not None]))
    level = 1 - (1 - CONFIDENCE) / max(len(found), 1)
    factor = NORMAL.inv_cdf((1 + level) / 2) / NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
    return [
        replace(one, wide=_widened(one.difference, factor))
        if one.p is None
        else replace(one, adjusted=next(adjusted), wide=one.difference)
        for one in found
    ]


def _widened(interval: Interval, factor: float) -> Interval:
    value = interval.value
    return Interval(value, value - factor * (value - interval.low), value + factor * (interval.high - value))
