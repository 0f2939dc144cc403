"""Figures beyond the paper's: what stages taught and took, the Pareto front over k, where mixed and alone cross."""

import math
from collections.abc import Sequence
from typing import Any

from sft_sweeps.analysis.crossing import Crossing
from sft_sweeps.analysis.forgetting import Change
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.pareto import Candidate, Front
from sft_sweeps.analysis.series import Panel
from sft_sweeps.report import places
from sft_sweeps.report.figures import style
from sft_sweeps.report.figures.charts import legend

ROW = 0.17  # inches
LETTER, LINE = 2.9, 6.0  # points that a letter of a name in the front takes, and a line
MOST_ROWS = 50  # of one page; the table has all
TRAINED, UNTRAINED = "ability trained in this stage", "ability not trained in this stage"
LOOKS = style.looks([TRAINED, UNTRAINED])


def forgetting(changes: Sequence[Change]) -> Any:
    """What each stage of runs with several changed; right of the line is a gain, left of it forgetting."""
    if not changes:
        return "no benchmark is scored both before and after a stage (evaluate.stages=all scores each)"
    several = {one.setting for one in changes if len(one.path) > 2}
    changes = [one for one in changes if one.setting in several or not several]
    panels = grouped(changes, lambda one: Panel(one.benchmark, one.metric, one.share))
    names = list(dict.fromkeys(map(stage_name, changes)))[:MOST_ROWS]
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure, axes = style.panels(rows, columns, height=ROW * len(names) + 0.4, sharey=True)
    flat = [axis for line in axes for axis in line]
    for axis, (panel, of) in zip(flat, panels.items(), strict=False):
        _changes(axis, [one for one in of if stage_name(one) in names], names)
        axis.set_title(panel.title)
        axis.set_xlabel("change, points" if panel.share else f"change in {panel.metric}")
    for spare in flat[len(panels) :]:
        spare.set_axis_off()
    legend(figure, [_entry(name) for name in LOOKS])
    return figure


def stage_name(change: Change) -> str:
    """`llama7b: code+math, then general`: what was trained, in order; with k where the stage's data depend on it."""
    setting = change.setting
    last = setting.k is not None and len(change.path) > 2
    parts = "" if setting.fraction in (None, 1) else f" {setting.fraction}"
    return f"{setting.model}: {', then '.join(change.path[1:])}{parts}" + (f" (k={setting.k})" if last else "")


def _changes(axis: Any, changes: Sequence[Change], names: Sequence[str]) -> None:
    for one in changes:
        look, scale = LOOKS[TRAINED if one.trained else UNTRAINED], 100.0 if one.share else 1.0
        value, low, high = (scale * end for end in (one.change.value, one.change.low, one.change.high))
        axis.errorbar(
            value,
            names.index(stage_name(one)),
            xerr=[[max(value - low, 0.0)], [max(high - value, 0.0)]],
            color=look.colour,
            marker=look.marker,
            elinewidth=0.6,
        )
    axis.axvline(0, color=style.QUIET, lw=0.7)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)


def pareto(fronts: Sequence[Front]) -> Any:
    """A row for each front: the last benchmark against each of the others; the surer on the front, the darker."""
    if not fronts:
        return "no model has three strategies (or values of k) on one mixture, scored on two benchmarks"
    columns = max(len(front.benchmarks) for front in fronts) - 1
    figure, axes = style.panels(len(fronts), columns, width=style.COLUMN if columns == 1 else style.PAGE, height=2.3)
    for row, front in zip(axes, sorted(fronts, key=_is_theirs), strict=True):
        for column, axis in enumerate(row):
            if column < len(front.benchmarks) - 1:
                _front(axis, front, column)
            else:
                axis.set_axis_off()
    return figure


