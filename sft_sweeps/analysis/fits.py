"""The laws of all curves of one benchmark, fitted together, and what they say of a fraction that was not measured.

A curve with enough fractions has a law of its own (saturating.py). One with too few, or with too much noise, is told by
the joint law over sizes (joint_law.py), where its arm was run at three. An interval is of the score that a run would
get: it holds the uncertainty of the law, the noise of the benchmark's items and that of a training seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sft_sweeps.analysis import joint_law, saturating
from sft_sweeps.analysis.curves import Curve, Line, Scale, Scoring
from sft_sweeps.analysis.joint_law import JointLaw
from sft_sweeps.analysis.noise import drawn, item_sd, seed_spread
from sft_sweeps.analysis.observations import Setting
from sft_sweeps.analysis.saturating import Laws
from sft_sweeps.benchmarks.scored import SHARES
from sft_sweeps.stats import CONFIDENCE
from sft_sweeps.terminal import counted

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

LEAST_FRACTIONS = 3  # of a curve with a law of its own
LEAST_FITTING = 0.01  # the chance of scores so far off their law
DRAWS = 400
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A score at a fraction that was not measured, in the metric's own unit, from the fractions in `measured`.

    `law` is `curve` or `joint`. Where `why_not` says why, no prediction is made: the numbers are for backtests alone.
    """

    line: Line
    scoring: Scoring
    fraction: Fraction
    examples: int
    measured: tuple[Fraction, ...]
    value: float = NAN
    low: float = NAN
    high: float = NAN
    law: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class Fitted:
    """All curves of one scoring and their laws; `own` tells which of `laws` is a line's, `joint` has those of arms.

    A law is as many draws; what it says is their median, its interval their quantiles. `fitting` is the chance that
    scores lie so far off a line's law by noise; `distrust` why none of the laws is to be believed.
    """

    scoring: Scoring
    scale: Scale
    curves: tuple[Curve, ...]
    own: Mapping[Line, int]
    laws: Laws | None
    joint: Mapping[object, JointLaw]
    seed_sd: float
    fitting: Mapping[Line, float]
    distrust: str = ""

    def predict(self, curve: Curve, setting: Setting) -> Prediction:
        """By the curve's own law, or where that is not to be trusted by the joint one; else why by neither."""
        fraction, examples = setting.fraction or Fraction(0), setting.examples_of(self.scoring.ability)
        count = len(curve.points)
        few = f"{counted(count, 'fraction')} measured, {LEAST_FRACTIONS} are needed"
        own = Prediction(curve.line, self.scoring, fraction, examples, curve.fractions, why_not=few)
        if self.distrust:
            return replace(self._by_law(own, curve), why_not=self.distrust)
        own = self._by_law(own, curve)
        if self.fitting.get(curve.line, 1.0) < LEAST_FITTING:
            return replace(own, why_not="the scores are on no saturating curve: they still rise faster and faster")
        if own.why_not and curve.line.across_models in self.joint:
            joint = self._judged(replace(own, law="joint"), self.drawn_jointly(curve.line, fraction), curve)
            return own if own.law and joint.why_not else joint
        return own

    def _by_law(self, made: Prediction, curve: Curve) -> Prediction:
        if curve.line not in self.own:
            return made
        return self._judged(replace(made, law="curve"), self.drawn(curve, [float(made.fraction)])[:, 0], curve)

    def drawn(self, curve: Curve, fractions: Sequence[float]) -> "Array":
        """By the curve's own law, on the scale: draws by fractions."""
        assert self.laws is not None
        return self._clipped(self.laws.at(self.own[curve.line], np.asarray(fractions)))

    def drawn_jointly(self, line: Line, fraction: Fraction) -> "Array":
        """Draws by the joint law, which hold its scatter between sizes."""
        law = self.joint[line.across_models]
        draws = self.scale.ceiling - law.error(float(line.parameters), float(fraction))
        return self._clipped(draws + np.random.default_rng(1).normal(size=len(draws)) * law.scatter)

    def joint_value(self, line: Line, fraction: Fraction) -> float | None:
        """What the joint law says, where there is one, in the metric's own unit."""
        if line.across_models not in self.joint:
            return None
        return self.scale.back(float(np.median(self.drawn_jointly(line, fraction))))

    def _clipped(self, values: "Array") -> "Array":
        lowest = self.scale.ceiling - 1 if self.scale.ceiling else -np.inf
        return np.clip(values, lowest, self.scale.ceiling)

    def _judged(self, made: Prediction, draws: "Array", curve: Curve) -> Prediction:
        """With value and interval, the noise of a new measurement in it, and what speaks against it."""
        last = (curve.points or self._alike(curve.line)[0].points)[-1].scores[-1]
        noise = np.hypot(item_sd(last) / abs(self.scale.unit), self.seed_sd)
        measured = self._clipped(draws + np.random.default_rng(0).normal(size=len(draws)) * noise)
        center = self.scale.back(float(np.median(draws)))
        low, high = sorted(self.scale.back(float(end)) for end in np.quantile(measured, TAILS))
        made = replace(made, value=center, low=min(low, center), high=max(high, center))
        return replace(made, why_not=self._why_not(made, curve))

    def _alike(self, line: Line) -> list[Curve]:
        """The curves of an arm, of all models."""
        return [curve for curve in self.curves if curve.line.across_models == line.across_models]

    def _why_not(self, made: Prediction, curve: Curve) -> str:
        """Noise is half the interval; signal is all that the law moves over the measured fractions.

        A joint law's signal is all that it differs by over its arm's measured scores.
        """
        if made.law == "curve":
            ends = np.median(self.drawn(curve, [float(curve.fractions[0]), float(curve.fractions[-1])]), axis=0)
            signal = abs(float(ends[1] - ends[0]) * self.scale.unit)
        else:
            places = [(alike.line, fraction) for alike in self._alike(curve.line) for fraction in alike.fractions]
            values = [value for place in places if (value := self.joint_value(*place)) is not None]
            signal = max(values) - min(values)
        noise = (made.high - made.low) / 2
        if noise <= signal:
            return ""
        return f"noise exceeds signal: ±{shown(noise, self.scoring)} against {shown(signal, self.scoring)}"


