"""Many values that each cell could as well have had: what is said of several cells together is said of every draw.

Cells on the same items of a benchmark are drawn with the same items, so that what they share cancels in comparisons;
each cell draws from its own training seeds (Efron 1979, at two levels).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sft_sweeps.analysis.cells import Cell, table
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.stats import CRITICAL, RESAMPLES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Draws = npt.NDArray[np.float64]


def draws(cells: Sequence[Cell], resamples: int = RESAMPLES, seed: int = 0) -> "Draws":
    """Cells by resamples."""
    import numpy as np

    stream = np.random.default_rng(seed)
    drawn = np.empty((len(cells), resamples))
    for (_, items), indexes in grouped(range(len(cells)), lambda index: _items(cells[index])).items():
        weights = stream.multinomial(len(items), np.full(len(items), 1 / len(items)), resamples) if items else None
        for index in indexes:
            drawn[index] = _of_cell(cells[index], weights, resamples, stream)
    return drawn


def _items(cell: Cell) -> tuple[str, tuple[str, ...]]:
    return cell.first.benchmark, tuple(sorted(cell.first.items))


def _of_cell(
    cell: Cell, weights: "npt.NDArray[np.int64] | None", resamples: int, stream: "np.random.Generator"
) -> "Draws":
    import numpy as np

    values = np.asarray(table(cell.observations))
    if weights is None or (cell.first.share and values.min() == values.max()):  # all right: resampling sees no noise
        return _from_score(cell, resamples, stream)
    seeds = len(values)
    picked = stream.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    return np.asarray((weights @ values.T / values.shape[1] * picked).sum(axis=1))


def _from_score(cell: Cell, resamples: int, stream: "np.random.Generator") -> "Draws":
    """Of k of n: from Jeffreys' posterior of the share; else normal, as wide as the interval."""
    if cell.first.share and cell.first.n:
        right, n = cell.value * cell.first.n, cell.first.n
        return stream.beta(right + 0.5, n - right + 0.5, resamples)
    return stream.normal(cell.value, max(cell.high - cell.low, 0.0) / (2 * CRITICAL), resamples)
