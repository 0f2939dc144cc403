"""Intervals and paired tests: known values, edges, and independent bootstraps."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import ttest_rel

from sft_sweeps.stats import (
    CONFIDENCE,
    CRITICAL,
    clustered_mean,
    detectable,
    holm,
    mcnemar,
    paired_means,
    paired_proportions,
    proportion,
    tango,
    two_level,
    two_level_difference,
    two_level_paired,
    weighted_mean,
)

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


def test_units_without_weight_leave_an_interval() -> None:
    """Where a resample draws them alone it has no mean, and counts as 0."""
    found = weighted_mean([0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 1.0, 1.0])
    assert (found.value, found.low, found.high) == (3.5, 0.0, 4.0)


def test_a_difference_at_two_levels_holds_the_seeds_of_both() -> None:
    """Where items are all alike, all of the interval comes from the seeds, of either side."""
    apart, alike = [[0.0] * 5, [1.0] * 5], [[0.5] * 5, [0.5] * 5]
    for ours, theirs in ((apart, alike), (alike, apart)):
        found = two_level_difference(ours, theirs)
        assert (found.value, found.low, found.high) == (0.0, -0.5, 0.5)
    nothing = two_level_difference(alike, alike)
    assert 0 < nothing.high == -nothing.low < 0.25


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
    if max(means) - min(means) > slack:
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


@given(st.floats(0.5, 10), st.integers(1, 200), st.integers(1, 9))
def test_units_of_one_value_leave_open_what_ties_do(value: float, n: int, weight: int) -> None:
    """As far as n equal units leave it: z^2 / (n + z^2) of the value, the end of Wilson's interval at n of n."""
    found = weighted_mean([value * weight] * n, [weight] * n)
    half = value * (1 - proportion(n, n).low)
    assert (found.value, found.low, found.high) == pytest.approx((value, value - half, value + half))


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


def verdicts(only_a: int, only_b: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return a, b


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (5, 0, 0.0625), (4, 0, 0.125), (3, 0, 0.25), (10, 0, 0.001953125), (1, 1, 1.0), (6, 2, 0.2890625)],
)
def test_mcnemar_against_binomial_sums_by_hand(only_a: int, only_b: int, p: float) -> None:
    """The first five are the paper's best cases: 29 against 24 of 164 can never be significant."""
    assert mcnemar(only_a, only_b) == pytest.approx(p)
    assert mcnemar(only_b, only_a) == pytest.approx(p)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_sum_of_the_tails(only_a: int, only_b: int) -> None:
    n, few = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(few + 1)) / 2**n
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "low", "high"),
    [
        (6, 16, 161, -0.1240, -0.0054),  # complete responses of Cavo et al. 2012: tests of R's contingencytables
        (1, 7, 21, -0.517, -0.026),  # airways of Bentur et al. 2009: Fagerland, Lydersen, Laake 2014
        (20, 60, 1000, -0.0584, -0.0231),  # R's PropCIs
    ],
)
def test_tango_published(only_a: int, only_b: int, n: int, low: float, high: float) -> None:
    found = tango(only_a, only_b, n)
    digits = 3 if n == 21 else 4
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_tangos_ends_are_those_of_the_score_test(only_a: int, only_b: int, same: int) -> None:
    """At an end, the statistic with the likelihood maximised on a grid is the critical value; inside it is less."""
    n = only_a + only_b + same
    assume(n > 0)
    found = tango(only_a, only_b, n)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    for end in (found.low, found.high):
        if -0.999 < end < 0.999:
            few = np.linspace(max(0.0, -end), (1 - end) / 2, 20_001)[1:-1]  # the share that B alone gets right
            counts = ((only_b, few), (only_a, few + end), (same, 1 - end - 2 * few))
            likelihood = sum(count * np.log(np.maximum(share, 1e-300)) for count, share in counts if count)
            best = few[int(np.argmax(likelihood))]
            deviation = math.sqrt(n * (2 * best + end - end * end))
            assert abs(only_a - only_b - n * end) == pytest.approx(CRITICAL * deviation, rel=0.02)


