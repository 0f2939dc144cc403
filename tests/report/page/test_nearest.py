"""A run's neighbours are those that differ in the fewest fields, found at 10,000 runs as at two."""

import time

from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.report.page.nearest import Setting, differences, nearest

SETTING = st.dictionaries(st.sampled_from(["k", "model", "strategy", "data.seed"]), st.sampled_from(["none", "1", "2"]))


@given(st.lists(SETTING, max_size=12), st.integers(1, 5))
def test_the_nearest_are_those_with_the_fewest_differences(settings: list[Setting], most: int) -> None:
    for own, found in zip(settings, nearest(settings, most), strict=True):
        counts = [len(differences(own, other)) for other in settings]
        differing = [place for place, count in enumerate(counts) if count]
        assert found == sorted(differing, key=counts.__getitem__)[:most]


def test_differences_are_named_from_both_sides() -> None:
    assert differences({"k": "1/4", "model": "a"}, {"model": "a", "seed": "1"}) == [
        "k: 1/4 here, none there",
        "seed: none here, 1 there",
    ]


def test_thousands_of_runs_take_seconds() -> None:
    """Comparing texts of every two of 5,000 took two minutes."""
    settings = [{"fraction": str(n % 10), "seed": str(n // 10), "model": "mini"} for n in range(5000)]
    began = time.process_time()
    found = list(nearest(settings, 4))
    assert time.process_time() - began < 15
    assert all(len(places) == 4 for places in found)
