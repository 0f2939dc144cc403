"""Checks beside fields: what an interval takes, and that the walk reaches every field of every dataclass inside."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.ranges import (
    NumberRange,
    above,
    at_least,
    below,
    between,
    folder_name,
    literals,
    one_known,
    one_of,
    problems,
)
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.training import Recipe

NUMBERS = st.integers() | st.floats()


@given(NUMBERS, st.integers(-9, 9), st.integers(10, 99), st.booleans(), st.booleans())
def test_an_interval_takes_its_numbers_and_names_its_example(
    value: float, low: int, high: int, low_open: bool, high_open: bool
) -> None:
    texts = list(NumberRange(low, high, low_open, high_open, example="10")("a.b", value))
    inside = (low < value if low_open else low <= value) and (value < high if high_open else value <= high)
    assert len(texts) == (not inside)
    assert all(text.startswith(f"a.b={value} must be ") and text.endswith("e.g. a.b=10") for text in texts)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (NumberRange(1), "a number of at least 1"),
        (NumberRange(0, low_open=True), "above 0"),
        (NumberRange(0, 1), "in [0, 1)"),
        (NumberRange(0, 7, high_open=False), "in 0 ... 7"),
    ],
)
def test_an_interval_says_what_it_takes(interval: NumberRange, words: str) -> None:
    assert list(interval("a", math.nan)) == [f"a=nan must be {words}"]


@dataclass
class Inner:
    count: int = at_least(1, default=0)
    plain: int = -1


@dataclass
class Outer:
    mode: str = one_of("fast", "slow", default="fats")
    rate: float = above(0, default=0.0, example="0.1")
    share: float = below(1, default=1.0, example="0.5")
    seed: int = between(0, 9, default=10)
    title: str = folder_name(default="")
    label: str | None = folder_name(default=None)
    tags: list[str] = one_known(lambda: ("a", "b"), default=["a", "c", "d"])
    inner: Inner = field(default_factory=Inner)
    by_name: dict[str, Inner] = field(default_factory=lambda: {"x": Inner(), "y": Inner(2)})


def test_the_walk_reaches_every_field() -> None:
    assert list(problems(Outer(), "top.")) == [
        "top.mode=fats is unknown; valid: fast, slow; did you mean top.mode=fast?",
        "top.rate=0.0 must be above 0, e.g. top.rate=0.1",
        "top.share=1.0 must be in [0, 1), e.g. top.share=0.5",
        "top.seed=10 must be in 0 ... 9",
        "top.tags=c is unknown; valid: a, b",
        "top.tags=d is unknown; valid: a, b",
        "top.inner.count=0 must be a number of at least 1",
        "top.by_name.x.count=0 must be a number of at least 1",
    ]
    assert list(problems(Inner(1))) == []
    assert Outer().tags is not Outer().tags


def test_the_values_of_a_literal_are_those_of_the_exact_value() -> None:
    assert literals(Recipe, "precision") == ("fp32", "bf16")
    assert literals(Source, "role") == ("specialized", "general")
