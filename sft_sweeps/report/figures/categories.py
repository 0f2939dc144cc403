"""The paper's Figure 7: a benchmark by category of its items, as dots with intervals and, without them, as a radar."""

import math
from collections.abc import Sequence
from typing import Any

from sft_sweeps.analysis.categories import arm_name, by_category, representatives
from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.observations import Observation, grouped
from sft_sweeps.analysis.series import models
from sft_sweeps.report.figures import style
from sft_sweeps.report.figures.charts import legend

NONE = "no benchmark here has categories of items (MT-Bench has eight, once it is judged; miniatures have none)"
ROW = 0.2  # inches of one line of a plot that is as long as its list
Placed = list[tuple[str, Cell]]


def figure7(observations: Sequence[Observation]) -> Any:
    """Dots with intervals, a panel for each model, a row for each category."""
    placed = by_category(representatives(observations))
    if not placed:
        return NONE
    panels = _panels(placed)
    categories, looks = _axes(placed)
    height = ROW * max(len(categories) * len(looks) * 0.45, len(categories)) + 0.5
    columns = min(len(panels), 3)
    figure, axes = style.panels(-(-len(panels) // columns), columns, height=height, sharey=True)
    for axis, (title, of) in _paired(axes, panels):
        _dots(axis, of, categories, looks)
        axis.set_title(title)
        axis.set_xlabel(_unit(of))
    legend(figure, _entries(looks))
    return figure


def figure7_radar(observations: Sequence[Observation]) -> Any:
    """A radar, which readers of the paper look for; its area means nothing, and it has no intervals."""
    placed = by_category(representatives(observations))
    if not placed:
        return NONE
    panels = _panels(placed)
    categories, looks = _axes(placed)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = style.panels(rows, columns, height=2.6, subplot_kw={"projection": "polar"})
    for axis, (title, of) in _paired(axes, panels):
        _radar(axis, of, categories, looks)
        axis.set_title(title)
    legend(figure, _entries(looks))
    return figure


def _panels(placed: Placed) -> dict[str, Placed]:
    """By benchmark and model, which a title names; recipes and protocols apart, where there are several."""
    of_model = models(cell for _, cell in placed)

    def title(one: tuple[str, Cell]) -> str:
        protocols = {cell.first.protocol for _, cell in placed if cell.first.benchmark == one[1].first.benchmark}
        protocol = f" (protocol {one[1].first.protocol[:6]})" if len(protocols) > 1 else ""
        return f"{one[1].first.benchmark}{protocol}, {of_model[one[1]]}"

    return grouped(placed, title)


def _axes(placed: Placed) -> tuple[list[str], dict[str, style.Look]]:
    return list(dict.fromkeys(name for name, _ in placed)), style.looks(arm_name(cell.setting) for _, cell in placed)


def _paired(axes: Any, panels: dict[str, Placed]) -> list[tuple[Any, tuple[str, Placed]]]:
    flat = [axis for row in axes for axis in row]
    for spare in flat[len(panels) :]:
        spare.set_axis_off()
    return list(zip(flat, panels.items(), strict=False))


def _unit(placed: Placed) -> str:
    first = placed[0][1].first
    return f"{first.metric} (%)" if first.share else first.metric


def _dots(axis: Any, placed: Placed, categories: Sequence[str], looks: dict[str, style.Look]) -> None:
    names = list(looks)
    for category, cell in placed:
        name = arm_name(cell.setting)
        shift = 0.7 * ((names.index(name) + 0.5) / len(names) - 0.5)
        value, low, high = (cell.scale * number for number in (cell.value, cell.low, cell.high))
        axis.errorbar(
            value,
            categories.index(category) + shift,
            xerr=[[max(value - low, 0.0)], [max(high - value, 0.0)]],
            color=looks[name].colour,
            marker=looks[name].marker,
            elinewidth=0.6,
        )
    axis.set_yticks(range(len(categories)), categories)
    axis.set_ylim(len(categories) - 0.5, -0.5)


def _radar(axis: Any, placed: Placed, categories: Sequence[str], looks: dict[str, style.Look]) -> None:
    angles = [2 * math.pi * index / len(categories) for index in range(len(categories))]
    for name, of in grouped(placed, lambda one: arm_name(one[1].setting)).items():
        values = {category: cell.scale * cell.value for category, cell in of}
        there = [(at, values[kind]) for at, kind in zip(angles, categories, strict=True) if kind in values]
        look, around = looks[name], [*there, there[0]]
        axis.plot(*zip(*around, strict=True), color=look.colour, ls=look.line, marker=look.marker, lw=0.9, ms=2.5)
    axis.set_xticks(angles, categories)
    axis.set_ylim(bottom=0)


def _entries(looks: dict[str, style.Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=of.colour, marker=of.marker, ls=of.line, label=name) for name, of in looks.items()]
