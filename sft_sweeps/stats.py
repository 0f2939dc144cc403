"""Intervals of scores, tests between models, and what a benchmark of n items can tell apart.

Items are the unit: a score without its n and its interval is not shown. Models answer the same items, so differences
are paired. Bowyer et al. 2025 (arXiv 2503.01747) show why no normal approximation is used on 80 or 164 items; Miller
2024 (arXiv 2411.00640) why questions, not answers, are resampled. Where units tie, a bootstrap's interval shrinks to
nothing: paired differences have intervals that do not. Resampling is seeded: the same data give the same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 2000
NORMAL = NormalDist()
CRITICAL = NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
ROUNDING = 1e-12  # of a mean, as a share of it
SHAPES = 4  # of data whose resamples are kept, 21 MB each for 1,319 items
# Before anything is measured: the share of items that one of two models alone gets right, and the standard deviation of
# a question's difference in MT-Bench grade (1.5 to 2.5 was seen).
ASSUMED_DISCORDANT = 0.2
ASSUMED_GRADE_SD = 2.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the two ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A minus B on the same n units: its interval, the exact p value where units are right or wrong, else None.

    `only_a` and `only_b` count the units that only one of the two gets right.
    """

    interval: Interval
    n: int
    p: float | None = None
    only_a: int | None = None
    only_b: int | None = None


@lru_cache(maxsize=1 << 16)
def proportion(k: int, n: int) -> Interval:
    """k of n with Wilson's score interval (Wilson 1927), which holds near 0 and 1 and for small n."""
    from scipy.stats import binomtest  # half a second to import: only where a score is made

    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} of {n} is no proportion")
    interval = binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(k / n, float(interval.low), float(interval.high))


