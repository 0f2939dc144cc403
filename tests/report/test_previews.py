"""What previews by averaging are worth: pairs of one mixture, and the agreement of two orders."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sweeps import made
from outcomes import finish
from values import RECIPE, component, mixed, request

from sft_sweeps.analysis import rank_agreement
from sft_sweeps.analysis.rank_agreement import of_models, tau_b
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import previews, tables
from sft_sweeps.report.collect import collect, to_json
from sft_sweeps.report.previews import pairs
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.store.store import Store

FRACTIONS = [Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(1, 8)]
ITEMS = 40


@pytest.fixture(autouse=True, scope="module")
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_agreement, "RESAMPLES", 60)
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Four mixtures, each trained and averaged; a sequential run and one ability alone have no preview."""
    asked = [
        (f"{strategy} {fraction}", request(mixed(fraction), strategy))
        for fraction in FRACTIONS
        for strategy in ("multi_task", "merge")
    ]
    return build([*asked, ("s", request(strategy="sequential")), ("m", request([component("math")]))])


def right_of(score: Score, order: Sequence[int]) -> list[bool]:
    """Mixtures in the order in which their averages are good; trained ones in that of FRACTIONS, but for few noise."""
    subject = score.generation.subject
    fraction = subject.chain[0].mixture.components[0].fraction
    if fraction not in FRACTIONS or len(subject.chain) == 2:
        return [True] * ITEMS
    place = FRACTIONS.index(fraction)
    averaged = len(subject.chain) == 3
    count = 5 + 6 * (order[place] if averaged else 3 - place)
    return [item < count for item in range(ITEMS)]


def test_pairs_are_of_one_mixture_and_seed(plan: Plan) -> None:
    found = pairs(plan)
    assert len(found) == len(FRACTIONS)
    for pair in found:
        assert pair.preview.merge is not None
        averaged = {c for one in pair.preview.stages for c in one.mixture.components}
        assert averaged == set(pair.trained.stages[0].mixture.components)
        assert pair.trained.strategy == "multi_task"


@pytest.mark.parametrize(("order", "tau"), [([3, 2, 1, 0], 1.0), ([0, 1, 2, 3], -1.0), ([3, 2, 0, 1], 2 / 3)])
def test_tau_says_whether_the_orders_agree(order: list[int], tau: float, plan: Plan, tmp_path: Path) -> None:
    made(tmp_path, plan, lambda score: right_of(score, order))
    for merge in plan.merges:
        finish(Store(tmp_path), merge, seconds=0.25)
    results = collect(plan, Store(tmp_path), "s")
    (found,) = results.previews
    assert found.tau is not None
    assert found.tau.value == pytest.approx(tau)
    assert found.tau.low <= found.tau.value <= found.tau.high
    assert len(found.mixtures) == len(FRACTIONS)
    assert found.best.trained == max(one.trained for one in found.mixtures)
    assert found.picked.preview == max(one.preview for one in found.mixtures)
    assert (found.seconds_merging, found.seconds_training, found.seconds_stages) == (1.0, 50.0, 150.0)
    again = collect(plan, Store(tmp_path), "s", made=json.loads(json.dumps(to_json(results))))
    assert again.previews == results.previews
    assert "Kendall" in tables.markdown(results)
    _, rows = previews.rows(results.previews)
    assert rows[0][3].startswith(f"{tau:.2f} [")
    assert "Averaging took 1.0 s" in previews.said(results.previews)


def test_two_mixtures_have_no_order(tmp_path: Path) -> None:
    asked = [
        (f"{strategy} {fraction}", request(mixed(fraction), strategy))
        for fraction in FRACTIONS[:2]
        for strategy in ("multi_task", "merge")
    ]
    plan = build(asked)
    made(tmp_path, plan, lambda score: right_of(score, [3, 2, 1, 0]))
    assert collect(plan, Store(tmp_path), "s").previews == ()


def test_another_recipe_is_no_pair() -> None:
    other = request(mixed(), "merge", recipe=replace(RECIPE, epochs=4))
    assert pairs(build([("a", request(mixed())), ("b", other)])) == []


@given(st.lists(st.lists(st.integers(0, 9), min_size=6, max_size=6), min_size=3, max_size=6))
def test_a_ranking_agrees_with_itself_and_not_with_its_reverse(values: list[list[int]]) -> None:
    models = [np.asarray([one], dtype=float) for one in values]
    found, against = of_models(models, models), of_models(models, [-one for one in models])
    if len({sum(one) for one in values}) == 1:
        assert found is None
        return
    assert found is not None
    assert against is not None
    assert found.value == pytest.approx(1)
    assert against.value == pytest.approx(-1)
    assert found.low <= 1 <= found.high + 1e-9


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9))
def test_tau_b_agrees_with_counting_pairs(points: list[tuple[int, int]]) -> None:
    """Kendall's own definition, with ties in the denominator."""
    agree, one_tied, other_tied = 0, 0, 0
    count = len(points)
    for i in range(count):
        for j in range(i):
            a, b = np.sign(points[i][0] - points[j][0]), np.sign(points[i][1] - points[j][1])
            agree, one_tied, other_tied = agree + a * b, one_tied + (a == 0), other_tied + (b == 0)
    total = count * (count - 1) / 2
    found = tau_b([a for a, _ in points], [b for _, b in points])
    below = ((total - one_tied) * (total - other_tied)) ** 0.5
    if below == 0:
        assert found is None
    else:
        assert found == pytest.approx(agree / below)
