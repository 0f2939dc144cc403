"""A score is written and read as one value, also from records of before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.benchmarks.scored import Scored, accuracy

COUNTS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(n, 3000)))


@given(
    COUNTS, st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted), st.sampled_from(("loss", "pass@1", "own"))
)
def test_a_record_gives_the_score_back(counts: tuple[int, int, int], ends: list[float], metric: str) -> None:
    k, n, total = counts
    mean = Scored(metric, ends[1], ends[0], ends[2], n, total=total)
    for scored in (mean, accuracy([True] * k + [False] * (n - k), total)):
        for read in (scored, scored.read_as(2 * n, n, k)):
            assert Scored.from_record({"score": read.to_record(), "seconds": 1}) == read


def test_records_of_before_are_read() -> None:
    """They have no total where the benchmark has none; what a later version adds is passed over."""
    old = {"metric": "loss", "value": 2.0, "low": 1.5, "high": 2.5, "n": 10, "k": None}
    assert Scored.from_record({"score": old | {"later": 1}}, "abc") == Scored("loss", 2.0, 1.5, 2.5, 10, id="abc")
    with pytest.raises(ValueError, match="its score has no metric"):
        Scored.from_record({"score": {"value": 2.0}})


def test_a_limited_set_says_so() -> None:
    assert accuracy([True, False], total=10).text().endswith("2 of 10 items")
    assert "of" not in accuracy([True, False], total=2).text()
