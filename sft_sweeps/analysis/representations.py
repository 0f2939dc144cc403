"""How far a model keeps the queries of several sources apart, and where they lie on a plane.

A t-SNE plot (van der Maaten and Hinton 2008) shows neighbourhoods; neither distances nor sizes of its groups mean
anything (Wattenberg et al. 2016), so that groups which touch there prove no "collapse". Beside it stand two numbers of
the vectors themselves, in all their dimensions, by Euclidean distance:

    silhouette   (b - a) / max(a, b) of a query, a its mean distance to its own source's queries, b to those of the
                 nearest other source (Rousseeuw 1987); the mean over queries, of -1 to 1, 0 where sources mix
    purity       the share of a query's nearest neighbours that are of its source; the mean, 1 where sources are apart

Their intervals are of the choice of queries: a bootstrap within each source, in which no copy of a query is its own
neighbour. In all models the same queries are drawn, so that the interval of a change between two is a paired one.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sft_sweeps.stats import CONFIDENCE, Interval, proportion

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Counts = npt.NDArray[np.int64]

NEIGHBOURS = 10
RESAMPLES = 1000
REACH = 8  # times as many of the nearest are looked at, for a resample leaves a third of them out
PERPLEXITY = 30.0  # the default of scikit-learn, for the paper names none
ROUNDING = 1e-9  # of sums of shares
CHUNK = 25  # resamples at a time: bounds the memory


@dataclass(frozen=True)
class Separation:
    """How far a model keeps sources apart: `n` queries, and the purity that chance alone would have.

    The changes are what it has more than the first model that it was compared with; None of that one.
    """

    silhouette: Interval
    purity: Interval
    n: int
    neighbours: int
    chance: float
    silhouette_change: Interval | None = None
    purity_change: Interval | None = None


@dataclass(frozen=True)
class Map:
    """Points of several models on one plane, for each model one for each query; `perplexity` as it was used."""

    points: tuple[tuple[tuple[float, float], ...], ...]
    perplexity: float
    seed: int


def distances(vectors: "npt.ArrayLike") -> "Floats":
    """Euclidean distances between all pairs of rows."""
    import numpy as np
    from scipy.spatial.distance import pdist, squareform

    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError("distances are taken between rows of finite numbers")
    made: Floats = squareform(pdist(rows))
    return made


def silhouettes(apart: "Floats", sources: Sequence[str], counts: "npt.ArrayLike | None" = None) -> "Floats":
    """The silhouette of each query by the distances between all; 0 for the only query of its source.

    `counts`: how often each is drawn in several resamples, the rows; then the values of each resample are a row.
    """
    import numpy as np

    codes, drawn = _codes(sources), _drawn(counts, len(sources))
    members = np.eye(codes.max() + 1)[codes]  # [query, source]
    sums = np.einsum("rj,ij,jc->ric", drawn, apart, members, optimize=True)
    sizes = drawn @ members
    own = np.arange(len(codes)), codes
    others_of_own = sizes[:, codes] - drawn  # a query's copies are no neighbours of it
    within = sums[:, own[0], own[1]] / np.maximum(others_of_own, 1)
    means = sums / np.maximum(sizes, 1)[:, None, :]
    means[:, own[0], own[1]] = np.inf
    means[np.broadcast_to(sizes[:, None, :] == 0, means.shape)] = np.inf
    nearest = means.min(axis=2)
    largest = np.maximum(within, nearest)
    values = np.where((others_of_own > 0) & (largest > 0), (nearest - within) / np.where(largest > 0, largest, 1), 0.0)
    return values[0] if counts is None else values


def purities(
    apart: "Floats", sources: Sequence[str], neighbours: int = NEIGHBOURS, counts: "npt.ArrayLike | None" = None
) -> "Floats":
    """The share of each query's nearest neighbours that are of its source; of equally near ones the first counts.

    `counts`: how often each is drawn in several resamples, the rows; then the values of each resample are a row.
    """
    import numpy as np

    codes, drawn = _codes(sources), _drawn(counts, len(sources))
    order = _nearest(apart, REACH * neighbours if counts is not None else neighbours)
    same = codes[order] == codes[:, None]
    weights = drawn[:, order]  # [resample, query, rank]
    before = np.cumsum(weights, axis=2) - weights
    taken = np.clip(neighbours - before, 0, weights)
    values: Floats = (taken * same).sum(axis=2) / np.maximum(taken.sum(axis=2), 1)
    return values[0] if counts is None else values


def separations(models: "Sequence[npt.ArrayLike]", sources: Sequence[str], seed: int = 0) -> list[Separation]:
    """Silhouette and purity of each model, with intervals, and what it has more than the first.

    A model is given by its vectors, a row a query: the same queries, of the `sources`, for all.
    """
    neighbours, chance = _neighbours(sources), _chance(sources)
    first: _Resampled | None = None
    made = []
    for vectors in models:
        one = _resampled(distances(vectors), tuple(sources), neighbours, seed)
        found = Separation(
            _interval(one.silhouette, one.silhouettes),
            _share(one.purity, one.purities, len(sources)),
            len(sources),
            neighbours,
            chance,
        )
        if first:
            silhouette = _interval(one.silhouette - first.silhouette, one.silhouettes - first.silhouettes)
            purity = _interval(one.purity - first.purity, one.purities - first.purities)
            found = replace(found, silhouette_change=silhouette, purity_change=purity)
        first = first or one
        made.append(found)
    return made


def on_a_plane(models: "Sequence[npt.ArrayLike]", seed: int = 0, perplexity: float = PERPLEXITY) -> Map:
    """t-SNE of all models' vectors together, so that their panels have one plane; ImportError without scikit-learn."""
    import numpy as np
    from sklearn.manifold import TSNE

    rows = [np.asarray(one, dtype=np.float64) for one in models]
    together = np.concatenate(rows)
    used = min(perplexity, max(1.0, (len(together) - 1) / 3))
    with _one_thread():
        found = TSNE(2, perplexity=used, init="pca", learning_rate="auto", random_state=seed).fit_transform(together)
    ends = np.cumsum([len(one) for one in rows])[:-1]
    points = tuple(tuple((float(x), float(y)) for x, y in part) for part in np.split(found, ends))
    return Map(points, float(used), seed)


