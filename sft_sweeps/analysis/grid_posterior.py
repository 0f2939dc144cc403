"""What is known of every score of a grid, measured or not: a normal distribution over all cells of one benchmark.

Before anything is measured it is a sum of independent effects (a Gaussian process, Rasmussen and Williams 2006, chapter
2): of the model, of the arm, of the amount of the benchmark's own data and of the others', of k, and of their pairs.
Amounts enter as the saturating law has them, with the exponent that predictions find. Scores are on the scale of 0 to
1 (curves.Scale), and so are the standard deviations below: how far scores usually lie apart by an effect alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from sft_sweeps.analysis.observations import Setting

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

LEVEL, LEVEL_SD = 0.4, 0.5
SIZE, MODEL = 0.1, 0.05  # from the smallest model to the largest, and of each model by itself
ARM, ARM_OF_MODEL = 0.1, 0.04
ABSENT = 0.3  # of the benchmark's own ability not being trained on
AMOUNT, AMOUNT_OF_ARM, AMOUNT_OF_MODEL = 0.3, 0.08, 0.08  # from the smallest fraction to the whole
OTHERS = 0.05  # the same of each other ability, and of its absence
REPLAY, REPLAY_WIGGLE, REPLAY_LENGTH = 0.1, 0.03, 0.3  # over k's range, and what departs from a straight line
CELL = 0.015  # of every cell by itself


@dataclass(frozen=True, slots=True)
class Posterior:
    """Mean and covariance over cells."""

    mean: "Array"
    covariance: "Array"

    def given(self, cells: Sequence[int], values: "Array", noise: "Array") -> "Posterior":
        """After these cells are measured with a noise of that covariance."""
        if not len(cells):
            return self
        at = np.asarray(cells)
        of = self.covariance[:, at]
        gain = np.linalg.solve(of[at] + noise, of.T).T
        mean = self.mean + gain @ (values - self.mean[at])
        return Posterior(mean, self.covariance - gain @ of.T)

    def moved_by(self, contrasts: "Array", cells: Sequence[int], noise: "Array") -> "Array":
        """Standard deviation of how much each contrast's mean will move when these cells are measured.

        `contrasts` are rows of weights on the cells.
        """
        at = np.asarray(cells)
        of = contrasts @ self.covariance[:, at]
        spread = np.linalg.solve(self.covariance[np.ix_(at, at)] + noise, of.T).T
        moved: Array = np.sqrt(np.maximum((of * spread).sum(axis=1), 0.0))
        return moved

    def spread_of(self, contrasts: "Array") -> "Array":
        """Standard deviation of each contrast."""
        spread: Array = np.sqrt(np.maximum(((contrasts @ self.covariance) * contrasts).sum(axis=1), 0.0))
        return spread


def prior(settings: Sequence[Setting], ability: str, exponent: float) -> Posterior:
    """Of the cells of a benchmark of an ability, before any is measured."""
    features = _features(settings, ability, exponent)
    covariance = features @ features.T
    replay = _replay(settings)
    apart = replay[:, None] - replay[None, :]
    both = np.outer(~np.isnan(replay), ~np.isnan(replay))
    wiggle = REPLAY_WIGGLE**2 * np.exp(-0.5 * (np.nan_to_num(apart) / REPLAY_LENGTH) ** 2)
    covariance += np.where(both, wiggle, 0.0) + np.eye(len(settings)) * CELL**2
    return Posterior(np.full(len(settings), LEVEL), covariance)


def _features(settings: Sequence[Setting], ability: str, exponent: float) -> "Array":
    """Columns with independent effects of unit variance: the prior's covariance is their product."""
    models = _one_hot([(one.model, one.variant) for one in settings])
    arms = _one_hot([one.arm if one.arm != "alone" else ("alone", one.abilities) for one in settings])
    own = _amount(settings, ability, exponent)
    absent = np.isnan(own).astype(float)
    amount = np.nan_to_num(own)
    columns = [
        np.full(len(settings), LEVEL_SD),
        SIZE * _scaled([np.log(max(one.parameters, 1)) for one in settings]),
        MODEL * models,
        ARM * arms,
        ARM_OF_MODEL * _pairs(models, arms),
        ABSENT * absent,
        AMOUNT * amount,
        AMOUNT_OF_ARM * arms * amount[:, None],
        AMOUNT_OF_MODEL * models * amount[:, None],
        REPLAY * np.nan_to_num(_replay(settings)),
    ]
    for other in sorted({part.ability for one in settings for part in one.parts} - {ability}):
        amounts = _amount(settings, other, exponent)
        columns += [OTHERS * np.isnan(amounts), OTHERS * np.nan_to_num(amounts)]
    return np.column_stack(columns)


def _one_hot(keys: Sequence[object]) -> "Array":
    names = list(dict.fromkeys(keys))
    return np.array([[float(key == name) for name in names] for key in keys])


def _pairs(a: "Array", b: "Array") -> "Array":
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


def _scaled(values: Sequence[float]) -> "Array":
    """From 0 to 1 over their range."""
    given = np.array(values, dtype=float)
    known = given[~np.isnan(given)]
    span = known.max() - known.min() if known.size else 0.0
    return (given - known.min()) / span if span else np.where(np.isnan(given), np.nan, 0.0)


def _amount(settings: Sequence[Setting], ability: str, exponent: float) -> "Array":
    """-(fraction^-b), from 0 at the smallest fraction to 1 at the largest; nan where the ability is not trained on."""
    shares = [_share(one, ability) for one in settings]
    return _scaled([np.nan if share is None else -(float(share) ** -exponent) for share in shares])


def _share(setting: Setting, ability: str) -> Fraction | None:
    """The largest fraction that a run takes of an ability's sources."""
    return max((part.fraction for part in setting.parts if part.ability == ability), default=None)


def _replay(settings: Sequence[Setting]) -> "Array":
    """log k from 0 to 1; nan without k."""
    return _scaled([np.nan if one.k is None else np.log(float(one.k)) for one in settings])
