"""Where points stand along the grid: at their logarithm, 0 apart, on the page as in print; ticks that can be read."""

from fractions import Fraction
from itertools import pairwise
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import study

from sft_sweeps.analysis.cells import finals
from sft_sweeps.report import places
from sft_sweeps.report.figures import curves, style
from sft_sweeps.report.page import sections

PLACES = st.lists(st.floats(1e-4, 1e6), min_size=1, max_size=30, unique=True)


@given(PLACES, st.booleans())
def test_factors_are_distances_and_nothing_lies_left_of_zero(found: list[float], zero: bool) -> None:
    at = places.positions([*found, *([0.0] if zero else [])])
    for a, b in pairwise(sorted(found)):
        assert at[b] - at[a] == pytest.approx(log2(b / a), abs=1e-9)
    if zero:
        assert min(at[one] for one in found) - at[0.0] == pytest.approx(places.APART)


@given(PLACES)
def test_ticks_are_places_that_can_be_read_from_each_other(found: list[float]) -> None:
    at, named = places.positions(found), places.ticks(found)
    assert set(named) <= set(found)
    assert named[0] == min(found)
    assert len(named) <= places.MOST_TICKS + 1
    span = at[max(found)] - at[min(found)]
    assert all(at[b] - at[a] >= span / places.MOST_TICKS - 1e-9 for a, b in pairwise(named))


def test_all_values_of_k_that_the_paper_has_are_named() -> None:
    ks = [0.0, *(1 / 2**power for power in (8, 6, 5, 4, 3, 2, 1, 0))]
    named = [places.fraction(at) for at in places.ticks(ks)]
    assert named == ["0", "1/256", "1/64", "1/32", "1/16", "1/8", "1/4", "1/2", "1"]


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12))
def test_lines_stand_beside_each_other_around_their_place(lines: list[str]) -> None:
    found = places.shifts(lines)
    assert found.keys() == set(lines)
    assert len(set(found.values())) == len(found)
    assert sum(found.values()) == pytest.approx(0)
    assert max(found.values()) - min(found.values()) <= places.WHOLE


def test_no_line_leads_to_zero_on_the_page_or_in_print() -> None:
    cells = finals(study(("llama7b",), 1, 40))
    charts = [one for one in sections.curves(cells, {}) if one.heading.key.startswith("replay")]
    assert len(charts) == 3
    for chart in charts:
        joined = chart.spec["layer"][0]
        assert joined["transform"] == [{"filter": "!datum.apart"}]
        (rows,) = chart.spec["datasets"].values()
        assert [row["place"] for row in rows if row.get("apart")] == [0.0]
        assert {row["place"] for row in rows} == {0.0, *(float(Fraction(1, 4**n)) for n in range(5))}
    with style.applied():
        figure = curves.figure8(cells)
    zero = places.positions([0.0, *(1 / 4**n for n in range(5))])[0.0]
    joined = [one for axis in figure.axes for one in axis.lines if one.get_linestyle() not in ("None", ":")]
    assert len(joined) == 3
    assert all(min(one.get_xdata()) > zero + 1 for one in joined)
