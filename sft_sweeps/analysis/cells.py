"""Cells: what replicates of one setting scored, as one number with its spread; and the difference of two of them.

A cell holds the scores of one setting by one protocol on the same items, a training seed each. What differs in
anything else is another cell, and only cells of one protocol and the same items are compared.
"""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.stats import (
    CONFIDENCE,
    CRITICAL,
    NORMAL,
    Interval,
    detectable,
    detectable_mean,
    holm,
    paired_means,
    paired_proportions,
    proportion,
    spread,
    two_level,
    two_level_difference,
)


@dataclass(frozen=True)
class Cell:
    """One setting's score by one protocol, over the training seeds of `observations`, which are in order of seed.

    `mean` has an interval over seeds and items together; `sd` is the standard deviation between seeds, None for one.
    """

    observations: tuple[Observation, ...]
    mean: Interval
    sd: float | None = None

    @property
    def first(self) -> Observation:
        return self.observations[0]

    @property
    def setting(self) -> Setting:
        return self.first.setting.cell

    @property
    def scoring(self) -> tuple[str, str]:
        """The benchmark and its protocol: what shares an axis and a column."""
        return self.first.benchmark, self.first.protocol

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(one.setting.seed for one in self.observations)

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(one.run for one in self.observations)

    @property
    def value(self) -> float:
        return self.mean.value

    @property
    def low(self) -> float:
        return self.mean.low

    @property
    def high(self) -> float:
        return self.mean.high

    @property
    def scale(self) -> float:
        """What values are multiplied with to be shown: shares in percent."""
        return 100.0 if self.first.share else 1.0

    @property
    def label(self) -> str:
        """The run's label; of several, without what names the seed."""
        return point_label(self.first) if len(self.observations) > 1 else self.first.label


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
        return self.difference.value if self.ours.first.higher_is_better else -self.difference.value

    @property
    def sure(self) -> bool:
        """Whether it is beyond noise, with all others of its family counted."""
        wide = self.wide or self.difference
        beyond = wide.low > 0 or wide.high < 0
        return beyond and (self.adjusted is None or self.adjusted < 1 - CONFIDENCE)


def point_label(one: Observation) -> str:
    """The label of a run without what names its seed."""
    return without_seed(one.label, one.setting.seed)


def without_seed(label: str, seed: int) -> str:
    """A label has it as `seed=1`, or in the words of the command line."""
    return " ".join(word for word in label.split() if word not in (f"seed={seed}", f"train.seed={seed}"))


def cells(observations: Iterable[Observation]) -> list[Cell]:
    """Of all observations, in order of first appearance; a score that several sweeps have counts once."""
    return [_cell(group) for group in grouped(_once(observations), _key).values()]


def finals(observations: Iterable[Observation]) -> list[Cell]:
    """The cells of what runs end with."""
    return cells(one for one in observations if one.final)


def _once(observations: Iterable[Observation]) -> Iterator[Observation]:
    seen = set()
    for one in observations:
        key = (one.run or id(one), one.stage, one.benchmark, one.protocol, one.printed)
        if key not in seen:
            seen.add(key)
            yield one


def _key(one: Observation) -> Hashable:
    """A paper may print several values of one run: each is a cell."""
    where = (one.origin, one.setting.cell, one.stage, one.final, one.printed)
    return (*where, one.benchmark, one.protocol, frozenset(one.items))


def _cell(group: Sequence[Observation]) -> Cell:
    ordered = tuple(sorted(group, key=lambda one: one.setting.seed))
    first = ordered[0]
    if len(ordered) == 1:
        return Cell(ordered, Interval(first.value, first.low, first.high))
    values = [one.value for one in ordered]
    mean = two_level(table(ordered)) if first.items else over_seeds(values)
    if first.share and first.items and mean.value in (0.0, 1.0):  # resampling sees no noise there
        mean = proportion(round(mean.value * len(first.items)), len(first.items))
    return Cell(ordered, mean, spread(values))


