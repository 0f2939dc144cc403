"""One law over model size X and amount of data D together: error = A X^-alpha D^-beta + E (Zhang et al. 2024, "When
Scaling Meets LLM Finetuning"; the error is the best possible score minus the score, or the loss).

It is fitted where one arm was run at three sizes or more, by weighted least squares at every pair of exponents of a
grid, A and E not below 0, with a ridge prior on the exponents. It says what a curve of its own cannot: the score of a
size that was run at too few fractions.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

LEAST_SIZES = 3
OF_SIZE = np.linspace(0.0, 1.2, 25)
OF_DATA = np.exp(np.linspace(np.log(0.03), np.log(3.0), 30))
USUAL_OF_SIZE, SIZE_SD = 0.3, 0.3  # ridge prior, as wide as what has been found
USUAL_OF_DATA, DATA_SD = 0.5, 0.7  # of the logarithm


@dataclass(frozen=True, slots=True)
class JointLaw:
    """Arrays over draws; `unit` is the size that X is counted in, `scatter` what the points lie off beyond noise."""

    floor: "Array"
    factor: "Array"
    of_size: "Array"
    of_data: "Array"
    unit: float
    scatter: float

    def error(self, size: float, fraction: float) -> "Array":
        basis: Array = (size / self.unit) ** -self.of_size * fraction**-self.of_data
        return self.floor + self.factor * basis


def fit(
    sizes: "Array", fractions: "Array", errors: "Array", weights: "Array", rng: np.random.Generator | None = None
) -> JointLaw:
    """`errors` are draws by points, the rest is of each point; with `rng`, each draw under a prior of its own."""
    unit = float(sizes.max())
    alpha, beta = (grid.ravel() for grid in np.meshgrid(OF_SIZE, OF_DATA, indexing="ij"))
    basis = np.exp(-np.outer(alpha, np.log(sizes / unit)) - np.outer(beta, np.log(fractions)))  # pairs by points
    floor, factor, misfit = _solved(basis, errors, weights)
    draws = len(errors)
    usual = np.stack([np.full(draws, USUAL_OF_SIZE), np.full(draws, np.log(USUAL_OF_DATA))], axis=1)
    if rng is not None:
        usual = rng.normal(usual, (SIZE_SD, DATA_SD))
    prior = ((alpha - usual[:, :1]) / SIZE_SD) ** 2 + ((np.log(beta) - usual[:, 1:]) / DATA_SD) ** 2
    best = (misfit + prior).argmin(axis=1)
    at = np.arange(draws), best
    law = JointLaw(floor[at], factor[at], alpha[best], beta[best], unit, 0.0)
    return JointLaw(law.floor, law.factor, law.of_size, law.of_data, unit, _scatter(misfit[at], weights))


def _solved(basis: "Array", errors: "Array", weights: "Array") -> tuple["Array", "Array", "Array"]:
    """Draws by pairs of floor, factor and squared misfit; neither is below 0."""
    sw, sb, sbb = weights.sum(), basis @ weights, (basis * basis) @ weights
    sy, sby = (errors @ weights)[:, None], (errors * weights) @ basis.T
    syy = ((errors * errors) @ weights)[:, None]
    det = np.maximum(sw * sbb - sb**2, np.finfo(float).tiny)
    floor, factor = (sbb * sy - sb * sby) / det, (sw * sby - sb * sy) / det
    factor = np.where(floor < 0, sby / sbb, factor)
    floor = np.where(floor < 0, 0.0, floor)
    floor = np.where(factor < 0, sy / sw, floor)
    factor = np.maximum(factor, 0.0)
    misfit = syy - 2 * floor * sy - 2 * factor * sby + floor**2 * sw + 2 * floor * factor * sb + factor**2 * sbb
    return floor, factor, misfit


def _scatter(misfit: "Array", weights: "Array") -> float:
    """The standard deviation that explains what the misfit has beyond its expected value, at points of usual weight."""
    freedom = max(len(weights) - 4, 1)
    excess = max(float(np.median(misfit)) / freedom - 1.0, 0.0)
    return float(np.sqrt(excess / np.median(weights)))
