"""Scores drawn anew: what else might have been measured, had other items been asked and other seeds been trained.

Items are resampled together for all runs that answered the same ones (Efron 1979; paired, as comparisons are). Where
only a score is known, a share is drawn from its binomial distribution and a mean from its interval's normal one. Few
seeds show little of their own spread, so a seed's effect is drawn from the normal distribution of the spread that is
pooled over all cells: predictions are of runs that nobody made. (Of those that were made, `resample.py` draws from the
seeds at hand.)
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sft_sweeps.analysis.curves import Scale
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.stats import CRITICAL

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

# Before replicates are seen: the standard deviation between training seeds, on the scale of 0 to 1, and how many
# differences it is worth. Dong et al. 2024 trained two configurations twice: 0.5 points of GSM8K apart, up to 2.4 of
# HumanEval, 0.15 (1.7 % of the scale) of MT-Bench.
ASSUMED_SEED_SD, ASSUMED_WORTH = 0.01, 2.0


def seed_spread(cells: Sequence[Sequence[Observation]], scale: Scale) -> float:
    """Standard deviation between training seeds on the scale, over all cells of a benchmark, shrunk to the assumed."""
    squares, freedom = ASSUMED_WORTH * ASSUMED_SEED_SD**2, ASSUMED_WORTH
    for cell in cells:
        values = np.array([scale.to(one.value) for one in cell])
        squares += float(((values - values.mean()) ** 2).sum())
        freedom += len(cell) - 1
    return float(np.sqrt(squares / freedom))


def drawn(
    cells: Sequence[Sequence[Observation]], scale: Scale, count: int, rng: np.random.Generator, seed_sd: float
) -> "Array":
    """`count` draws of each cell's mean over its seeds, on the scale: draws by cells."""
    scores = [one for cell in cells for one in cell]
    by_score = scale.to(0.0) + (_items_drawn(scores, count, rng) / scale.unit)
    ends = np.cumsum([0, *map(len, cells)])
    means = [by_score[:, start:end].mean(axis=1) for start, end in pairwise(ends)]
    seeds = np.array([seed_sd / np.sqrt(len(cell)) for cell in cells])
    of_cells: Array = np.stack(means, axis=1) + rng.normal(size=(count, len(cells))) * seeds
    return of_cells


def _items_drawn(scores: Sequence[Observation], count: int, rng: np.random.Generator) -> "Array":
    """Draws by scores, in the metric's own unit."""
    values = np.empty((count, len(scores)))
    by_items: dict[frozenset[str], list[int]] = {}
    for index, one in enumerate(scores):
        if len(set(one.items.values())) > 1:
            by_items.setdefault(frozenset(one.items), []).append(index)
        else:  # a score alone, or all items alike, of which resampling would see no noise
            values[:, index] = one.value + _alone(one)(count, rng)
    for items, indices in by_items.items():
        order = sorted(items)
        table = np.array([[scores[index].items[item] for item in order] for index in indices])
        shares = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size=count) / len(order)
        own = np.array([scores[index].value for index in indices])
        values[:, indices] = own + shares @ table.T - table.mean(axis=1)
    return values


def _alone(one: Observation) -> Callable[[int, np.random.Generator], "Array"]:
    """What may be added to a score of which no items are at hand; a count of none or all is a half from it."""
    if one.share:
        chance = (one.value * one.n + 0.5) / (one.n + 1)
        return lambda count, rng: rng.binomial(one.n, chance, size=count) / one.n - chance
    sd = (one.high - one.low) / 2 / CRITICAL
    return lambda count, rng: rng.normal(0.0, sd, size=count)


def item_sd(one: Observation) -> float:
    """Standard deviation of a score from its items alone, in the metric's own unit."""
    if one.share:
        chance = (one.value * one.n + 0.5) / (one.n + 1)
        return float(np.sqrt(chance * (1 - chance) / one.n))
    return (one.high - one.low) / 2 / CRITICAL
