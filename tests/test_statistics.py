"""Intervals: known values, edges, and an independent bootstrap."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sft_sweeps.statistics import CONFIDENCE, proportion, weighted_mean

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("k", "n", "percent"),
    [
        (29, 164, (17.7, 12.6, 24.2)),
        (648, 1319, (49.1, 46.4, 51.8)),
        (0, 10, (0.0, 0.0, 27.8)),
        (10, 10, (100.0, 72.2, 100.0)),
        (0, 1, (0.0, 0.0, 79.3)),
        (1, 1, (100.0, 20.7, 100.0)),
        (1, 2, (50.0, 9.5, 90.5)),
    ],
)
def test_wilson_against_known_values(k: int, n: int, percent: tuple[float, ...]) -> None:
    found = proportion(k, n)
    assert tuple(round(100 * x, 1) for x in (found.value, found.low, found.high)) == percent


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_wilsons_formula(pair: tuple[int, int]) -> None:
    k, n = pair
    found = proportion(k, n)
    center = (k + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * math.sqrt(k * (n - k) / n + Z * Z / 4)
    assert found.value == k / n
    assert found.low == pytest.approx(center - half, abs=1e-9)
    assert found.high == pytest.approx(center + half, abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("k", "n"), [(0, 0), (1, 0), (-1, 5), (6, 5), (0, -1), (-2, -1)])
def test_no_proportion(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{k} of {n} is no proportion"):
        proportion(k, n)


def drawn(n: int, seed: int = 0) -> tuple[list[float], list[int]]:
    """Summed losses of n examples, with their numbers of tokens."""
    stream = np.random.default_rng(seed)
    tokens = stream.integers(3, 40, n)
    return list(tokens * stream.gamma(4.0, 0.5, n)), tokens.tolist()


def test_a_bootstrap_is_repeatable_and_seeded() -> None:
    totals, weights = drawn(64)
    assert weighted_mean(totals, weights) == weighted_mean(totals, weights)
    other = weighted_mean(totals, weights, seed=1)
    assert other.value == weighted_mean(totals, weights).value
    assert other.low != weighted_mean(totals, weights).low


@given(st.lists(st.tuples(st.floats(0, 1e4), st.integers(1, 500)), min_size=1, max_size=40))
def test_an_interval_holds_its_value_and_lies_within_the_data(rows: list[tuple[float, int]]) -> None:
    found = weighted_mean([total for total, _ in rows], [weight for _, weight in rows])
    means = [total / weight for total, weight in rows]
    assert found.value == pytest.approx(math.fsum(t for t, _ in rows) / sum(w for _, w in rows))
    slack = 1e-9 * max(means)
    assert min(means) - slack <= found.low <= found.high <= max(means) + slack


def test_an_interval_contains_the_mean_and_shrinks() -> None:
    widths = []
    for n in (25, 100, 400, 1600):
        found = weighted_mean(*drawn(n))
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    ratios = [wide / narrow for wide, narrow in pairwise(widths)]
    assert len(ratios) == 3
    assert all(1.5 < ratio < 2.7 for ratio in ratios), ratios  # a half, for four times as many


def test_one_example_has_no_width() -> None:
    found = weighted_mean([6.0], [3])
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_weights_count() -> None:
    """The mean over tokens is not the mean over examples."""
    assert weighted_mean([10.0, 0.0], [10, 90]).value == 0.1


def test_against_scipys_bootstrap() -> None:
    totals, weights = drawn(120, seed=3)
    found = weighted_mean(totals, weights)
    oracle = stats.bootstrap(
        (np.array(totals), np.array(weights)),
        lambda total, weight, axis=-1: total.sum(axis=axis) / weight.sum(axis=axis),
        n_resamples=20_000,
        paired=True,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(11),
    ).confidence_interval
    width = oracle.high - oracle.low
    assert abs(found.low - oracle.low) < 0.08 * width
    assert abs(found.high - oracle.high) < 0.08 * width


@pytest.mark.parametrize(("totals", "weights"), [([], []), ([1.0], [1, 2]), ([1.0], []), ([0.0, 0.0], [0, 0])])
def test_no_weighted_mean(totals: list[float], weights: list[int]) -> None:
    with pytest.raises(ValueError, match="as many weights as totals"):
        weighted_mean(totals, weights)
