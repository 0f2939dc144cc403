"""The charts, as Vega-Lite in JSON: a value with its interval, hollow where it is a paper's, a shape for each arm.

Colours are names of the page's style sheet, so that one chart serves on light, on dark and in print. A mark that has a
`run` among its values leads there (templates/page.js). Data are rows of text and numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log2

from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.series import Series
from sft_sweeps.report import places
from sft_sweeps.report.figures.charts import Line, Predicted
from sft_sweeps.report.page import looks, text
from sft_sweeps.report.page.chart import Chart, Heading, Numbers, Spec, chart, spec
from sft_sweeps.report.page.findings import basis
from sft_sweeps.report.page.looks import Row

Named = tuple[str, str]

LOSS_POINTS, ALL_LOSS_POINTS = 150, 8000  # of a curve, and of a page, which stays below 5 MB with hundreds of stages


@dataclass(frozen=True)
class Across:
    """A chart's axis along the grid: its title, and how its ticks are written."""

    title: str
    written: Callable[[float], str]


def differences(pairs: Sequence[Compared], heading: Heading, names: Sequence[Named] = (), across: str = "") -> Chart:
    """A forest: each difference with its interval, and the line of no difference.

    `names` has for each pair what its row is called, and what tells it from the others of its row; `across` says how to
    read the axis.
    """
    import altair as alt

    named = names or [(name, "") for name in difference_names(pairs)]
    rows = [_difference_row(pair, *name) for pair, name in zip(pairs, named, strict=True)]
    by_size = sorted(zip(pairs, rows, strict=True), key=lambda one: one[0].ours.setting.parameters)
    parts = list(dict.fromkeys(row["part"] for _, row in by_size))
    color, shape = looks.sure(parts)
    x_title = [_difference_unit(pairs[0]), *filter(None, [across])]
    axis = alt.X(
        "value:Q",
        title=x_title,
        scale=alt.Scale(zero=True, nice=False, padding=8),
        axis=alt.Axis(tickCount=6, orient=looks.begins({row for row, _ in named})),
    )
    base = alt.Chart(alt.Data(values=rows)).encode(y=looks.rows_axis("row", (row for row, _ in named)))
    if len(parts) > 1:
        base = base.encode(yOffset=alt.YOffset("part:N", sort=parts))
    zero = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(strokeDash=[2, 3]).encode(x="at:Q")
    ends = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x_title), x2="high:Q", color=color)
    tooltip = looks.tooltip("name", "of", "text", "basis")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x=axis, color=color, shape=shape, tooltip=tooltip)
    height = looks.height((row for row, _ in named), len(parts))
    return chart(heading, alt.layer(zero, ends, points), difference_table(pairs), height)


def scores(cells: Sequence[Cell], theirs: Sequence[tuple[Cell, Cell]], heading: Heading) -> Chart:
    """A row a run: the score with its interval, its seeds as ticks, the paper's value hollow."""
    import altair as alt

    rows = [_score_row(cell) for cell in cells]
    labels = [cell.label for cell in cells]
    y = looks.rows_axis("name", labels)
    base = alt.Chart(alt.Data(values=rows)).encode(y=y)
    x_title = _axis_title(cells[0])
    color, shape = looks.arms(row["arm"] for row in rows)
    above = alt.Axis(orient=looks.begins(labels))
    ends = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=x_title, axis=above), x2="high:Q", color=color)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=alt.X("value:Q", scale=alt.Scale(zero=False)),
        color=color,
        shape=shape,
        tooltip=looks.tooltip("name", "text", "of"),
    )
    layers = [ends]
    if seeds := [row for cell in cells for row in _seed_rows(cell)]:
        ticks = alt.Chart(alt.Data(values=seeds)).mark_tick(thickness=1.5, size=12)
        layers.append(ticks.encode(y=y, x="value:Q", tooltip=looks.tooltip("name", "text")))
    layers.append(points)  # above the ticks: a point leads to its run
    if printed := [_paper_row(ours, paper) for ours, paper in theirs]:
        hollow = alt.Chart(alt.Data(values=printed)).mark_point(filled=False, size=80, shape="circle", strokeWidth=1.5)
        layers.append(hollow.encode(y=y, x="value:Q", tooltip=looks.tooltip("name", "text", "of")))
    return chart(heading, alt.layer(*layers), _score_table(cells), looks.height(labels))