def test_ties_leave_something_open() -> None:
    """Two models that answer 80 items alike may differ in 4.6 % of all items: Wilson's end for 0 of 80."""
    found = paired_proportions([True] * 60 + [False] * 20, [True] * 60 + [False] * 20)
    assert found.p == 1.0
    assert found.interval.high == pytest.approx(proportion(0, 80).high)
    assert found.interval.low == -found.interval.high


@pytest.mark.parametrize(
    ("n", "shares"), [(20, (0.02, 0.02)), (80, (0.01, 0.03)), (164, (0.2, 0.15)), (30, (0.4, 0.1))]
)
def test_tango_covers_what_it_says(n: int, shares: tuple[float, float]) -> None:
    """Where the bootstrap of items covers as little as the chance that any item is discordant."""
    drawn = np.random.default_rng(1).multinomial(n, [*shares, 1 - sum(shares)], size=2000)
    found = [tango(int(a), int(b), n) for a, b, _ in drawn]
    covered = np.mean([one.low <= shares[0] - shares[1] <= one.high for one in found])
    assert covered >= 0.94


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_shares_change_sign_with_the_order(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    forth, back = paired_proportions(a, b), paired_proportions(b, a)
    assert forth.interval.value == pytest.approx(-back.interval.value)
    assert forth.p == back.p
    assert forth.interval.low <= forth.interval.value <= forth.interval.high


def test_pairing_narrows_the_interval() -> None:
    stream = np.random.default_rng(2)
    base = stream.normal(5, 2, 80)
    a, b = (base + 0.3 + stream.normal(0, 0.5, 80)).tolist(), base.tolist()
    found = paired_means(a, b).interval
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < 0.3  # 2 x 1.96 x 0.5 / sqrt(80) = 0.22; unpaired 1.2
    assert paired_means(a, b).p is None


def test_paired_means_are_students() -> None:
    """Against scipy's paired t test, where nothing ties."""
    stream = np.random.default_rng(8)
    a, b = stream.normal(5, 2, 80), stream.normal(5.4, 2, 80)
    expected = ttest_rel(a, b).confidence_interval(0.95)
    found = paired_means(a.tolist(), b.tolist()).interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_paired_means_cover_where_most_grades_tie() -> None:
    """60 questions, of which a twentieth have other grades: a plain t interval is 0 wide in one of twenty draws."""
    stream = np.random.default_rng(3)
    covered, plain = [], []
    for _ in range(600):
        theirs = stream.integers(1, 11, 60).astype(float)
        ours = theirs + np.where(stream.random(60) < 0.05, stream.choice([2.0, 1.0, -1.0], 60), 0.0)
        found = paired_means(ours.tolist(), theirs.tolist()).interval
        half = 2.0 * (ours - theirs).std(ddof=1) / math.sqrt(60)
        covered.append(found.low <= 0.05 * 2 / 3 <= found.high)
        plain.append(abs(found.value - 0.05 * 2 / 3) <= half)
    assert np.mean(covered) >= 0.94
    assert np.mean(plain) < 0.93


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.booleans())
def test_no_difference_of_means_is_certain(values: list[float], scaled: bool) -> None:
    """Not where every unit ties, nor with one unit; only of values that are all 0 nothing can be said."""
    other = [2 * value + 1 for value in values] if scaled else values
    for interval in (paired_means(values, other).interval, two_level_difference([values, values], [other])):
        assert interval.low <= interval.value <= interval.high
        if any(abs(value) > 1e-9 for value in values):
            assert interval.low < interval.high


def test_pairs_at_two_levels() -> None:
    """Seeds far apart that all lose alike: paired, the loss is sure; and it changes sign with the order."""
    stream = np.random.default_rng(6)
    before = (stream.random((3, 200)) < np.array([[0.9], [0.6], [0.3]])).astype(float)
    after = before * (stream.random((3, 200)) > 0.15)
    paired = two_level_paired(after.tolist(), before.tolist())
    free = two_level_difference(after.tolist(), before.tolist())
    assert paired.value == pytest.approx(free.value)
    assert paired.low < paired.value < paired.high < 0
    assert paired.high - paired.low < 0.6 * (free.high - free.low)
    back = two_level_paired(before.tolist(), after.tolist())
    assert (back.low, back.value, back.high) == pytest.approx((-paired.high, -paired.value, -paired.low))
    with pytest.raises(ValueError, match="same seeds"):
        two_level_paired([[1.0]], [[1.0], [1.0]])