def table(observations: Sequence[Observation]) -> list[list[float]]:
    """Seeds by items."""
    items = sorted(observations[0].items)
    return [[float(one.items[item]) for item in items] for one in observations]


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean of a few values with Student's interval (1908); items are not at hand."""
    from scipy.stats import t

    mean = sum(values) / len(values)
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * spread(values) / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half)


def minus(ours: Cell, theirs: Cell) -> Interval:
    """Ours minus theirs: paired by item where that can be, else from the two intervals alone."""
    paired = compared(ours, theirs)
    return paired.difference if paired else apart(ours.mean, theirs.mean)


def apart(a: Interval, b: Interval) -> Interval:
    """The difference of two independent values from their intervals, which need not be symmetric (Zou, Donner 2008)."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Interval(value, low, value + math.hypot(a.high - a.value, b.value - b.low))


def compared(ours: Cell, theirs: Cell) -> Compared | None:
    """Ours minus theirs, paired by item; None where protocols or items differ, or items are not at hand."""
    a, b = ours.first, theirs.first
    if (a.benchmark, a.protocol) != (b.benchmark, b.protocol) or not a.items or a.items.keys() != b.items.keys():
        return None
    of_a, of_b = table(ours.observations), table(theirs.observations)
    if len(of_a) > 1 or len(of_b) > 1:
        wider = hull(two_level_difference(of_a, of_b), _welch(ours, theirs))
        return Compared(ours, theirs, _possible(wider, a))
    first, second = of_a[0], of_b[0]
    if a.share and {*first, *second} <= {0.0, 1.0}:
        paired = paired_proportions([value == 1 for value in first], [value == 1 for value in second])
        discordant = ((paired.only_a or 0) + (paired.only_b or 0)) / paired.n
        least = detectable(paired.n, discordant) if discordant else None
        return Compared(ours, theirs, paired.interval, paired.p, least)
    apart = [x - y for x, y in zip(first, second, strict=True)]
    least = detectable_mean(len(apart), spread(apart)) if len(set(apart)) > 1 else None
    return Compared(ours, theirs, paired_means(first, second).interval, detectable=least)


def _welch(ours: Cell, theirs: Cell) -> Interval | None:
    """Welch's interval (1947) of the difference of the seeds' scores; None where one has a single seed, or no spread.

    Of three seeds a bootstrap is too narrow, and Welch's does not see the choice of items: the wider one counts.
    """
    errors = [(cell.sd or 0.0) ** 2 / len(cell.observations) for cell in (ours, theirs)]
    degrees = [len(cell.observations) - 1 for cell in (ours, theirs)]
    if not all(degrees) or sum(errors) == 0:
        return None
    from scipy.stats import t

    freedom = sum(errors) ** 2 / sum(error**2 / of for error, of in zip(errors, degrees, strict=True))
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * sum(errors) ** 0.5
    value = ours.mean.value - theirs.mean.value
    return Interval(value, value - half, value + half)


def hull(one: Interval, other: Interval | None) -> Interval:
    return one if other is None else replace(one, low=min(one.low, other.low), high=max(one.high, other.high))


def _possible(difference: Interval, of: Observation) -> Interval:
    """The part of an interval in which a difference can lie: of two shares, from -1 to 1."""
    return replace(difference, low=max(difference.low, -1), high=min(difference.high, 1)) if of.share else difference


def as_family(found: Sequence[Compared]) -> list[Compared]:
    """Comparisons that are read together: p adjusted by Holm; intervals without p widened (Bonferroni 1936)."""
    adjusted = iter(holm([one.p for one in found if one.p is not None]))
    level = 1 - (1 - CONFIDENCE) / max(len(found), 1)
    factor = NORMAL.inv_cdf((1 + level) / 2) / CRITICAL
    return [
        replace(one, wide=_possible(_widened(one.difference, factor), one.ours.first))
        if one.p is None
        else replace(one, adjusted=next(adjusted), wide=one.difference)
        for one in found
    ]


def _widened(interval: Interval, factor: float) -> Interval:
    value = interval.value
    return Interval(value, value - factor * (value - interval.low), value + factor * (interval.high - value))
