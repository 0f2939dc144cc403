"""Charts of lines with intervals: a panel for each benchmark, ours filled, a paper's values hollow, predictions dashed."""

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

    `axis` of examples is logarithmic; fractions, ratios and k stand at the logarithm of what their ticks say, k=0 beside.
    """

    across: str
    axis: Literal["examples", "fraction"]
    colour: Callable[[Series], str]
    row: Callable[[Series], str] = lambda _: ""
    base: Mapping[tuple[Panel, str], Cell] = field(default_factory=dict)
    predicted: Mapping[Line, Predicted] = field(default_factory=dict)


def figure(lines: Sequence[Series], chart: Chart) -> Any:
    """The whole figure, its legend below."""
    panels, rows = list(dict.fromkeys(one.panel for one in lines)), list(dict.fromkeys(map(chart.row, lines)))
    looks = style.looks(sorted({chart.colour(one) for one in lines}))
    # Of one row, many panels are wrapped.
    columns = len(panels) if len(rows) > 1 or len(panels) <= 4 else 3
    height = -(-len(panels) // columns) if len(rows) == 1 else len(rows)
    made, axes = style.panels(height, columns, width=_width(columns))
    cells = [axis for line in axes for axis in line]
    for index, axis in enumerate(cells):
        row, column = (0, index) if len(rows) == 1 else divmod(index, columns)
        of = [
            one for one in lines if column < len(panels) and one.panel == panels[column] and chart.row(one) == rows[row]
        ]
        _panel(axis, of, chart, looks)
        if of:
            name = chart.row(of[0])
            axis.set_title(of[0].panel.title if index < columns or len(rows) == 1 else "")
            axis.set_ylabel(f"{name}\n{of[0].panel.unit}" if name and column == 0 else of[0].panel.unit)
            axis.set_xlabel(chart.across if index >= len(cells) - columns or len(rows) == 1 else "")
    _legend(made, looks, lines, chart)
    return made


def _width(columns: int) -> float:
    return style.COLUMN if columns == 1 else style.PAGE


def _panel(axis: Any, lines: Sequence[Series], chart: Chart, looks: Mapping[str, style.Look]) -> None:
    if not lines:
        axis.set_axis_off()
        return
    places = sorted({at for one in lines for at, _ in one.points})
    where = _positions(places, chart)
    for index, one in enumerate(lines):
        shift = 0.05 * (index - (len(lines) - 1) / 2)
        _line(axis, one, looks[chart.colour(one)], [_shifted(where[at], shift, chart) for at, _ in one.points])
        if predicted := chart.predicted.get((one.panel, one.model, one.name)) if one.origin == OURS else None:
            _dashed(axis, predicted, looks[chart.colour(one)], chart, _scale(one))
        if own := chart.base.get((one.panel, one.model)) if one.origin == OURS else None:
            axis.axhline(own.scale * own.value, color=looks[chart.colour(one)].colour, lw=0.7, ls=":", zorder=1)
    if chart.axis == "examples":
        axis.set_xscale("log")
    else:
        axis.set_xticks(
            [where[at] for at in places], [tick(at) for at in places], rotation=0 if len(places) < 6 else 40
        )


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
    exact = Fraction(at).limit_denominator(4096)
    return str(exact)


def _scale(one: Series) -> float:
    return 100.0 if one.panel.share else 1.0


def _line(axis: Any, one: Series, look: style.Look, at: Sequence[float]) -> None:
    """Points with intervals; ours joined, a paper's hollow and joined by nothing but a faint line."""
    ours, scale, cells = one.origin == OURS, _scale(one), [cell for _, cell in one.points]
    values = [scale * cell.value for cell in cells]
    errors = [[scale * max(c.value - c.low, 0.0) for c in cells], [scale * max(c.high - c.value, 0.0) for c in cells]]
    face = look.colour if ours else "white"
    axis.errorbar(
        at, values, yerr=errors, color=look.colour, marker=look.marker, markerfacecolor=face, markeredgewidth=0.8,
        ls=look.line if ours else "-", lw=1.1 if ours else 0.4, elinewidth=0.7 if ours else 0.4, alpha=1 if ours else 0.7,
        capsize=1.5, zorder=3 if ours else 2,
    )  # fmt: skip
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
    entries = [
        Line2D([], [], color=look.colour, marker=look.marker, ls=look.line, label=name, mfc=look.colour if name in ours else "white")
        for name, look in looks.items()
    ]  # fmt: skip
    if any(one.origin == PAPER for one in lines):
        entries.append(Line2D([], [], color=style.QUIET, marker="o", mfc="white", lw=0.4, label="as the paper prints"))
    if any(noted(cell.first.flags) for one in lines for _, cell in one.points):
        entries.append(Line2D([], [], ls="", marker=f"${DAGGER}$", color="black", label="see the caption"))
    if any((one.panel, one.model) in chart.base for one in lines):
        entries.append(Line2D([], [], color=style.QUIET, ls=":", lw=0.7, label="base model"))
    if any(key in chart.predicted for key in ((one.panel, one.model, one.name) for one in lines)):
        entries.append(Line2D([], [], color=style.QUIET, ls=style.PREDICTED, lw=0.8, label="predicted"))
    made.legend(handles=entries, loc="outside lower center", ncols=min(len(entries), 4 if _width_of(made) > 4 else 2))


def _width_of(made: Any) -> float:
    return float(made.get_size_inches()[0])
