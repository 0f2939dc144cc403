"""How a chart's marks are told apart: colours, shapes and dashes; rows whose labels are read whole at any width."""

import json
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sft_sweeps.report import places
from sft_sweeps.report.page.long import MANY

Row = dict[str, Any]

ARMS = ("base", "alone", "multi_task", "sequential", "mixed_sequential", "dmt")
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "stroke")
COLOURS, SIZES = 8, 4  # of kinds; of models by their size, which print tells apart too (templates/page.css)
FAINT = "faint"  # colour of what is within noise
DASHES = ([1, 0], [6, 3], [2, 3], [9, 3, 2, 3], [4, 2], [1, 2], [12, 3])  # seven, so that with eight shapes 56 differ
ROW_HEIGHT, LINE_HEIGHT = 22, 13
ROW_LABELS = 200  # what these take
TITLE = 42  # letters in a line of an axis' title, which a phone has room for
LABEL = 30  # letters in a line of a row's label, which on a phone leaves half of the width to the chart


def rows_axis(field: str, names: Iterable[str]) -> Any:
    """A row for each name, which is written in several lines where it is long, in the middle of its row."""
    import altair as alt

    labels = _labels(names)
    axis = alt.Axis(
        labelExpr=f"({json.dumps(labels)})[datum.label]",
        labelOffset=-LINE_HEIGHT * (_lines(labels) - 1) / 2,
        labelLineHeight=LINE_HEIGHT,
        labelLimit=300,
    )
    return alt.Y(f"{field}:N", sort=None, title=None, axis=axis)


def height(names: Iterable[str], parts: int = 1) -> int:
    """As high as the names of the rows need, and the marks in them."""
    labels = _labels(names)
    return 20 + len(labels) * max(ROW_HEIGHT, LINE_HEIGHT * max(_lines(labels), parts) + 6)


def _labels(names: Iterable[str]) -> dict[str, list[str]]:
    """The lines of each name, with empty ones before them where others have more."""
    found = {name: textwrap.wrap(name, LABEL) or [""] for name in names}
    return {name: [""] * ((_lines(found) - len(of)) // 2) + of for name, of in found.items()}


def _lines(labels: Mapping[str, Sequence[str]]) -> int:
    return max(map(len, labels.values()), default=1)


def begins(rows: Collection[str]) -> str:
    """Where the axis stands that all rows share: of many at the top, where a reader begins."""
    return "top" if len(rows) > MANY else "bottom"


def places_axis(title: str, where: Mapping[float, float], written: Callable[[float], str]) -> Any:
    """An axis on which each place of the grid is named where it stands (`report/places.py`)."""
    import altair as alt

    named = places.ticks(where)
    at, labels = [where[place] for place in named], [written(place) for place in named]
    names = f"({json.dumps(labels)})[indexof({json.dumps(at)}, datum.value)]"
    axis = alt.Axis(grid=False, values=at, labelExpr=names, labelOverlap="greedy", labelSeparation=4)
    return alt.X(
        "at:Q", title=textwrap.wrap(title, TITLE), scale=alt.Scale(nice=False, zero=False, padding=14), axis=axis
    )


def sure(parts: Sequence[str]) -> tuple[Any, Any]:
    """Colour by whether a difference is beyond noise; shape by the same, or by what tells pairs of a row apart."""
    import altair as alt

    legend = alt.Legend(title="beyond noise", orient="top")
    color, _ = scale("beyond", ["yes", "no"], [1, FAINT])
    _, shape = scale("beyond", ["yes", "no"], [1, 0])
    if len(parts) < 2:
        return color.legend(legend), shape.legend(legend)
    _, shape = scale("part", parts)
    return color.legend(legend), shape.legend(_legend(parts, beside=ROW_LABELS))


def of_lines(rows: Sequence[Row]) -> tuple[Any, Any, Any]:
    """Colour, mark and dash of lines, never two alike: by model and by name, of one model both by name."""
    import altair as alt

    models, names = (list(dict.fromkeys(row[field] for row in rows)) for field in ("model", "arm"))
    field, of = ("model", models) if len(models) > 1 else ("arm", names)
    by_size = [f"size-{number}" for number in range(len(of))] if field == "model" and len(of) <= SIZES else None
    color, _ = scale(field, of, by_size)
    _, shape = scale("arm", names)
    lines = {row["line"]: DASHES[names.index(row["arm"]) % len(DASHES)] for row in rows}
    dashes = alt.Scale(domain=list(lines), range=list(lines.values()))
    legend = _legend(names) if len(names) > 1 or len(models) == 1 else None
    return color, shape.legend(legend), alt.StrokeDash("line:N", scale=dashes, legend=None)


def arms(arms: Iterator[str]) -> tuple[Any, Any]:
    """One colour and shape for an arm, the same on every page."""
    found = list(dict.fromkeys(arms))
    known = [arm for arm in ARMS if arm in found] + [arm for arm in found if arm not in ARMS]
    numbers = {arm: ARMS.index(arm) if arm in ARMS else len(ARMS) + n for n, arm in enumerate(known)}
    return scale("arm", known, [numbers[arm] % COLOURS for arm in known])


def _legend(names: Sequence[str], beside: int = 40) -> Any:
    """In as many columns as there is room for `beside` the labels of an axis, whatever the window is."""
    import altair as alt

    width = 7 * max(map(len, names), default=0) + 40
    columns = alt.ExprRef(expr=f"max(1, floor((min(windowSize()[0], 950) - {beside + 50}) / {width}))")
    return alt.Legend(title=None, orient="top", columns=columns)


def scale(field: str, names: Sequence[str], looks: Sequence[int | str] | None = None) -> tuple[Any, Any]:
    """Colour and shape of a field's values, which are told apart by either."""
    import altair as alt

    found = list(looks or [n % COLOURS for n in range(len(names))])
    legend = _legend(names)
    named = [f"var(--series-{one})" if isinstance(one, int) else f"var(--{one})" for one in found]
    marks = [SHAPES[one if isinstance(one, int) else n] for n, one in enumerate(found)]
    colours, shapes = (alt.Scale(domain=list(names), range=of) for of in (named, marks))
    color = alt.Color(f"{field}:N", scale=colours, legend=legend)
    return color, alt.Shape(f"{field}:N", scale=shapes, legend=legend)


def tooltip(*fields: str) -> list[Any]:
    import altair as alt

    return [alt.Tooltip(f"{field}:N") for field in fields]
