"""The saturating power law, score = c - a n^-b with c at most the best possible score, fitted to many curves at once.

For a given exponent b the law is a line in n^-b, so all exponents of a grid are solved in closed form. Exponents are
pooled: log b of a curve is normal around its group's (`POOLED_SD`), the group's around `USUAL_EXPONENT` (`USUAL_SD`),
which is a ridge prior. Uncertainty is by randomise-then-optimise (Bardsley et al. 2014): each draw fits scores drawn
anew under a prior whose centre is drawn anew too. Where b is near 0 the law is the log-linear one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

EXPONENTS = np.exp(np.linspace(np.log(0.03), np.log(3.0), 40))
LOGS = np.log(EXPONENTS)
# Hestness et al. 2017 and Zhang et al. 2024 find exponents of data from below 0.1 to about 0.5 in pretraining's and
# fine-tuning's losses; accuracies saturate sooner. A curve of its own may be a factor of 1.6 from its group's.
USUAL_EXPONENT, USUAL_SD, POOLED_SD = 0.5, 0.7, 0.5


@dataclass(frozen=True, slots=True)
class Laws:
    """Fitted curves: arrays of draws by curves. `full` is the score at fraction 1, `drop` what the smallest fraction
    that was measured is below it, `exponent` b; `smallest` that fraction, of each curve.
    """

    full: "Array"
    drop: "Array"
    exponent: "Array"
    smallest: "Array"

    def at(self, curve: int, fractions: "Array") -> "Array":
        """Draws by fractions, of one curve."""
        b = self.exponent[:, curve, None]
        steps = (fractions[None, :] ** -b - 1) / (self.smallest[curve] ** -b - 1)
        values: Array = self.full[:, curve, None] - self.drop[:, curve, None] * steps
        return values


@dataclass(frozen=True, slots=True)
class Sample:
    """Scores to fit, padded to the longest curve with weights of 0: `fractions` and `weights` are curves by points,
    `scores` draws by curves by points.
    """

    fractions: "Array"
    weights: "Array"
    scores: "Array"


def sample(fractions: Sequence["Array"], weights: Sequence["Array"], scores: Sequence["Array"]) -> Sample:
    """Of each curve: its fractions, the inverse variances of its scores, and draws by points of these."""
    longest = max(map(len, fractions))

    def padded(rows: Sequence["Array"], fill: float) -> "Array":
        return np.stack(
            [
                np.pad(row, [(0, 0)] * (row.ndim - 1) + [(0, longest - row.shape[-1])], constant_values=fill)
                for row in rows
            ],
            axis=-2,
        )

    return Sample(padded(fractions, 1.0), padded(weights, 0.0), padded(scores, 0.0))


def fit(given: Sample, ceiling: float, rng: np.random.Generator | None = None) -> Laws:
    """The laws of curves that share a benchmark; with `rng`, each draw is fitted under a prior of its own."""
    smallest = np.where(given.weights > 0, given.fractions, np.inf).min(axis=1)
    full, drop, misfit = _solved(given, smallest, ceiling)
    chosen = _pooled(misfit, rng)
    pick = chosen[:, :, None]
    return Laws(
        np.take_along_axis(full, pick, 2)[:, :, 0],
        np.take_along_axis(drop, pick, 2)[:, :, 0],
        EXPONENTS[chosen],
        smallest,
    )


def _solved(given: Sample, smallest: "Array", ceiling: float) -> tuple["Array", "Array", "Array"]:
    """Weighted least squares at every exponent: draws by curves by exponents of full, drop and squared misfit.

    The asymptote c is full + drop / (smallest^-b - 1); where it would be above the ceiling, it is the ceiling.
    """
    w, y = given.weights, given.scores
    reach = smallest[:, None] ** -EXPONENTS - 1  # curves by exponents
    z = (given.fractions[:, None, :] ** -EXPONENTS[:, None] - 1) / reach[:, :, None]
    wz = w[:, None, :] * z
    sw, sz, szz = w.sum(1)[:, None], wz.sum(2), (wz * z).sum(2)
    sy = (w * y).sum(2)[:, :, None]
    szy = np.einsum("cgk,bck->bcg", wz, y)
    syy = (w * y * y).sum(2)[:, :, None]
    det = sw * szz - sz**2
    full, drop = (szz * sy - sz * szy) / det, (sz * sy - sw * szy) / det
    misfit = syy - full * sy + drop * szy
    below = w * (ceiling - y)
    q = 1 / reach[:, :, None] + z
    towards = np.einsum("cgk,bck->bcg", q, below)
    capped_drop = towards / (w[:, None, :] * q * q).sum(2)
    capped = (below * (ceiling - y)).sum(2)[:, :, None] - capped_drop * towards
    above = full + drop / reach > ceiling
    return (
        np.where(above, ceiling - capped_drop / reach, full),
        np.where(above, capped_drop, drop),
        np.where(above, capped, misfit),
    )


def _pooled(misfit: "Array", rng: np.random.Generator | None) -> "npt.NDArray[np.intp]":
    """The index of each curve's exponent, draws by curves, where misfit and both priors are least together."""
    draws, curves, _ = misfit.shape
    own, usual = np.zeros((draws, curves)), np.full(draws, np.log(USUAL_EXPONENT))
    if rng is not None:
        own, usual = rng.normal(0, POOLED_SD, own.shape), rng.normal(usual, USUAL_SD)
    best, chosen = np.full(draws, np.inf), np.zeros((draws, curves), dtype=np.intp)
    for centre in LOGS:
        cost = misfit + ((LOGS - centre - own[:, :, None]) / POOLED_SD) ** 2
        at = cost.argmin(axis=2)
        total = np.take_along_axis(cost, at[:, :, None], 2)[:, :, 0].sum(axis=1) + ((centre - usual) / USUAL_SD) ** 2
        better = total < best
        best[better], chosen[better] = total[better], at[better]
    return chosen