def _front(axis: Any, front: Front, column: int) -> None:
    """Candidates in one pair of benchmarks; a paper's are hollow. How sure each is stands in the first pair alone."""
    theirs, names = _is_theirs(front), list[tuple[tuple[float, float], str]]()
    for one in front.candidates:
        x, y = one.cells[-1], one.cells[column]
        at, shade = (x.scale * x.value, y.scale * y.value), 0.15 + 0.85 * one.membership
        errors = [[[c.scale * max(c.value - c.low, 0)], [c.scale * max(c.high - c.value, 0)]] for c in (x, y)]
        axis.errorbar(*at, xerr=errors[0], yerr=errors[1], color="#BBBBBB", lw=0.4)
        face = "white" if theirs else style.COLOURS[0]
        axis.scatter(*at, s=16, facecolor=face, edgecolor=style.COLOURS[0], alpha=shade, zorder=3, lw=0.8)
        text = _short(one) + (f" ({one.membership:.0%})" if column == 0 else "")
        names.append((at, text))
    _name(axis, names)
    axis.set_xlabel(_axis(front, -1))
    whose = f"{front.model}, as the paper prints" if theirs else front.model
    axis.set_ylabel(f"{whose}\n{_axis(front, column)}" if column == 0 else _axis(front, column))


def _name(axis: Any, names: Sequence[tuple[tuple[float, float], str]]) -> None:
    """Each point's name beside it, where none is written yet: right or left of it, and so far above or below."""
    point = 72 / axis.figure.dpi  # of a pixel
    taken = list[tuple[float, float, float, float]]()
    for at, text in sorted(names, key=lambda one: -one[0][1]):
        x, y = (point * float(end) for end in axis.transData.transform(at))
        wide = LETTER * len(text)
        for dy, side in ((dy, side) for dy in (2, -7, 8, -13, 14) for side in (1, -1)):
            left = x + 3 if side > 0 else x - 3 - wide
            box = (left, y + dy, left + wide, y + dy + LINE)
            if not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        how = {"ha": "left" if side > 0 else "right", "textcoords": "offset points", "fontsize": 5.5}
        axis.annotate(text, at, xytext=(3 * side, dy), **how)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _is_theirs(front: Front) -> bool:
    return front.candidates[0].cells[0].first.origin == "paper"


def _short(one: Candidate) -> str:
    return one.name.replace("dmt ", "").replace("multi_task", "multi").replace("sequential", "seq").replace("_", "-")


def _axis(front: Front, index: int) -> str:
    first = front.candidates[0].cells[index].first
    return f"{first.benchmark} ({first.metric}{', %' if first.share else ''})"


def crossing(crossings: Sequence[Crossing]) -> Any:
    """The fraction at which mixed and alone cross, a row for each model and benchmark; an arrow is an open end."""
    if not crossings:
        return "no ability is scored both alone and mixed at two fractions"
    figure, axes = style.panels(1, 1, width=style.PAGE, height=ROW * len(crossings) + 0.5)
    axis = axes[0, 0]
    every = sorted({fraction for one in crossings for fraction in one.fractions})
    for row, one in enumerate(crossings):
        _crossing(axis, row, one, every)
    axis.set_xticks([math.log2(at) for at in every], map(places.fraction, every))
    axis.set_yticks(range(len(crossings)), [_row_name(one) for one in crossings])
    axis.set_ylim(len(crossings) - 0.5, -0.5)
    axis.set_xlim(math.log2(every[0]) - 1.2, math.log2(every[-1]) + 1.2)
    axis.set_xlabel("fraction where they cross (mixed is ahead left of it)")
    return figure


def _row_name(one: Crossing) -> str:
    theirs = " (the paper's values)" if one.origin == "paper" else ""
    return f"{one.model}, {one.benchmark}: {one.mixture}{theirs}"


def _crossing(axis: Any, row: int, one: Crossing, every: Sequence[float]) -> None:
    edge = (math.log2(every[0]) - 1, math.log2(every[-1]) + 1)
    low, high = (min(max(_log(end), edge[0]), edge[1]) for end in (one.low, one.high))
    colour, face = style.COLOURS[0], "white" if one.origin == "paper" else style.COLOURS[0]
    axis.plot([low, high], [row, row], color=colour, lw=0.9)
    for end, at, marker in ((one.low, low, "<"), (one.high, high, ">")):
        if end in (0.0, math.inf):
            axis.plot([at], [row], marker=marker, color=colour, ms=3)
    if one.value is not None:
        axis.plot([math.log2(one.value)], [row], marker="o", color=colour, markerfacecolor=face)
    else:
        axis.annotate(one.finding, ((low + high) / 2, row), ha="center", va="bottom", fontsize=5, color=style.QUIET)


def _log(end: float) -> float:
    return -math.inf if end == 0 else math.log2(end) if math.isfinite(end) else math.inf


def _entry(name: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=LOOKS[name].colour, marker=LOOKS[name].marker, label=name)
