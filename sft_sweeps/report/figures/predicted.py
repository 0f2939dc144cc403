"""What `sft-sweeps predict` says of the fractions that a study has not run, for its figures to draw dashed."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.analysis.series import Series
from sft_sweeps.report.figures.charts import OURS, Line, Predicted

if TYPE_CHECKING:
    from sft_sweeps.analysis.predict import DrawnCurve

Place = tuple[object, ...]
UP_TO = Fraction(1)


def predicted(observations: Sequence[Observation], cells: Sequence[Cell]) -> dict[Line, Predicted]:
    """By line of the figures, from its largest measured fraction to the whole; abstentions are not drawn.

    Where every line reaches the whole of its data, nothing is fitted.
    """
    lines = [one for one in [*series.scaling(cells), *series.single_and_mixed(cells)] if one.origin == OURS]
    if all(_fraction(one) in (None, UP_TO) for one in lines):
        return {}
    from sft_sweeps.analysis.predict import curves

    drawn = curves([one for one in observations if one.origin == OURS and one.final], UP_TO)
    by_place = {_place_of(curve): curve for curve in drawn if not curve.why_not and curve.measured_to < UP_TO}
    return {(one.panel, one.model, one.name): _beyond(by_place[at]) for one in lines if (at := _place(one)) in by_place}


def _fraction(one: Series) -> Fraction | None:
    _, cell = one.points[-1]
    return cell.setting.fraction_of(cell.first.ability)


def _place(one: Series) -> Place:
    first = one.points[0][1].first
    setting = first.setting
    sources = tuple(sorted(part.source for part in setting.parts))
    return setting.model, setting.variant, setting.arm, setting.k, sources, first.benchmark, first.protocol


def _place_of(curve: "DrawnCurve") -> Place:
    line, scoring = curve.line, curve.scoring
    sources = tuple(sorted(name for _, name, _ in line.sources))
    return line.model, line.variant, line.arm, line.k, sources, scoring.benchmark, scoring.protocol


def _beyond(curve: "DrawnCurve") -> Predicted:
    """The part that is not measured, from where it is."""
    kept = [index for index, at in enumerate(curve.fractions) if at >= float(curve.measured_to) * (1 - 1e-9)]
    at, value, low, high = (
        [numbers[index] for index in kept] for numbers in (curve.examples, curve.values, curve.low, curve.high)
    )
    return Predicted(at, value, low, high)
