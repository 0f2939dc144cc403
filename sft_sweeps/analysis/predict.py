"""From the scores at small fractions to those at large ones, or no prediction where noise exceeds signal."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from sft_sweeps.analysis.backtest import backtest
from sft_sweeps.analysis.curves import Curve, Line, Scoring, curves_of, line_of, scale_of
from sft_sweeps.analysis.fits import DRAWS, LEAST_FRACTIONS, TAILS, Fitted, Prediction, fit
from sft_sweeps.analysis.observations import Observation, Setting

LEAST_HELD = 3  # scores of a backtest that can refute a law
GRID = 40  # fractions of a drawn curve


@dataclass(frozen=True, slots=True)
class DrawnCurve:
    """A law for a figure, from the smallest measured fraction to the largest wanted, with the interval of the law.

    Beyond `measured_to` it is a prediction, to be dashed; where `why_not` says why, it is to end there.
    """

    line: Line
    scoring: Scoring
    fractions: tuple[float, ...]
    examples: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    measured_to: Fraction
    why_not: str = ""


def fitted(observations: Iterable[Observation], draws: int = DRAWS) -> tuple[list[Fitted], list[str]]:
    """The laws of every benchmark, and what is to be known of the scores, in words."""
    by_scoring: dict[Scoring, list[Curve]] = {}
    for curve in curves_of(observations):
        by_scoring.setdefault(curve.scoring, []).append(curve)
    notes = _mixed(by_scoring)
    fits = []
    for scoring, curves in by_scoring.items():
        scale = scale_of(scoring.metric, [point.value for curve in curves for point in curve.points])
        if scale is None:
            notes.append(f"{scoring.benchmark}: the limit of {scoring.metric} is not known, so no law is fitted")
        else:
            fits.append(_trusted(fit(scoring, curves, scale, draws)))
            notes += _uneven(scoring, curves)
    return fits, notes


def _trusted(of: Fitted) -> Fitted:
    """With a reason against all of its laws where the backtest, from all fractions but the largest, refutes them."""
    counts = [len(curve.points) for curve in of.curves]
    if max(counts) <= LEAST_FRACTIONS:
        return of
    test = backtest(of, max(counts) - 1)
    if len(test.held) < LEAST_HELD or 2 * test.inside >= len(test.held):
        return of
    return replace(of, distrust=f"the backtest speaks against it: {test.inside} of {len(test.held)} scores in interval")


def _mixed(scorings: Collection[Scoring]) -> list[str]:
    protocols: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for one in scorings:
        protocols.setdefault((one.origin, one.benchmark), set()).add((one.metric, one.protocol))
    several = {benchmark: len(found) for (_, benchmark), found in protocols.items() if len(found) > 1}
    return [f"{name} is scored by {count} protocols; each has curves of its own" for name, count in several.items()]


def _uneven(scoring: Scoring, curves: Iterable[Curve]) -> list[str]:
    """Points that lack a seed which others of their curve have, and scores of other items."""
    notes = []
    for curve in curves:
        seeds = [len({one.setting.seed for one in point.scores}) for point in curve.points]
        if fewer := [str(p.fraction) for p, count in zip(curve.points, seeds, strict=True) if count < max(seeds)]:
            what = f"{scoring.benchmark}, {curve.line.model} {curve.line.label}"
            notes.append(f"{what}: fewer than {max(seeds)} seeds at {', '.join(fewer)}, which weigh less")
    scores = [one for curve in curves for point in curve.points for one in point.scores]
    if len(items := {frozenset(one.items) for one in scores if one.items}) > 1:
        notes.append(f"{scoring.benchmark} was scored on {len(items)} sets of items, which are taken as independent")
    return notes


def predictions(fits: Iterable[Fitted], wanted: Iterable[Setting]) -> list[Prediction]:
    """Of every wanted setting whose score is not measured, on every benchmark of an ability that it is trained on."""
    by_place = {(line, setting.fraction): setting for setting in wanted if (line := line_of(setting))}
    made = []
    for one in fits:
        curves = {curve.line: curve for curve in one.curves}
        for (line, fraction), setting in by_place.items():
            curve = curves.get(line, Curve(line, one.scoring, ()))
            if one.scoring.ability in setting.abilities and fraction not in curve.fractions:
                made.append(one.predict(curve, setting))
    return made


def at_fractions(settings: Iterable[Setting], fractions: Iterable[Fraction]) -> list[Setting]:
    """The settings of every line that the given ones are on, at other fractions."""
    lines = {line: setting for setting in settings if (line := line_of(setting))}
    return [_at(setting, fraction) for setting in lines.values() for fraction in fractions]


def _at(setting: Setting, fraction: Fraction) -> Setting:
    parts = (
        replace(part, fraction=fraction, examples=round(part.examples * fraction / part.fraction))
        for part in setting.parts
    )
    return replace(setting, parts=tuple(parts))


def curves(observations: Iterable[Observation], up_to: Fraction = Fraction(1)) -> list[DrawnCurve]:
    """Every curve with a law of its own, for figures."""
    fits, _ = fitted(observations)
    return [_drawn(one, curve, up_to) for one in fits for curve in one.curves if curve.line in one.own]


def _drawn(of: Fitted, curve: Curve, up_to: Fraction) -> DrawnCurve:
    measured_to = curve.fractions[-1]
    last = max(up_to, measured_to)
    at = np.geomspace(float(curve.fractions[0]), float(last), GRID)
    quantiles = np.quantile(of.drawn(curve, list(at)), [TAILS[0], 0.5, TAILS[1]], axis=0)
    low, values, high = np.sort(of.scale.offset + of.scale.unit * quantiles, axis=0)
    whole = curve.points[-1].examples / float(measured_to)
    wanted = _at(curve.points[-1].scores[0].setting, last)
    return DrawnCurve(
        line=curve.line,
        scoring=of.scoring,
        fractions=tuple(at.tolist()),
        examples=tuple((at * whole).tolist()),
        values=tuple(values.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        measured_to=measured_to,
        why_not=of.predict(curve, wanted).why_not if last > measured_to else "",
    )
