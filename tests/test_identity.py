"""Canonical JSON: equal values have one text, different ones two, and what has no stable form is refused."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.identity import canonical, canonical_json, differences, digest
from sft_sweeps.spec.data import Source

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_canonical_json_keeps_the_value_and_is_ascii(value: Any) -> None:
    text = canonical_json(value)
    assert text.isascii()
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), VALUES, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)


@given(VALUES, VALUES)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    if one != other:
        assert canonical_json(one) != canonical_json(other)


def test_true_one_and_text_are_told_apart() -> None:
    assert len({canonical_json(value) for value in (True, 1, "1", "true", None, "null", [1], {"1": 1})}) == 8


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), {1: 2}, {None: 1}, {1}, b"x", object(), Path("x"), len, Source, 1j],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_stable_form_is_refused(value: Any) -> None:
    for nested in (value, [value], {"a": {"b": value}}, (1, (value,))):
        with pytest.raises(TypeError):
            digest(nested)


def test_fractions_are_exact() -> None:
    assert canonical([Fraction(1, 3), Fraction(2, 8), Fraction(1)]) == ["1/3", "1/4", "1"]


OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(OBJECTS, OBJECTS)
def test_payloads_differ_where_they_are_said_to(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert bool(differences(old, new)) == (old != new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b 1 -> 2"]),
        ({"a": 1}, {"b": 1}, ["a 1 -> absent", "b absent -> 1"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a[1] 2 -> 3"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a [1] -> [1, 2]"]),
        ({"a": None}, {}, ["a null -> absent"]),
        (1, "1", ['1 -> "1"']),
    ],
)
def test_a_difference_names_its_field_and_both_values(old: Any, new: Any, said: list[str]) -> None:
    assert differences(old, new) == said
