"""The map of representations on the page: every query is there, panels share a plane, numbers stand beside it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.analysis.representations import Separation
from sft_sweeps.report.page import chart, maps
from sft_sweeps.report.represented import Panel, Represented
from sft_sweeps.stats import Interval

APART = Separation(Interval(0.31, 0.27, 0.35), Interval(0.9, 0.85, 0.94), 4, 10, 1 / 2)
MOVED = replace(APART, silhouette_change=Interval(0.02, -0.01, 0.05), purity_change=Interval(0.0, -0.1, 0.1))
PLACES = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 3))
PLANES = st.lists(st.tuples(PLACES, PLACES), min_size=4, max_size=4)


def represented(*planes: Any) -> Represented:
    """A base model and others, whose labels are alike, on four queries of two sources."""
    panels = [Panel(f"id{n}", "mini <b>dmt", MOVED if n else APART, tuple(of)) for n, of in enumerate(planes)]
    return Represented("mini", 15, "last", "fp32", ("q0", "q1", "q2", "q3"), ("a", "a", "b", "b"), tuple(panels))


@pytest.fixture(autouse=True)
def valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "VALIDATE", True)


@given(st.lists(PLANES, min_size=1, max_size=4))
def test_each_query_of_each_model_is_a_point_within_the_shared_plane(planes: list[Any]) -> None:
    chart.VALIDATE = False  # hypothesis asks often
    (made,) = maps.maps([represented(*planes)])
    (rows,) = made.spec["datasets"].values()
    assert [(row["x"], row["y"]) for row in rows] == [point for plane in planes for point in plane]
    assert [row["source"] for row in rows] == ["a", "a", "b", "b"] * len(planes)
    assert len({row["panel"] for row in rows}) == len(planes), "models of one label have a panel each"
    for axis in "xy":
        low, high = made.spec["spec"]["encoding"][axis]["scale"]["domain"]
        assert all(low < row[axis] < high for row in rows)


def test_the_numbers_stand_above_each_panel_and_in_the_table() -> None:
    plane = [(0.0, 1.0), (1.0, 0.0), (2.0, 2.0), (3.0, 1.0)]
    (made,) = maps.maps([represented(plane, plane)])
    titles = made.spec["facet"]["header"]["labelExpr"]
    assert titles.count("silhouette 0.31 [0.27, 0.35]") == titles.count("10-NN purity 0.90 [0.85, 0.94]") == 2
    assert [row[:3] for row in made.rows] == [("mini <b>dmt", "0.31 [0.27, 0.35]", "0.90 [0.85, 0.94]")] * 2
    assert made.rows[0][4:6] == ("-", "-")
    assert made.rows[1][4] == "+0.020 [-0.010, +0.050]"
    assert {len(row) for row in made.rows} == {len(made.header)}
    assert "mean nothing" in made.heading.about


def test_where_no_map_was_drawn_there_is_no_chart() -> None:
    found = represented([], [])
    assert list(maps.maps([found])) == []
    assert len(maps.numbers(found)[1]) == 2
