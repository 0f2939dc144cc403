"""Charts of lines with intervals: a panel a benchmark, ours filled, a paper's hollow, predictions dashed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Any

from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.series import Panel, Series
from sft_sweeps.report import places
from sft_sweeps.report.figures import style

DAGGER = "†"
NOTED = ("off_grid", "n_suspected", "copied_from", "differs_from", "protocol")  # flags that a value is marked for
OURS, PAPER = "ours", "paper"
WRAPPED_ABOVE = 4  # panels in one row
TURNED = 7  # so many ticks are written aslant
MARGIN = 0.6  # beside the outermost points
WIDTHS = {True: (1.1, 0.7), False: (0.4, 0.4)}  # of a line of ours, a paper's, and of their intervals
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
    """How lines become panels: the axis and how its ticks are written, what colour tells, rows."""

    across: str
    tick: Callable[[float], str]
    colour: Callable[[Series], str]
    row: Callable[[Series], str] = lambda _: ""
    base: Mapping[tuple[Panel, str], Cell] = field(default_factory=dict)
    predicted: Mapping[Line, Predicted] = field(default_factory=dict)


def figure(lines: Sequence[Series], chart: Chart) -> Any:
    """The whole figure, its legend below: a row for each of the chart's, or of one row as many as the panels need."""
    panels, rows = list(dict.fromkeys(one.panel for one in lines)), list(dict.fromkeys(map(chart.row, lines)))
    looks = style.looks(map(chart.colour, lines))
    columns = len(panels) if len(rows) > 1 or len(panels) <= WRAPPED_ABOVE else 3
    cells = [(row, panel) for row in rows for panel in panels]
    height = -(-len(cells) // columns)
    made, axes = style.panels(height, columns, width=style.COLUMN if columns == 1 else style.PAGE)
    for index, axis in enumerate(axis for line in axes for axis in line):
        row, panel = cells[index] if index < len(cells) else ("", None)
        _panel(axis, [one for one in lines if one.panel == panel and chart.row(one) == row], chart, looks)
        if panel:
            first = row and index % columns == 0
            axis.set_title(panel.title if index < columns or len(rows) == 1 else "")
            axis.set_ylabel(f"{row}\n{panel.unit}" if first else panel.unit)
            axis.set_xlabel(chart.across if index + columns >= len(cells) else "")
    _legend(made, looks, lines, chart)
    return made


def _panel(axis: Any, lines: Sequence[Series], chart: Chart, looks: Mapping[str, style.Look]) -> None:
    if not lines:
        axis.set_axis_off()
        return
    where = places.positions(at for one in lines for at, _ in one.points)
    beside = places.shifts([(one.name, one.model, one.origin) for one in lines])
    for one in lines:
        look, shift = looks[chart.colour(one)], beside[one.name, one.model, one.origin]
        _line(axis, one, look, [where[at] + shift for at, _ in one.points])
        if one.origin == OURS and (predicted := chart.predicted.get(_key(one))):
            _dashed(axis, predicted, look, _scale(one))
        if one.origin == OURS and (own := chart.base.get((one.panel, one.model))):
            axis.axhline(own.scale * own.value, color=look.colour, lw=0.7, ls=":", zorder=1)
    named = places.ticks(where)
    axis.set_xticks([where[at] for at in named], map(chart.tick, named), rotation=0 if len(named) < TURNED else 40)
    axis.set_xlim(min(where.values()) - MARGIN, max([*where.values(), *_ends(lines, chart)]) + MARGIN)


def _ends(lines: Sequence[Series], chart: Chart) -> list[float]:
    """How far to the right predictions reach."""
    found = [chart.predicted[_key(one)] for one in lines if one.origin == OURS and _key(one) in chart.predicted]
    return [log2(one.at[-1]) for one in found if one.at]


def _scale(one: Series) -> float:
    return 100.0 if one.panel.share else 1.0


def _line(axis: Any, one: Series, look: style.Look, at: Sequence[float]) -> None:
    """Points with intervals; ours joined, a paper's hollow and joined by a faint line alone."""
    ours, cells, scale = one.origin == OURS, [cell for _, cell in one.points], _scale(one)
    alone = sum(place <= 0 for place, _ in one.points)  # which stand apart
    values = [scale * cell.value for cell in cells]
    errors = [[scale * max(c.value - c.low, 0.0) for c in cells], [scale * max(c.high - c.value, 0.0) for c in cells]]
    marks = {"marker": look.marker, "markerfacecolor": look.colour if ours else "white", "markeredgewidth": 0.8}
    how = {"color": look.colour, "zorder": 3 if ours else 2, "alpha": 1.0 if ours else 0.7}
    width, ends = WIDTHS[ours]
    axis.errorbar(at, values, errors, ls="", elinewidth=ends, capsize=1.5, **marks, **how)
    axis.plot(at[alone:], values[alone:], ls=look.line if ours else "-", lw=width, **how)
    for place, value, cell in zip(at, values, cells, strict=True):
        _seeds(axis, place, cell, look)
        if noted(cell.first.flags):
            axis.annotate(DAGGER, (place, value), xytext=(2.5, 2.5), textcoords="offset points", fontsize=6)


def _seeds(axis: Any, place: float, cell: Cell, look: style.Look) -> None:
    """Each replicate's own score, faint."""
    if len(cell.observations) > 1:
        of_seeds = [cell.scale * one.value for one in cell.observations]
        axis.plot([place] * len(of_seeds), of_seeds, ls="", marker=".", ms=2, color=look.colour, alpha=0.45, zorder=4)


def _dashed(axis: Any, predicted: Predicted, look: style.Look, scale: float) -> None:
    at = [log2(place) for place in predicted.at]
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
    fitting = max(1, min(len(entries), int(made.get_size_inches()[0] / (0.06 * longest + 0.5))))
    rows = -(-len(entries) // fitting)
    made.legend(handles=list(entries), loc="outside lower center", ncols=-(-len(entries) // rows))


def _key(one: Series) -> Line:
    return one.panel, one.model, one.name


def _is_noted(one: Series) -> bool:
    return any(noted(cell.first.flags) for _, cell in one.points)