def lines(series: Sequence[Series], across: Across, heading: Heading, dashed: Mapping[Line, Predicted]) -> Chart:
    """Scores along an axis of the grid: a line for each model and arm, intervals at its points, the paper's hollow.

    Models are told apart by colour, a model's lines by mark and dash; predictions are thin and dotted.
    """
    import altair as alt

    series = sorted(series, key=lambda one: one.points[0][1].setting.parameters)  # colours from small to large
    where = places.positions(at for one in series for at, _ in one.points)
    beside = places.shifts([_line_name(one) for one in series])  # a paper's points around ours
    rows = [(one.origin, row) for one in series for row in _line_rows(one, where, beside[_line_name(one)])]
    ours = [row for origin, row in rows if origin == "ours"]
    paper = [row for origin, row in rows if origin != "ours"]
    y_title = _axis_title(series[0].points[0][1])
    x = looks.places_axis(across.title, where, across.written)
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False))
    color, shape, dash = looks.of_lines([*ours, *paper])
    base = alt.Chart(alt.Data(values=ours)).encode(x=x, color=color, detail="line:N")
    tooltip = looks.tooltip("name", "text", "of")
    layers = [
        base.transform_filter("!datum.apart").mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(y="value:Q", shape=shape, tooltip=tooltip),
    ]
    if paper:
        hollow = alt.Chart(alt.Data(values=paper)).mark_point(filled=False, size=130, strokeWidth=1.2)
        layers.append(hollow.encode(x=x, y="value:Q", color=color, shape=shape, tooltip=tooltip))
    if beyond := [row for one in series for row in _predicted_rows(one, dashed)]:
        thin = alt.Chart(alt.Data(values=beyond)).encode(
            x=x, color=color, detail="line:N", tooltip=looks.tooltip("text")
        )
        layers += [
            thin.mark_area(opacity=0.12, line=False).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q"),
            thin.mark_line(strokeWidth=1, strokeDash=[1, 3]).encode(y="value:Q"),
        ]
    table = ("line", across.title, "run", "score", "interval", "of"), _line_table([*ours, *paper])
    return chart(heading, alt.layer(*layers), table, 260)


def loss() -> Spec:
    """The loss of a run's stages over its steps; a page has it once, and fills in each run's `values`."""
    import altair as alt

    color, _ = looks.scale("stage", [str(n) for n in range(1, looks.COLOURS + 1)])
    made = alt.Chart(alt.Data(values=[])).mark_line(strokeWidth=1.5)
    made = made.encode(
        x=alt.X("step:Q", title="optimizer step of the run", axis=alt.Axis(grid=False)),
        y=alt.Y("loss:Q", title="training loss, nats per token", scale=alt.Scale(zero=True)),
        color=color.legend(None),
        tooltip=looks.tooltip("label", "step", "loss"),
    )
    return spec(made, "Training loss over the steps of the run's stages.", 150)


def _difference_unit(pair: Compared) -> str:
    like = pair.ours.first
    return "difference, points" if like.share else f"difference in {like.metric}"


def _axis_title(cell: Cell) -> str:
    return f"{cell.first.metric}, %" if cell.first.share else cell.first.metric


def _numbers(cell: Cell) -> Row:
    like = cell.first
    ends = (("value", cell.value), ("low", cell.low), ("high", cell.high))
    return {name: round(text.scaled(like, number), 4) for name, number in ends}


def _score_row(cell: Cell) -> Row:
    shown = f"{text.value(cell)} ({text.interval(cell)})"
    named = {"name": cell.label, "arm": cell.setting.arm, "text": shown, "of": text.evidence(cell)}
    return {**_numbers(cell), **named, "run": cell.runs[0]}


def _seed_rows(cell: Cell) -> Iterator[Row]:
    """Each seed's own score, where there are several."""
    for one in cell.observations if len(cell.seeds) > 1 else ():
        shown = f"seed {one.setting.seed}: {text.number(one, one.value)}"
        named = {"name": cell.label, "text": shown}
        yield {**named, "value": text.scaled(one, one.value), "run": one.run}