def _one_thread() -> AbstractContextManager[Any]:
    """Several threads, on cores that are not idle, wait for one another thirty times as long as they work."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # the numbers do without the extra
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _codes(sources: Sequence[str]) -> "Counts":
    """Each query's source as a number."""
    import numpy as np

    names = {name: number for number, name in enumerate(dict.fromkeys(sources))}
    if len(names) < 2:
        raise ValueError("one source is not apart from any other")
    return np.array([names[name] for name in sources])


def _drawn(counts: "npt.ArrayLike | None", n: int) -> "Floats":
    import numpy as np

    made: Floats = np.atleast_2d(np.ones(n) if counts is None else np.asarray(counts, dtype=np.float64))
    return made


def _nearest(apart: "Floats", most: int) -> "Counts":
    """Of each query the others, nearest first, as many as are asked for or there are."""
    import numpy as np

    others = apart.copy()
    np.fill_diagonal(others, np.inf)
    order: Counts = np.argsort(others, axis=1, kind="stable")[:, : min(most, len(apart) - 1)]
    return order


def _chance(sources: Sequence[str]) -> float:
    """The purity of neighbours that are drawn at random."""
    n = len(sources)
    return sum(sources.count(name) - 1 for name in sources) / (n * (n - 1))


def _neighbours(sources: Sequence[str]) -> int:
    """As many as are looked at: of few queries, no more than the others of a source."""
    return max(1, min(NEIGHBOURS, min(sources.count(name) for name in set(sources)) - 1))


@lru_cache(maxsize=4)
def _counts(sources: tuple[str, ...], seed: int) -> "Counts":
    """How often each query is drawn in every resample: as many of each source as it has."""
    import numpy as np

    stream, codes = np.random.default_rng(seed), _codes(sources)
    drawn = np.zeros((RESAMPLES, len(codes)), dtype=np.int64)
    for code in range(codes.max() + 1):
        (members,) = np.nonzero(codes == code)
        drawn[:, members] = stream.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
    return drawn


@dataclass(frozen=True)
class _Resampled:
    """Silhouette and purity of all queries, and in each resample of them."""

    silhouette: float
    purity: float
    silhouettes: "Floats"
    purities: "Floats"


def _resampled(apart: "Floats", sources: tuple[str, ...], neighbours: int, seed: int) -> _Resampled:
    import numpy as np

    silhouette, purity = [], []
    every = _counts(sources, seed)
    with _one_thread():
        for counts in np.array_split(every, -(-len(every) // CHUNK)):
            shares = counts / counts.sum(axis=1, keepdims=True)
            silhouette.append((silhouettes(apart, sources, counts) * shares).sum(axis=1))
            purity.append((purities(apart, sources, neighbours, counts) * shares).sum(axis=1))
    means = float(silhouettes(apart, sources).mean()), float(purities(apart, sources, neighbours).mean())
    return _Resampled(*means, np.concatenate(silhouette), np.concatenate(purity))


def _interval(value: float, drawn: "Any") -> Interval:
    """Percentiles, widened to the value itself where resamples, with fewer different queries, all lie to one side."""
    import numpy as np

    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def _share(value: float, drawn: "Any", n: int) -> Interval:
    """Of a share; where no resample differs, that of so many queries all of which are alike (Wilson's)."""
    if float(drawn.max() - drawn.min()) < ROUNDING:
        return proportion(round(value * n), n)
    found = _interval(value, drawn)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))
