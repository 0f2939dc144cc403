"""Fractions are exact, and one rule turns them into counts."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.config.fractions import parse_fraction
from sft_sweeps.errors import RequestError
from sft_sweeps.spec.data import count_examples

FRACTIONS = st.fractions(min_value=Fraction(1, 10_000), max_value=1, max_denominator=10_000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("4/4", "1"),
        ("1/4", "1/4"),
        ("0.25", "1/4"),
        ("01/4", "1/4"),
        (" 1/4 ", "1/4"),
        ("2/8", "1/4"),
        ("1/3", "1/3"),
        ("1/256", "1/256"),
        ("0.00390625", "1/256"),
        ("1e-2", "1/100"),
    ],
)
def test_one_canonical_value(text: str, value: str) -> None:
    assert str(parse_fraction(text, "data.fraction")) == value


@pytest.mark.parametrize(
    "text", ["0", "0.0", "-1", "-1/4", "5/4", "1.01", "1/0", "abc", "", "nan", "inf", "1/", "1/4/2", "25%", "None"]
)
def test_everything_else_is_refused_and_says_what_to_type(text: str) -> None:
    with pytest.raises(RequestError) as error:
        parse_fraction(text, "data.fractions.math")
    message = str(error.value)
    assert f"data.fractions.math={text}" in message
    assert "data.fractions.math=1/4" in message
    assert "(0, 1]" in message


@given(FRACTIONS)
def test_every_fraction_survives_its_text(fraction: Fraction) -> None:
    assert parse_fraction(str(fraction), "k") == fraction


@given(st.integers(0, 200_000), FRACTIONS, FRACTIONS, st.integers(0, 1000))
def test_counts_grow_with_the_fraction_and_never_reach_the_held_out(
    rows: int, one: Fraction, other: Fraction, heldout: int
) -> None:
    small, large = sorted((one, other))
    few, many = count_examples(rows, small, heldout), count_examples(rows, large, heldout)
    assert 0 <= few <= many <= max(rows - heldout, 0)
    assert few <= max(rows - heldout, 0) * small < few + 1  # floor, exactly
    assert count_examples(rows, Fraction(1), heldout) == max(rows - heldout, 0)


def test_the_papers_counts() -> None:
    assert [count_examples(rows, Fraction(1, 256)) for rows in (110142, 20022, 86060)] == [430, 78, 336]
    assert [count_examples(rows, Fraction(1, 4)) for rows in (110142, 20022, 86060)] == [27535, 5005, 21515]


def test_a_third_is_not_rounded() -> None:
    assert count_examples(3 * 10**15, Fraction(1, 3)) == 10**15  # 0.333... as a float takes one fewer