def _paper_row(ours: Cell, paper: Cell) -> Row:
    flags = "; ".join(paper.first.flags) or "as printed"
    return {**_numbers(paper), "name": ours.label, "text": f"the paper: {paper.first.printed}", "of": flags}


def _line_rows(one: Series, where: Mapping[float, float], shift: float) -> Iterator[Row]:
    """Each point where it stands, beside those of other lines; one at 0 is `apart`, and no line leads there."""
    mine = one.origin == "ours"
    for place, cell in one.points:
        row = _score_row(cell) if mine else _paper_row(cell, cell) | {"name": "the paper", "run": ""}
        apart = {"apart": True} if place <= 0 else {}
        yield row | {"at": round(where[place] + shift, 4), "place": place, **apart, **_named(one)}


def _named(one: Series) -> Row:
    return {"line": _line_name(one), "model": one.model, "arm": one.name}


def _line_name(one: Series) -> str:
    return f"{one.model} {one.name}"


def _predicted_rows(one: Series, dashed: Mapping[Line, Predicted]) -> Iterator[Row]:
    """A line beyond what is measured, where prediction does not abstain."""
    found = dashed.get((one.panel, one.model, one.name)) if one.origin == "ours" else None
    like = one.points[0][1].first
    for index, at in enumerate(found.at if found else ()):
        assert found is not None
        ends = {"value": found.value, "low": found.low or found.value, "high": found.high or found.value}
        numbers = {name: round(text.scaled(like, of[index]), 3) for name, of in ends.items()}
        shown = f"predicted for {_named(one)['line']}: {text.number(like, found.value[index])}"
        yield {**numbers, **_named(one), "at": round(log2(at), 4), "text": shown}


def _line_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [(row["line"], f"{row['place']:,.6g}", row["name"], *_split(row), row["of"]) for row in rows]


def _split(row: Row) -> tuple[str, str]:
    value, _, rest = str(row["text"]).partition(" (")
    return value, rest.rstrip(")")


def _score_table(cells: Sequence[Cell]) -> Numbers:
    header = ("run", "score", "95 % interval", "of")
    return header, [(cell.label, text.value(cell), text.interval(cell), text.evidence(cell)) for cell in cells]


def _difference_row(pair: Compared, row: str, part: str) -> Row:
    like, found = pair.ours.first, pair.difference
    ends = (("value", found.value), ("low", found.low), ("high", found.high))
    numbers = {name: round(text.scaled(like, number), 4) for name, number in ends}
    beyond = "yes" if pair.sure else "no"
    of = f"{pair.ours.label} {text.MINUS} {pair.theirs.label}"
    shown = {"of": of, "text": text.difference(like, found), "basis": basis(pair)}
    named = {"name": f"{row} ({part})" if part else row, "row": row, "part": part}
    return {**numbers, **named, **shown, "beyond": beyond, "run": pair.ours.runs[0]}


def difference_names(pairs: Sequence[Compared]) -> list[str]:
    """A name for each, without the model where all are of one, with the benchmark where there are several."""
    models = {cell.setting.model for pair in pairs for cell in (pair.ours, pair.theirs)}
    several = len({pair.ours.scoring for pair in pairs}) > 1
    prefix = f"{models.pop()} " if len(models) == 1 else ""
    names = []
    for pair in pairs:
        ours, theirs = (cell.label.removeprefix(prefix) for cell in (pair.ours, pair.theirs))
        on = f"{text.title(pair.ours.first.benchmark)}: " if several else ""
        names.append(f"{on}{ours} {text.MINUS} {theirs}")
    return names


def difference_table(pairs: Sequence[Compared]) -> Numbers:
    """Header and rows."""
    header = ("difference", "benchmark", "value [95 % interval]", "of", "beyond noise")
    rows: list[tuple[str, ...]] = [
        (
            name,
            text.title(pair.ours.first.benchmark),
            text.difference(pair.ours.first, pair.difference),
            basis(pair),
            "yes" if pair.sure else "no",
        )
        for pair, name in zip(pairs, difference_names(pairs), strict=True)
    ]
    return header, rows


def by_benchmark(pairs: Sequence[Compared]) -> dict[str, list[Compared]]:
    """Pairs of one axis: a chart has one benchmark under one protocol."""
    return {text.title(key[0]): of for key, of in grouped(pairs, lambda one: one.ours.scoring).items()}
