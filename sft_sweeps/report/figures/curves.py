"""The paper's figures that are curves: scaling, single against mixed, ratios, ablation, scores over k."""

from collections.abc import Mapping, Sequence
from typing import Any

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.series import Series
from sft_sweeps.report.figures.charts import Chart, Line, Predicted, figure
from sft_sweeps.report.places import count, fraction

EXAMPLES = "examples of the ability (log scale)"


def figure2(cells: Sequence[Cell], predicted: Mapping[Line, Predicted] | None = None) -> Any:
    """Scaling curves: each ability trained alone, a line for each model."""
    lines = series.scaling(cells)
    if not lines:
        return "no ability is trained alone at two fractions and scored on a benchmark of its own"
    return figure(lines, Chart(EXAMPLES, count, _model, base=series.base(cells), predicted=predicted or {}))


def figure3(cells: Sequence[Cell], predicted: Mapping[Line, Predicted] | None = None) -> Any:
    """Single against mixed: each ability alone and in mixtures of equal fractions, a row for each model."""
    lines = series.single_and_mixed(cells)
    if not lines:
        return "no ability is scored both alone and in a mixture of equal fractions"
    chart = Chart(EXAMPLES, count, _name, _model, series.base(cells), predicted or {})
    return figure(lines, chart)


def figure4(cells: Sequence[Cell]) -> Any:
    """Ratios: one ability's share against the others', one of the two held fixed."""
    lines = series.ratios(cells)
    if not lines:
        return "no ability's fraction varies against the others' over three values"
    odd = lines[0].name.split()[0]
    return figure(lines, Chart(f"{odd} : others (ratio of fractions)", fraction, _name, _model))


def figure6(cells: Sequence[Cell]) -> Any:
    """Ablation: the same mixtures with another source of one ability (the paper's: without code and math in it)."""
    lines = series.ablation(cells)
    if not lines:
        return "no two mixtures differ in the source of an ability alone (data=mixed and data=mixed_clean)"
    return figure(lines, Chart("fraction of each source", fraction, _name, _model))


def figure8(cells: Sequence[Cell]) -> Any:
    """DMT's scores over k, with mixed sequential as its zero, a line for each model."""
    lines = series.replay(cells)
    if not lines:
        return "no model is trained by DMT with two values of k (mixed sequential is its zero)"
    alike = len({one.name for one in lines}) == 1
    chart = Chart("k (0: mixed sequential)", fraction, _model if alike else _model_and_name, base=series.base(cells))
    return figure(lines, chart)


def _model(one: Series) -> str:
    return one.model


def _name(one: Series) -> str:
    return one.name


def _model_and_name(one: Series) -> str:
    return f"{one.model}: {one.name}"
