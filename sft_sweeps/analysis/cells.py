"""Replicates as one cell: runs that differ in their training seed alone have a mean, a spread and one interval.

What differs in anything else (the setting, the protocol, the metric, the stage) never shares a cell. Values of a paper
are cells of their own, one for each distinct number that it prints.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.stats import (
    CONFIDENCE,
    NORMAL,
    Interval,
    paired_means,
    paired_proportions,
    proportion,
    spread,
    two_level,
    two_level_difference,
)

Items = Mapping[str, float]
QUANTILE = NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
ON_OTHER_ITEMS = "left out: scored on other items than the first seed"


@dataclass(frozen=True, slots=True)
class Cell:
    """The mean over replicates, with an interval over seeds and items; `sd` is between seeds, None where there is one.

    `like` is one of the observations: all agree in what it says but the seed and the values. `items` are those of each
    seed, the same for all; empty where only scores are known. `notes` say what was left out.
    """

    like: Observation
    value: float
    low: float
    high: float
    n: int
    seeds: tuple[int, ...]
    sd: float | None = None
    runs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    items: tuple[Items, ...] = field(default=(), compare=False, repr=False)

    @property
    def setting(self) -> Setting:
        return self.like.setting.cell

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)

    @property
    def scale(self) -> float:
        """What a value is multiplied with to be shown: shares in percent."""
        return 100.0 if self.like.share else 1.0


def cells(observations: Iterable[Observation]) -> list[Cell]:
    """All cells, in order of first appearance; a score that several runs or sweeps share counts once in each."""
    return [_cell(of_cell) for of_cell in grouped(observations, _key).values()]


def finals(observations: Iterable[Observation]) -> list[Cell]:
    """The cells of what runs end with."""
    return cells(one for one in observations if one.final)


def _key(one: Observation) -> tuple[object, ...]:
    where = (one.setting.cell, one.stage, one.stage_label, one.final)
    return (*where, one.benchmark, one.metric, one.protocol, one.share, one.origin, one.printed)


def _cell(observations: Sequence[Observation]) -> Cell:
    distinct = list({(one.setting.seed, one.subject): one for one in observations}.values())
    kept = sorted((one for one in distinct if one.items.keys() == distinct[0].items.keys()), key=_seed)
    others = [f"seed {one.setting.seed} {ON_OTHER_ITEMS}" for one in distinct if one not in kept]
    interval = _pooled(kept)
    return Cell(
        like=kept[0],
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n=kept[0].n,
        seeds=tuple(map(_seed, kept)),
        sd=spread([one.value for one in kept]) if len(kept) > 1 else None,
        runs=tuple(one.run for one in kept),
        notes=tuple(others),
        items=tuple(one.items for one in kept if one.items),
    )


def _seed(one: Observation) -> int:
    return one.setting.seed


def _pooled(kept: Sequence[Observation]) -> Interval:
    """Over seeds and items together; of one seed, its own interval over items."""
    first = kept[0]
    if len(kept) == 1:
        return Interval(first.value, first.low, first.high)
    if first.items:
        return pooled([one.items for one in kept], first.share)
    return _without_items(kept)


def pooled(tables: Sequence[Items], share: bool) -> Interval:
    """The mean over seeds of the same items; where all are right or all wrong, Wilson's: resampling sees no noise."""
    rows = table(tables)
    interval, n = two_level(rows), len(rows[0])
    return proportion(round(interval.value * n), n) if share and interval.value in (0.0, 1.0) else interval


def _without_items(kept: Sequence[Observation]) -> Interval:
    """The noise between seeds (Student's t) and that of the items, which all seeds share, added as variances are."""
    from scipy.special import stdtrit

    values = [one.value for one in kept]
    between = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * spread(values) / math.sqrt(len(values))
    of_items = sum(one.high - one.low for one in kept) / len(kept) / 2
    mean, half = sum(values) / len(values), math.hypot(between, of_items)
    return Interval(mean, mean - half, mean + half)


def table(tables: Sequence[Items]) -> list[list[float]]:
    """Seeds by items, which are in one order."""
    names = sorted(tables[0])
    return [[float(items[name]) for name in names] for items in tables]


def minus(a: Cell, b: Cell) -> Interval:
    """A's mean minus B's: paired by item where both have the same ones, else from the two intervals alone."""
    if not a.items or not b.items or a.items[0].keys() != b.items[0].keys():
        return apart(a.interval, b.interval)
    ours, theirs = table(a.items), table(b.items)
    if len(ours) > 1 or len(theirs) > 1:
        return two_level_difference(ours, theirs)
    return paired(ours[0], theirs[0], a.like.share)


def paired(a: Sequence[float], b: Sequence[float], share: bool) -> Interval:
    """Of two models' values on the same items."""
    if share and {*a, *b} <= {0.0, 1.0}:
        return paired_proportions([bool(x) for x in a], [bool(x) for x in b]).interval
    return paired_means(a, b).interval


def apart(a: Interval, b: Interval) -> Interval:
    """The difference of two independent values from their intervals, which need not be symmetric (Zou, Donner 2008)."""
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Interval(value, low, value + math.hypot(a.high - a.value, b.value - b.low))
