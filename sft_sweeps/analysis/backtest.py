"""What the predictions would have been worth: the largest fraction held out, predicted from the smallest ones.

Beside the law stand what anybody would do without it: a log-linear fit, and the score at the largest fraction that is
not held out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sft_sweeps.analysis.curves import Curve, Scale, Scoring
from sft_sweeps.analysis.fits import LEAST_FRACTIONS, Fitted, Prediction, fit

WAYS = ("law", "log_linear", "last", "joint")


@dataclass(frozen=True, slots=True)
class Held:
    """One score that was held out, and what each way makes of it; `joint` is None without a law over three sizes."""

    prediction: Prediction
    measured: float
    log_linear: float
    last: float
    joint: float | None

    @property
    def law(self) -> float:
        """The prediction, whether or not it would have been made."""
        return self.prediction.value

    @property
    def inside(self) -> bool:
        """Whether the interval holds the measured score."""
        return self.prediction.low <= self.measured <= self.prediction.high


@dataclass(frozen=True, slots=True)
class Backtest:
    """Of one scoring, from its `smallest` smallest fractions."""

    scoring: Scoring
    smallest: int
    held: tuple[Held, ...]

    def error(self, way: str, *, kept: bool = False) -> float | None:
        """Mean absolute error of one of `WAYS`, in the metric's own unit; `kept`: without what is abstained from.

        None where nothing is left."""
        chosen = [one for one in self.held if not (kept and one.prediction.why_not)]
        chosen = [one for one in chosen if getattr(one, way) is not None]
        values = [getattr(one, way) for one in chosen]
        if not values:
            return None
        return float(np.mean([abs(value - one.measured) for value, one in zip(values, chosen, strict=True)]))

    @property
    def inside(self) -> int:
        """How many of the intervals hold what was measured."""
        return sum(one.inside for one in self.held)

    @property
    def abstained(self) -> int:
        return sum(bool(one.prediction.why_not) for one in self.held)

    @property
    def half_width(self) -> float:
        """Of the intervals, the median."""
        return float(np.median([(one.prediction.high - one.prediction.low) / 2 for one in self.held]))


def backtests(fits: Iterable[Fitted]) -> list[Backtest]:
    """Of every scoring with a curve of four fractions, from three of them and from as many more as there are."""
    return [backtest(one, count) for one in fits for count in _counts(one.curves)]


def _counts(curves: Sequence[Curve]) -> range:
    return range(LEAST_FRACTIONS, max((len(curve.points) for curve in curves), default=0))


def backtest(of: Fitted, smallest: int) -> Backtest:
    """Each curve's largest fraction, predicted from the `smallest` smallest of all curves."""
    whole = [curve for curve in of.curves if len(curve.points) > smallest]
    cut = [curve.up_to(smallest) for curve in whole]
    again = fit(of.scoring, cut, of.scale)
    held = [_held(again, short, curve) for short, curve in zip(cut, whole, strict=True)]
    return Backtest(of.scoring, smallest, tuple(held))


def _held(again: Fitted, short: Curve, whole: Curve) -> Held:
    target = whole.points[-1]
    return Held(
        prediction=again.predict(short, target.scores[0].setting),
        measured=target.value,
        log_linear=again.scale.back(_log_linear(short, again.scale, target.fraction)),
        last=short.points[-1].value,
        joint=again.joint_value(short.line, target.fraction),
    )


def _log_linear(curve: Curve, scale: Scale, at: Fraction) -> float:
    """Least squares of the score on the logarithm of the fraction."""
    logs = np.log([float(fraction) for fraction in curve.fractions])
    slope, start = np.polyfit(logs, [scale.to(point.value) for point in curve.points], 1)
    return float(start + slope * np.log(float(at)))
