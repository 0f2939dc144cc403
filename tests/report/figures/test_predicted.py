"""Predictions on figures: only beyond what is measured, on the line that they are of, and none where all is there."""

from fractions import Fraction

import pytest
from observed import FRACTIONS, observation, part, setting, study

from sft_sweeps.analysis.cells import finals
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.report.figures.charts import Line, Predicted
from sft_sweeps.report.figures.predicted import predicted


def rising(fractions: tuple[Fraction, ...], n: int = 1300) -> list[Observation]:
    """Right items that rise as a saturating power law of the examples."""
    at = {fraction: setting(parts=(part("math", fraction),)) for fraction in fractions}
    share = {fraction: 0.6 - 3 * one.examples**-0.3 for fraction, one in at.items()}
    return [observation(one, [i < share[fraction] * n for i in range(n)]) for fraction, one in at.items()]


@pytest.fixture(scope="module")
def dashed() -> dict[Line, Predicted]:
    small = rising(FRACTIONS[1:])
    return predicted(small, finals(small))


def test_a_prediction_starts_where_the_measured_ends(dashed: dict[Line, Predicted]) -> None:
    ((panel, model, name), curve), *_ = dashed.items()
    assert (len(dashed), panel.benchmark, model, name) == (1, "gsm8k", "llama7b", "alone")
    assert 1 <= curve.at[0] / (110_142 / 4) < 1.2  # the next point of the drawn grid
    assert curve.at[-1] == pytest.approx(110_142, rel=0.01)


def test_the_interval_holds_the_prediction_and_the_truth(dashed: dict[Line, Predicted]) -> None:
    (curve,) = dashed.values()
    assert all(low <= value <= high for low, value, high in zip(curve.low, curve.value, curve.high, strict=True))
    assert curve.low[-1] <= 0.6 - 3 * 110_142**-0.3 <= curve.high[-1]


def test_what_is_measured_whole_is_not_predicted() -> None:
    whole = [one for one in study(("llama7b",), 1, 16) if one.final]
    assert predicted(whole, finals(whole)) == {}
    assert predicted([], []) == {}