def shown(value: float, scoring: Scoring) -> str:
    """A score, or a difference of scores, as tables show it: shares in percent."""
    return f"{100 * value:.1f}" if scoring.metric in SHARES else f"{value:.2f}"


@dataclass(frozen=True)
class _Table:
    """The points of curves side by side: each curve's `span` of them, their scores drawn anew, inverse variances."""

    curves: Sequence[Curve]
    spans: Sequence[slice]
    scores: "Array"
    weights: "Array"


def fit(scoring: Scoring, curves: Sequence[Curve], scale: Scale, draws: int = DRAWS) -> Fitted:
    """The laws of curves of one scoring."""
    rng = np.random.default_rng(0)
    cells = [point.scores for curve in curves for point in curve.points]
    seed_sd = seed_spread(cells, scale)
    scores = drawn(cells, scale, draws, rng, seed_sd)
    ends = np.cumsum([0, *(len(curve.points) for curve in curves)])
    spans = [slice(start, end) for start, end in pairwise(ends)]
    table = _Table(curves, spans, scores, 1 / scores.var(axis=0))
    chosen = [index for index, curve in enumerate(curves) if len(curve.points) >= LEAST_FRACTIONS]
    laws = _own(table, chosen, scale.ceiling, rng) if chosen else None
    own = {curves[index].line: number for number, index in enumerate(chosen)}
    fitting = {curves[index].line: _fitting(table, index, laws, number) for number, index in enumerate(chosen) if laws}
    return Fitted(scoring, scale, tuple(curves), own, laws, _joint(table, scale.ceiling, rng), seed_sd, fitting)


def _fitting(table: _Table, index: int, laws: Laws, number: int) -> float:
    """The chance of a curve's misfit by noise: chi-squared, the exponent being mostly the others'."""
    from scipy.special import chdtrc

    span, fractions = table.spans[index], np.array([float(f) for f in table.curves[index].fractions])
    off = np.median(table.scores[:, span], axis=0) - np.median(laws.at(number, fractions), axis=0)
    return float(chdtrc(max(len(fractions) - 2, 1), (table.weights[span] * off**2).sum()))


def _own(table: _Table, chosen: Sequence[int], ceiling: float, rng: np.random.Generator) -> Laws:
    fractions = [np.array([float(f) for f in table.curves[index].fractions]) for index in chosen]
    spans = [table.spans[index] for index in chosen]
    weights, scores = [table.weights[span] for span in spans], [table.scores[:, span] for span in spans]
    return saturating.fit(saturating.sample(fractions, weights, scores), ceiling, rng)


def _joint(table: _Table, ceiling: float, rng: np.random.Generator) -> dict[object, JointLaw]:
    """By arm, where it was run at three sizes and each model has one recipe."""
    arms: dict[object, list[int]] = {}
    for index, curve in enumerate(table.curves):
        arms.setdefault(curve.line.across_models, []).append(index)
    laws = {}
    for arm, members in arms.items():
        of = [table.curves[index] for index in members]
        models, sizes = [c.line.model for c in of], {c.line.parameters for c in of}
        fractions = {fraction for curve in of for fraction in curve.fractions}
        if len(sizes) < joint_law.LEAST_SIZES or len(fractions) < LEAST_FRACTIONS or len(models) > len(set(models)):
            continue
        points = np.concatenate([np.arange(table.spans[i].start, table.spans[i].stop) for i in members])
        x = np.array([float(curve.line.parameters) for curve in of for _ in curve.points])
        f = np.array([float(fraction) for curve in of for fraction in curve.fractions])
        laws[arm] = joint_law.fit(x, f, ceiling - table.scores[:, points], table.weights[points], rng)
    return laws
