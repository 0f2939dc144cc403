"""Whether printed percentages can be k of n, and of which n they are: Brown and Heathers' GRIM test (2017) for shares.

A percentage with d decimals can be only one of 100 x 10^d + 1; k of n items take up to 2 n of them (one where k/n is
rounded, one where it is cut off). With few items most values are impossible, and a set of values that all are possible
is of n items with great certainty.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

FEWEST = 4  # different values, below which their n is not asked for
NEAREST = 20


def is_count(unit: int, digits: int, n: int) -> bool:
    """Whether a percentage, in units of its last decimal, is some k/n, rounded (half either way) or cut off."""
    scale: int = 100 * 10**digits
    below = unit * n // scale
    apart = [k * scale - unit * n for k in (below, below + 1) if 0 <= k <= n]
    return any(0 <= distance < n or 2 * abs(distance) <= n for distance in apart)


@lru_cache(maxsize=1 << 16)
def chance(n: int, digits: int) -> float:
    """The share of all percentages with so many decimals that are k/n."""
    scale: int = 100 * 10**digits
    if scale <= 2 * n:  # where several counts have one percentage
        return sum(is_count(unit, digits, n) for unit in range(scale + 1)) / (scale + 1)
    up = sum(2 * (k * scale % n) >= n for k in range(n + 1))
    return (n + 1 + up) / (scale + 1)


def units(value: Decimal, digits: int) -> int:
    """A percentage in units of its last decimal."""
    return int(value.scaleb(digits))


def fits(value: Decimal, digits: int, n: int) -> int | None:
    """With how many decimals the value is k/n: as printed, or one less where the last is 0; None where with neither."""
    if is_count(units(value, digits), digits, n):
        return digits
    fewer = digits - 1
    padded = fewer >= 0 and units(value, digits) % 10 == 0
    return fewer if padded and is_count(units(value, fewer), fewer, n) else None


def beside(value: Decimal, n: int) -> list[tuple[int, float]]:
    """The two counts around a value, each with its percentage."""
    below = min(int(value * n / 100), n - 1)
    return [(k, 100 * k / n) for k in (below, below + 1)]


def at_least(hits: int, chances: Sequence[float]) -> float:
    """The probability of so many hits or more, of independent ones of these chances (Poisson binomial)."""
    import numpy as np

    probabilities = np.ones(1)
    for p in chances:
        probabilities = np.convolve(probabilities, (1 - p, p))
    return float(min(probabilities[hits:].sum(), 1.0))


@dataclass(frozen=True, slots=True)
class Fit:
    """How many of some values are k/n at their printed decimals, and the chance of so many among random values."""

    n: int
    hits: int
    of: int
    p: float


def fit(values: Sequence[tuple[Decimal, int]], n: int) -> Fit:
    hits = _hits(values, n)
    return Fit(n, hits, len(values), at_least(hits, [chance(n, digits) for _, digits in values]))


def _hits(values: Sequence[tuple[Decimal, int]], n: int) -> int:
    return sum(is_count(units(value, digits), digits, n) for value, digits in values)


def best(values: Sequence[tuple[Decimal, int]], candidates: Iterable[int]) -> Fit:
    """The n of which the values are least by chance, the smallest of equals.

    The exact chance is computed for the `NEAREST` whose hits are most standard deviations above what chance brings.
    """

    by_digits = Counter(digits for _, digits in values)

    def surprise(n: int) -> float:
        chances = [(chance(n, digits), count) for digits, count in by_digits.items()]
        spread = math.sqrt(sum(count * p * (1 - p) for p, count in chances))
        return (_hits(values, n) - sum(count * p for p, count in chances)) / spread if spread else 0.0

    first = sorted(candidates, key=lambda n: (-surprise(n), n))[:NEAREST]
    return min((fit(values, n) for n in first), key=lambda one: (one.p, one.n))


def without_padding(values: Sequence[tuple[Decimal, int]]) -> list[tuple[Decimal, int]]:
    """The values with fewer decimals, where each of those with most decimals ends in 0."""
    most = max((digits for _, digits in values), default=0)
    if most and all(units(value, digits) % 10 == 0 for value, digits in values if digits == most):
        return without_padding([(value, min(digits, most - 1)) for value, digits in values])
    return list(values)
