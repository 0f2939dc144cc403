"""Charts of lines with intervals: a panel a benchmark, ours filled, a paper's hollow, predictions dashed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import log2
from typing import Any, Literal

from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.series import Panel, Series
from sft_sweeps.report.figures import style

DAGGER = "†"
NOTED = ("off_grid", "n_suspected", "copied_from", "differs_from", "protocol")  # flags that a value is marked for
OURS, PAPER = "ours", "paper"
WRAPPED_ABOVE = 4  # panels in one row
NAMED_PLACES = 6  # on an axis
OF_OURS = {"lw": 1.1, "elinewidth": 0.7, "zorder": 3}
OF_PAPER = {"lw": 0.4, "elinewidth": 0.4, "zorder": 2, "alpha": 0.7}
Line = tuple[Panel, str, str]  # what a predicted line belongs to: panel, model, name


@dataclass(frozen=True, slots=True)
class Predicted:
    """A curve over the same axis as the measured one; `low` and `high` are its interval, empty where it has none."""

    at: Sequence[float]
    value: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """How lines become panels: their rows, what their colour tells, and the axis.

    `axis` of examples is logarithmic; fractions, ratios and k stand at their logarithm, k=0 beside them.
    """

    across: str
    axis: Literal["examples", "fraction"]
    colour: Callable[[Series], str]
    row: Callable[[Series], str] = lambda _: ""
    base: Mapping[tuple[Panel, str], Cell] = field(default_factory=dict)
    predicted: Mapping[Line, Predicted] = field(default_factory=dict)


def figure(lines: Sequence[Series], chart: Chart) -> Any:
    """The whole figure, its legend below: a row for each of the chart's, or of one row as many as the panels need."""
    panels, rows = list(dict.fromkeys(one.panel for one in lines)), list(dict.fromkeys(map(chart.row, lines)))
    looks = style.looks(map(chart.colour, lines))
    columns = len(panels) if len(rows) > 1 or len(panels) <= WRAPPED_ABOVE else 3
    places = [(row, panel) for row in rows for panel in panels]
    height = -(-len(places) // columns)
    made, axes = style.panels(height, columns, width=style.COLUMN if columns == 1 else style.PAGE)
    for index, axis in enumerate(axis for line in axes for axis in line):
        row, panel = places[index] if index < len(places) else ("", None)
        _panel(axis, [one for one in lines if one.panel == panel and chart.row(one) == row], chart, looks)
        if panel:
            first = row and index % columns == 0
            axis.set_title(panel.title if index < columns or len(rows) == 1 else "")
            axis.set_ylabel(f"{row}\n{panel.unit}" if first else panel.unit)
            axis.set_xlabel(chart.across if index + columns >= len(places) else "")
    _legend(made, looks, lines, chart)
    return made


def _panel(axis: Any, lines: Sequence[Series], chart: Chart, looks: Mapping[str, style.Look]) -> None:
    if not lines:
        axis.set_axis_off()
        return
    places = sorted({at for one in lines for at, _ in one.points})
    where = _positions(places, chart)
    for index, one in enumerate(lines):
        look, shift = looks[chart.colour(one)], 0.05 * (index - (len(lines) - 1) / 2)
        _line(axis, one, look, [_shifted(where[at], shift, chart) for at, _ in one.points])
        if one.origin == OURS and (predicted := chart.predicted.get(_key(one))):
            _dashed(axis, predicted, look, chart, _scale(one))
        if one.origin == OURS and (own := chart.base.get((one.panel, one.model))):
            axis.axhline(own.scale * own.value, color=look.colour, lw=0.7, ls=":", zorder=1)
    if chart.axis == "examples":
        _examples(axis, places)
    else:
        turned = 0 if len(places) < 6 else 40
        axis.set_xticks([where[at] for at in places], [tick(at) for at in places], rotation=turned)


def _examples(axis: Any, places: Sequence[float]) -> None:
    """A logarithmic axis; of few places, each is named."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(count)
    axis.xaxis.set_minor_formatter("")
    if len(places) <= NAMED_PLACES:
        axis.set_xticks(places, [count(at) for at in places])
        axis.set_xticks([], minor=True)
    if len(places) == 1:
        axis.set_xlim(places[0] / 3, places[0] * 3)


def _positions(places: Sequence[float], chart: Chart) -> dict[float, float]:
    """Where a value stands: itself on a logarithmic axis, else its logarithm; 0 left of the others."""
    if chart.axis == "examples":
        return {at: at for at in places}
    least = min((log2(at) for at in places if at > 0), default=0.0)
    return {at: log2(at) if at > 0 else least - 1.5 for at in places}


def _shifted(position: float, shift: float, chart: Chart) -> float:
    """Points at one place stand beside each other."""
    return float(position * 10**shift) if chart.axis == "examples" else position + 3 * shift


def tick(at: float) -> str:
    """0, 1/256, 1/4, 4: as fractions are typed."""
    return str(Fraction(at).limit_denominator(4096))


def count(at: float, _: int = 0) -> str:
    """100, 1k, 10k: a number of examples, short."""
    return f"{at / 1000:.3g}k" if at >= 1000 else f"{at:.3g}"


def _scale(one: Series) -> float:
    return 100.0 if one.panel.share else 1.0


def _line(axis: Any, one: Series, look: style.Look, at: Sequence[float]) -> None:
    """Points with intervals; ours joined, a paper's hollow and joined by a faint line alone."""
    ours, cells, scale = one.origin == OURS, [cell for _, cell in one.points], _scale(one)
    values = [scale * cell.value for cell in cells]
    errors = [[scale * max(c.value - c.low, 0.0) for c in cells], [scale * max(c.high - c.value, 0.0) for c in cells]]
    marks = {"marker": look.marker, "markerfacecolor": look.colour if ours else "white", "markeredgewidth": 0.8}
    how = OF_OURS if ours else OF_PAPER
    axis.errorbar(at, values, errors, color=look.colour, ls=look.line if ours else "-", capsize=1.5, **marks, **how)
    for place, value, cell in zip(at, values, cells, strict=True):
        _seeds(axis, place, cell, look)
        if noted(cell.first.flags):
            axis.annotate(DAGGER, (place, value), xytext=(2.5, 2.5), textcoords="offset points", fontsize=6)


def _seeds(axis: Any, place: float, cell: Cell, look: style.Look) -> None:
    """Each replicate's own score, faint."""
    if len(cell.observations) > 1:
        of_seeds = [cell.scale * one.value for one in cell.observations]
        axis.plot([place] * len(of_seeds), of_seeds, ls="", marker=".", ms=2, color=look.colour, alpha=0.45, zorder=4)


def _dashed(axis: Any, predicted: Predicted, look: style.Look, chart: Chart, scale: float) -> None:
    at = list(predicted.at) if chart.axis == "examples" else [log2(place) for place in predicted.at]
    axis.plot(at, [scale * value for value in predicted.value], color=look.colour, lw=0.8, ls=style.PREDICTED, zorder=2)
    if predicted.low:
        low, high = ([scale * end for end in ends] for ends in (predicted.low, predicted.high))
        axis.fill_between(at, low, high, color=look.colour, alpha=0.1, lw=0, zorder=1)


def noted(flags: Iterable[str]) -> list[str]:
    """What of a value's flags makes it another than it seems."""
    return [flag for flag in flags if flag.split("=")[0] in NOTED]


def _legend(made: Any, looks: Mapping[str, style.Look], lines: Sequence[Series], chart: Chart) -> None:
    from matplotlib.lines import Line2D

    ours = {chart.colour(one) for one in lines if one.origin == OURS}
    entries = []
    for name, look in looks.items():
        face, line = (look.colour, look.line) if name in ours else ("white", "-")
        entries.append(Line2D([], [], color=look.colour, marker=look.marker, ls=line, label=name, markerfacecolor=face))
    mine = [one for one in lines if one.origin == OURS]
    quiet: list[tuple[bool, str, dict[str, Any]]] = [
        (len(mine) < len(lines), "as the paper prints", {"marker": "o", "markerfacecolor": "white", "lw": 0.4}),
        (any((one.panel, one.model) in chart.base for one in mine), "base model", {"ls": ":", "lw": 0.7}),
        (any(_key(one) in chart.predicted for one in mine), "predicted", {"ls": style.PREDICTED, "lw": 0.8}),
        (any(_is_noted(one) for one in lines), f"{DAGGER} see the caption", {"ls": ""}),
    ]
    entries += [Line2D([], [], color=style.QUIET, label=text, **how) for there, text, how in quiet if there]
    legend(made, entries)


def legend(made: Any, entries: Sequence[Any]) -> None:
    """Below the panels, in as many columns as fit."""
    longest = max(len(str(entry.get_label())) for entry in entries)
    fitting = int(made.get_size_inches()[0] / (0.06 * longest + 0.5))
    made.legend(handles=list(entries), loc="outside lower center", ncols=max(1, min(len(entries), fitting)))


def _key(one: Series) -> Line:
    return one.panel, one.model, one.name


def _is_noted(one: Series) -> bool:
    return any(noted(cell.first.flags) for _, cell in one.points)
