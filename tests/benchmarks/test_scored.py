"""A score is written and read as one value, also from records of before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.benchmarks.scored import Scored, accuracy

SHARES = st.floats(0, 1)


@given(
    st.builds(
        Scored,
        metric=st.sampled_from(("accuracy", "loss", "pass@1", "rating")),
        value=SHARES,
        low=SHARES,
        high=SHARES,
        n=st.integers(1, 2000),
        k=st.none() | st.integers(0, 2000),
        total=st.integers(0, 2000),
    )
)
def test_a_record_gives_the_score_back(scored: Scored) -> None:
    assert Scored.from_record({"score": scored.to_record(), "seconds": 1}) == scored


def test_records_of_before_are_read() -> None:
    """They have no total where the benchmark has none; what a later version adds is passed over."""
    old = {"metric": "loss", "value": 2.0, "low": 1.5, "high": 2.5, "n": 10, "k": None}
    assert Scored.from_record({"score": old | {"later": 1}}, "abc") == Scored("loss", 2.0, 1.5, 2.5, 10, id="abc")
    with pytest.raises(KeyError):
        Scored.from_record({"score": {"value": 2.0}})


def test_a_limited_set_says_so() -> None:
    assert accuracy([True, False], total=10).text().endswith("2 of 10 items")
    assert "of" not in accuracy([True, False], total=2).text()
