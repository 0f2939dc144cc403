"""Intervals of scores. Items are the unit: a score without its n and its interval is not shown."""

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the two ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def proportion(k: int, n: int) -> Interval:
    """k of n with Wilson's score interval (Wilson 1927), which holds near 0 and 1 and for small n."""
    from scipy.stats import binomtest  # half a second to import: only where a score is made

    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} of {n} is no proportion")
    found = binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(k / n, float(found.low), float(found.high))


def weighted_mean(totals: Sequence[float], weights: Sequence[float], seed: int = 0) -> Interval:
    """sum(totals) / sum(weights) with a percentile bootstrap over the items (Efron 1979); seeded, so repeatable."""
    import numpy as np

    total, weight = np.asarray(totals, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if total.shape != weight.shape or total.size == 0 or not weight.sum() > 0:
        raise ValueError("a weighted mean needs as many weights as totals, and some weight")
    picks = np.random.default_rng(seed).integers(0, total.size, size=(RESAMPLES, total.size))
    means = total[picks].sum(axis=1) / np.maximum(weight[picks].sum(axis=1), np.finfo(np.float64).tiny)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(total.sum() / weight.sum()), float(low), float(high))