def weighted_mean(totals: Sequence[float], weights: Sequence[float], seed: int = 0) -> Interval:
    """sum(totals) / sum(weights) with a percentile bootstrap over the units (Efron 1979).

    A unit may be an item, or a cluster of answers with their summed values and their number. Where all have one value,
    the interval is as wide as ties leave open (`_open_by_ties`).
    """
    import numpy as np

    total, weight = np.asarray(totals, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if total.shape != weight.shape or total.size == 0 or not weight.sum() > 0:
        raise ValueError("a weighted mean needs as many weights as totals, and some weight")
    picks = _picks(total.size, seed)
    means = total[picks].sum(axis=1) / np.maximum(weight[picks].sum(axis=1), np.finfo(np.float64).tiny)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value, units = float(total.sum() / weight.sum()), total[weight > 0] / weight[weight > 0]
    if np.ptp(units) <= ROUNDING * abs(value):
        half = _open_by_ties(np.zeros(len(units)), units)
        return Interval(value, value - half, value + half)
    return Interval(value, float(low), float(high))


def clustered_mean(clusters: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """The mean of all values, whole clusters resampled (a question's turns and repeats are not independent)."""
    return weighted_mean([math.fsum(values) for values in clusters], [len(values) for values in clusters], seed)


@lru_cache(maxsize=1 << 16)
def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p value that both are right equally often (McNemar 1947; the exact binomial form)."""
    from scipy.stats import binomtest

    if only_a < 0 or only_b < 0:
        raise ValueError(f"{only_a} and {only_b} are no counts")
    discordant = only_a + only_b
    return float(binomtest(only_a, discordant).pvalue) if discordant else 1.0


def paired_proportions(a: Sequence[bool], b: Sequence[bool]) -> Difference:
    """Share of right items, A minus B: Tango's score interval and McNemar's exact p."""
    n = len(a)
    if n != len(b) or n == 0:
        raise ValueError(f"{n} and {len(b)} verdicts are no pairs")
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    return Difference(tango(only_a, only_b, n), n, mcnemar(only_a, only_b), only_a, only_b)


@lru_cache(maxsize=1 << 16)
def tango(only_a: int, only_b: int, n: int) -> Interval:
    """(only_a - only_b) / n with the score interval of Tango (1998, equations 24 to 26), which is never zero wide.

    It holds the differences of which a score test, with the nuisance share estimated under each, is not significant.
    Neither scipy nor statsmodels has it.
    """
    if min(only_a, only_b) < 0 or not only_a + only_b <= n or n == 0:
        raise ValueError(f"{only_a} and {only_b} of {n} are no discordant pairs")
    value, high = (only_a - only_b) / n, _tango_high(only_a, only_b, n)
    return Interval(value, -_tango_high(only_b, only_a, n), high)


def _tango_high(only_a: int, only_b: int, n: int) -> float:
    from scipy.optimize import brentq

    def score(difference: float) -> float:
        """The numerator of Tango's statistic, and the critical value times its denominator: 0 at the upper end."""
        middle = (2 * n - only_a + only_b) * difference - only_a - only_b
        root = math.sqrt(max(middle * middle + 8 * n * only_b * difference * (1 - difference), 0.0))
        variance = n * ((root - middle) / (2 * n) + difference * (1 - difference))
        return only_a - only_b - n * difference + CRITICAL * math.sqrt(max(variance, 0.0))

    value = (only_a - only_b) / n
    # Where no pair is discordant, or all are, the variance is 0 at the value itself, and rises at once beside it.
    return 1.0 if only_a == n else float(brentq(score, value + 1e-9, 1.0))


def paired_means(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Mean over the units (for MT-Bench: a question's mean over turns and repeats), A minus B: Student's t interval.

    Where units tie or differ by the same, it is at least as wide as that leaves open (`_open_by_ties`).
    """
    import numpy as np
    from scipy.stats import t

    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"{len(a)} and {len(b)} values are no pairs")
    ours, theirs = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    apart, n = ours - theirs, len(ours)
    value = float(apart.mean())
    half = t.ppf((1 + CONFIDENCE) / 2, n - 1) * apart.std(ddof=1) / math.sqrt(n) if n > 1 else abs(value)
    half = max(float(half), _open_by_ties(apart, np.concatenate([ours, theirs])))
    return Difference(Interval(value, value - half, value + half), n)


def _open_by_ties(apart: "npt.NDArray[np.float64]", values: "npt.NDArray[np.float64]") -> float:
    """How far a mean difference may lie from the one seen, as units agree in their difference: of two models that
    answer n items alike, z^2 / (n + z^2) of all items may still differ (the end of Wilson's and of Tango's interval at
    0 of n).

    One unit's difference is taken to be 1 where units are right or wrong, else as large as that between two random
    units; where all values are the same, as large as that value.
    """
    import numpy as np

    unseen = CRITICAL**2 / (len(apart) + CRITICAL**2)
    agree = np.unique(apart, return_counts=True)[1].max() / len(apart)
    if np.isin(values, (0.0, 1.0)).all():
        size = 1.0
    else:
        largest = float(np.abs(values).max())
        alike = np.ptp(values) <= ROUNDING * largest  # the deviation of equal numbers may be a rounding error
        size = largest if alike else math.sqrt(2) * float(values.std())
    return float(agree) * size * unseen


def two_level(values: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """Mean over training seeds (rows) and items (columns, the same for all rows), both resampled.

    With one row there is no variance between seeds to see, and the interval is that of the items alone. Where all
    values are the same, resampling sees no variance at all: the interval is Wilson's of the items where they are right
    or wrong, else as wide as ties leave open.
    """
    import numpy as np

    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise ValueError("two levels need a table of seeds by items")
    if (table == table[0, 0]).all():
        return _constant(table)
    return _two_level(table, seed)


def two_level_difference(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """Mean of A minus mean of B, tables of training seeds by the same items: seeds of each and items resampled."""
    import numpy as np

    ours, theirs = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if ours.ndim != 2 or theirs.ndim != 2 or ours.shape[1:] != theirs.shape[1:] or not ours.size or not theirs.size:
        raise ValueError("a difference at two levels needs two tables of seeds by the same items")
    columns, *rows = _shares((ours.shape[1], len(ours), len(theirs)), seed)
    means = [
        np.einsum("rs,si,ri->r", of_seeds, table, columns, optimize=True)
        for of_seeds, table in zip(rows, (ours, theirs), strict=True)
    ]
    found = _interval(float(ours.mean() - theirs.mean()), means[0] - means[1])
    return _wider(found, ours.mean(axis=0) - theirs.mean(axis=0), np.concatenate([ours, theirs]).ravel())


def two_level_paired(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """Mean of A minus B where both are of the same seeds and items (a run before and after a stage): seeds and items
    resampled in pairs.
    """
    import numpy as np

    ours, theirs = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if ours.ndim != 2 or ours.shape != theirs.shape or not ours.size:
        raise ValueError("a paired difference at two levels needs two tables of the same seeds by the same items")
    apart = ours - theirs
    return _wider(_two_level(apart, seed), apart.mean(axis=0), np.concatenate([ours, theirs]).ravel())


def _two_level(table: "npt.NDArray[np.float64]", seed: int) -> Interval:
    import numpy as np

    rows, columns = _shares(table.shape, seed)
    return _interval(float(table.mean()), np.einsum("rs,si,ri->r", rows, table, columns, optimize=True))


def _wider(found: Interval, apart: "npt.NDArray[np.float64]", values: "npt.NDArray[np.float64]") -> Interval:
    half = _open_by_ties(apart, values)
    return Interval(found.value, min(found.low, found.value - half), max(found.high, found.value + half))


def _constant(table: "npt.NDArray[np.float64]") -> Interval:
    import numpy as np

    value, n = float(table[0, 0]), table.shape[1]
    if value in (0.0, 1.0):
        return proportion(round(value * n), n)
    half = _open_by_ties(np.zeros(n), table.ravel())
    return Interval(value, value - half, value + half)


@lru_cache(maxsize=SHAPES)
def _picks(size: int, seed: int) -> "npt.NDArray[np.int64]":
    """The resamples of so many units, drawn once for all data of one shape: they are of the seed alone."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, size, size=(RESAMPLES, size))


@lru_cache(maxsize=SHAPES)
def _shares(sizes: tuple[int, ...], seed: int) -> "tuple[npt.NDArray[np.float64], ...]":
    """In each resample, the share of every unit; of several kinds of so many units each, drawn one after the other."""
    import numpy as np

    stream = np.random.default_rng(seed)
    return tuple(stream.multinomial(size, np.full(size, 1 / size), size=RESAMPLES) / size for size in sizes)


def spread(values: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1)."""
    return math.sqrt(variance(values))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of a family of tests, in their order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def detectable(n: int, discordant: float) -> float:
    """The smallest paired difference of shares that n items show with 80 % power at 5 % (Connor 1987).

    `discordant` is the share of items that only one of the two models gets right; no difference can exceed it.
    """
    if n < 1 or not 0 < discordant <= 1:
        raise ValueError(f"{n} items with a share of {discordant} discordant ones can show nothing")
    alpha, beta = CRITICAL, NORMAL.inv_cdf(POWER)
    difference = 0.0
    for _ in range(50):  # a contraction: the null's variance is psi, the alternative's psi - d^2
        rest = max(discordant - difference * difference, 0.0)
        difference = min((alpha * math.sqrt(discordant) + beta * math.sqrt(rest)) / math.sqrt(n), discordant)
    return difference


def detectable_mean(n: int, sd: float) -> float:
    """The smallest difference of paired means that n units show with 80 % power at 5 %; `sd` is of its values."""
    return (CRITICAL + NORMAL.inv_cdf(POWER)) * sd / math.sqrt(n)


def _interval(value: float, resampled: "object") -> Interval:
    import numpy as np

    low, high = np.quantile(np.asarray(resampled), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))
