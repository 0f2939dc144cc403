"""A study's hypotheses mean pairs of runs that differ in what is claimed and in nothing else."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import model, request

from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import build
from sft_sweeps.plan.hypotheses import Hypothesis, overrides, pairs
from sft_sweeps.plan.serialize import from_json, to_json

MODELS, SEEDS, KS = ("a", "b", "c"), ("0", "1", "2"), ("1/4", "0.25", "1/16")


@given(
    st.sets(st.tuples(st.sampled_from(MODELS), st.sampled_from(SEEDS), st.sampled_from(KS[1:]))),
    st.sets(st.tuples(st.sampled_from(MODELS), st.sampled_from(SEEDS))),
)
def test_a_pair_for_each_model_and_seed_that_both_sides_have(
    dmt: set[tuple[str, str, str]], sequential: set[tuple[str, str]]
) -> None:
    """Against what a double loop says; 1/4 and 0.25 are one value, and other values of k are not meant."""
    points = {f"d{m}{s}{k}": [f"study=x model={m} train.seed={s} strategy=dmt strategy.k={k}"] for m, s, k in dmt}
    points |= {f"s{m}{s}": [f"study=y model={m} train.seed={s} strategy=sequential"] for m, s in sequential}
    wanted = {
        (f"d{m}{s}{k}", f"s{n}{t}")
        for (m, s, k), (n, t) in product(dmt, sequential)
        if Fraction(k) == Fraction("1/4") and (m, s) == (n, t)
    }
    assert set(pairs("strategy=dmt strategy.k=1/4", "strategy=sequential", points)) == wanted


def test_what_only_the_other_side_names_is_not_typed() -> None:
    """`strategy=multi_task` against `data=math strategy=multi_task`: the mixture, which is the default, not itself."""
    points = {
        "math": ["model=a data=math strategy=multi_task"],
        "code": ["model=a data=code strategy=multi_task"],
        "mixed": ["model=a strategy=multi_task"],
    }
    assert list(pairs("strategy=multi_task", "data=math strategy=multi_task", points)) == [("mixed", "math")]
    assert list(pairs("data=math,code", "strategy=multi_task", points)) == []


@pytest.mark.parametrize("text", ["strategy", "strategy=", "=dmt", "strategy=dmt k", "strategy='dmt"])
def test_what_is_no_overrides_is_named(text: str) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        overrides(text)


def test_hypotheses_are_frozen_with_the_plan_and_move_no_id() -> None:
    claim = Hypothesis("a keeps more than b", "mini_math", "model=a", "model=b")
    points = [(f"model={name}", request(base=model(name))) for name in ("a", "b")]
    plan, plain = build(points, [claim, Hypothesis("nobody", "mini_math", "model=c", "model=b")]), build(points)
    a, b = (run.id for run in plan.runs)
    assert plan.hypotheses[0].pairs == ((a, b),)
    assert [note for note in plan.notes if "not tested here: nobody (no run here is model=c)" in note]
    frozen = to_json(plan, {})
    assert from_json(frozen).hypotheses == plan.hypotheses
    for part in ("runs", "stages", "generations", "scores"):
        assert frozen[part] == to_json(plain, {})[part]
    del frozen["hypotheses"]  # as version 1.0 wrote it
    assert from_json(frozen).hypotheses == ()