def test_two_levels_without_variance() -> None:
    """All right with every seed is Wilson's n of n; all the same grade is not certainly that grade."""
    assert two_level([[1.0] * 30] * 3) == proportion(30, 30)
    assert two_level([[0.0] * 30] * 3) == proportion(0, 30)
    graded = two_level([[7.0] * 30] * 3)
    assert graded.low < 7 < graded.high
    same = [[1.0, 0.0] * 20] * 3
    tied = two_level_difference(same, same)
    assert tied.high == pytest.approx(proportion(0, 40).high)
    assert tied.low == -tied.high


def test_clusters_count_once() -> None:
    """The same answer four times is one observation: the interval is that of the clusters."""
    values = [float(v) for v in np.random.default_rng(1).integers(1, 11, 80)]
    once, often = clustered_mean([[v] for v in values]), clustered_mean([[v] * 4 for v in values])
    assert once == often
    alone = clustered_mean([[v] for v in values for _ in range(4)])
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_clusters_of_unequal_size_weigh_by_their_answers() -> None:
    assert clustered_mean([[1.0, 1.0, 1.0], [5.0]]).value == 2.0


def test_two_levels_are_wider_than_one_where_seeds_differ() -> None:
    stream = np.random.default_rng(4)
    items = stream.random((1, 300)) < 0.5
    same = np.repeat(items, 3, axis=0).astype(float)
    differing = np.clip(same + np.array([[0.1], [0.0], [-0.1]]), 0, 1)
    one, equal, apart = two_level(same[:1].tolist()), two_level(same.tolist()), two_level(differing.tolist())
    assert equal.high - equal.low == pytest.approx(one.high - one.low, rel=0.1)
    assert apart.high - apart.low > 1.2 * (equal.high - equal.low)
    wilson = proportion(int(items.sum()), 300)
    assert one.low == pytest.approx(wilson.low, abs=0.01)
    assert one.high == pytest.approx(wilson.high, abs=0.01)


def test_holm_by_hand_and_against_scipy_free_loop() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_and_bonferronis(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for plain, found in zip(p_values, adjusted, strict=True):
        assert plain <= found <= min(1.0, len(p_values) * plain) + 1e-12
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@pytest.mark.parametrize(("n", "discordant", "points"), [(1319, 0.2, 3.4), (164, 0.15, 8.4), (165, 0.2, 9.7)])
def test_detectable_differences(n: int, discordant: float, points: float) -> None:
    assert 100 * detectable(n, discordant) == pytest.approx(points, abs=0.06)


def test_a_detectable_difference_is_detected_with_its_power() -> None:
    """Simulated: McNemar's test at 5 % sees the difference in about 80 of 100 pairs of models."""
    n, discordant = 1319, 0.2
    d = detectable(n, discordant)
    shares = [(discordant + d) / 2, (discordant - d) / 2, 1 - discordant]
    drawn = np.random.default_rng(0).multinomial(n, shares, size=400)
    seen = np.mean([mcnemar(int(a), int(b)) < 0.05 for a, b, _ in drawn])
    assert 0.72 < seen < 0.86


def test_no_pairs() -> None:
    for call in (lambda: paired_proportions([True], []), lambda: paired_means([], []), lambda: two_level([[]])):
        with pytest.raises(ValueError, match=r"no pairs|seeds by items"):
            call()
    with pytest.raises(ValueError, match="no counts"):
        mcnemar(-1, 2)
    for n, discordant in ((0, 0.2), (10, 0.0), (10, 1.5)):
        with pytest.raises(ValueError, match="can show nothing"):
            detectable(n, discordant)
