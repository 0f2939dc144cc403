"""Replicates are one cell, with their spread; what differs in anything else is another one and is not compared."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.analysis.cells import Compared, as_family, cells, compared
from sft_sweeps.analysis.observations import Observation, Setting
from sft_sweeps.stats import Interval, holm, mcnemar, proportion, two_level

SETTING = Setting("mini", 10, "dmt")


def observed(right: Sequence[bool], seed: int = 0, strategy: str = "dmt", **changes: object) -> Observation:
    """A share of right items."""
    found = proportion(sum(right), len(right))
    setting = Setting("mini", 10, strategy, seed=seed)
    items = {f"i{n}": float(one) for n, one in enumerate(right)}
    numbers = (found.value, found.low, found.high, len(right))
    one = Observation(setting, "gsm8k", "math", "accuracy", *numbers, True, "p", items=items, run=f"{strategy}{seed}")
    return replace(one, label=f"mini {strategy}" + (f" seed={seed}" if seed else ""), **changes)  # type: ignore[arg-type]


def moved(one: Observation) -> Observation:
    """The same scores of runs under another recipe."""
    return replace(one, setting=replace(one.setting, variant="x"), run=f"{one.run}x")


def first(count: int, n: int = 40) -> list[bool]:
    return [index < count for index in range(n)]


@settings(max_examples=15)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_replicates_are_one_cell_whose_interval_holds_its_mean(table: list[list[bool]]) -> None:
    (cell,) = cells([observed(row, seed) for seed, row in reversed(list(enumerate(table)))])
    assert cell.seeds == tuple(range(len(table)))
    assert cell.label == "mini dmt"
    assert cell.mean.value == pytest.approx(sum(map(sum, table)) / (5 * len(table)))
    assert cell.mean.low <= cell.mean.value <= cell.mean.high
    assert cell.mean.low < cell.mean.high  # no interval without width, where all is right too
    assert (cell.sd is None) == (len(table) == 1)


def test_nothing_else_falls_together() -> None:
    one = observed(first(3))
    others = [
        replace(one, setting=replace(one.setting, variant="lr"), run="a"),
        replace(one, protocol="judge"),
        replace(one, stage=2),
        replace(one, benchmark="humaneval"),
        replace(observed(first(3, 39)), run="b"),
        replace(one, origin="paper", run="c"),
    ]
    assert len(cells([one, *others])) == 7


def test_a_run_that_two_sweeps_have_counts_once() -> None:
    (cell,) = cells([observed(first(3)), observed(first(3))])
    assert (cell.sd, cell.seeds) == (None, (0,))


def test_without_items_seeds_alone_are_averaged() -> None:
    (cell,) = cells([replace(observed(first(20 + n), n), items={}) for n in range(3)])
    assert (cell.mean.value, cell.sd) == (pytest.approx(0.525), pytest.approx(0.025))
    assert cell.mean.high - cell.mean.value == pytest.approx(4.3027 * 0.025 / 3**0.5, rel=1e-4)


def test_one_seed_each_is_mcnemars() -> None:
    ours, theirs = cells([observed(first(30)), observed(first(20), strategy="sequential")])
    found = compared(ours, theirs)
    assert found is not None
    assert (found.difference.value, found.p) == (pytest.approx(0.25), mcnemar(10, 0))
    (alone,) = as_family([found])
    assert alone.sure
    assert alone.adjusted == mcnemar(10, 0)


@pytest.mark.parametrize("changes", [{"protocol": "x"}, {"items": {}}, {"items": {"other": 1.0}}])
def test_other_protocols_or_items_are_not_compared(changes: dict[str, object]) -> None:
    ours, theirs = cells([observed(first(30)), observed(first(20), strategy="sequential", **changes)])
    assert compared(ours, theirs) is None


def test_several_seeds_are_as_wide_as_the_seeds_and_the_items_say() -> None:
    """Seeds that agree leave the noise of the items; seeds that do not, Welch's interval of three against three."""
    steady = [observed(first(30), seed) for seed in range(3)]
    shaky = [observed(first(count), seed, "sequential") for seed, count in enumerate((4, 20, 36))]
    ours, theirs = cells([*steady, *shaky])
    found = compared(ours, theirs)
    assert found is not None
    assert found.p is None
    welch = Interval(0.25, 0.25 - 4.3027 * 0.4 / 3**0.5, 0.25 + 4.3027 * 0.4 / 3**0.5)
    assert welch.high > 1  # which no difference of two shares can be
    assert (found.difference.low, found.difference.high) == (pytest.approx(welch.low, rel=1e-4), 1)
    (one,) = as_family([found])
    assert one.wide is not None
    assert -1 <= one.wide.low <= found.difference.low
    assert one.wide.high == 1
    again = cells([*steady, *(moved(one) for one in steady)])
    same = compared(*again)
    assert same is not None
    assert same.difference.low <= 0 <= same.difference.high
    table = [[float(value) for value in first(30)]] * 3
    assert (ours.mean.low, ours.mean.high) == pytest.approx((two_level(table).low, two_level(table).high))


def test_a_family_is_adjusted_together() -> None:
    """More comparisons: larger p by Holm, and without p a wider interval."""
    cell, *_ = cells([observed(first(3))])
    apart = Compared(cell, cell, Interval(0.2, 0.1, 0.3))
    exact = [Compared(cell, cell, Interval(0.2, 0.1, 0.3), p=p) for p in (0.04, 0.03)]
    (alone,) = as_family([apart])
    assert alone.wide == pytest.approx(apart.difference) or alone.wide == Interval(
        0.2, pytest.approx(0.1), pytest.approx(0.3)
    )
    family = as_family([apart, *exact])
    wide = family[0].wide
    assert wide is not None
    assert wide.high - 0.2 == pytest.approx(0.1 * 2.3940 / 1.9600, rel=1e-4)
    assert [one.adjusted for one in family] == [None, *holm([0.04, 0.03])]
    assert [one.sure for one in family] == [True, False, False]


def test_a_loss_gains_by_falling() -> None:
    cell, *_ = cells([replace(observed(first(3)), metric="loss")])
    assert Compared(cell, cell, Interval(-0.5, -0.6, -0.4)).gain == 0.5
