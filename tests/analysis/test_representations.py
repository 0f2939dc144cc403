"""Separation of sources against scikit-learn and a search by hand; what its intervals must hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.analysis import representations
from sft_sweeps.analysis.representations import distances, on_a_plane, purities, separations, silhouettes

sklearn = pytest.importorskip("sklearn", reason="needs the extra `representations`")
Vectors = Any


def groups(*sizes: int) -> list[str]:
    return [name for name, size in zip("abcd", sizes, strict=False) for _ in range(size)]


def drawn(sources: Sequence[str], apart: float, seed: int = 0, width: int = 6) -> Vectors:
    """Normal vectors, each source moved along an axis of its own."""
    made = np.random.default_rng(seed).normal(size=(len(sources), width))
    for row, name in enumerate(sources):
        made[row, "abcd".index(name)] += apart
    return made


SOURCES = groups(12, 7, 20)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=2, max_size=4),
    apart=st.floats(-3, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_silhouettes_are_those_of_scikit_learn(sizes: list[int], apart: float, seed: int) -> None:
    from sklearn.metrics import silhouette_samples

    sources = groups(*sizes)
    vectors = drawn(sources, apart, seed)
    np.testing.assert_allclose(
        silhouettes(distances(vectors), sources), silhouette_samples(vectors, sources), atol=1e-9
    )


def by_hand(vectors: Vectors, sources: Sequence[str], neighbours: int) -> list[float]:
    """Each query's nearest others, one pair at a time."""
    shares = []
    for i, row in enumerate(vectors):
        far = sorted((sum((x - y) ** 2 for x, y in zip(row, other, strict=True)), j) for j, other in enumerate(vectors))
        nearest = [j for _, j in far if j != i][:neighbours]
        shares.append(sum(sources[j] == sources[i] for j in nearest) / len(nearest))
    return shares


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), neighbours=st.integers(1, 60))
def test_purities_are_those_of_a_search_by_hand(seed: int, neighbours: int) -> None:
    vectors = drawn(SOURCES, 1.0, seed)
    assert purities(distances(vectors), SOURCES, neighbours).tolist() == pytest.approx(
        by_hand(vectors, SOURCES, neighbours)
    )


def test_a_resample_is_what_its_copies_give() -> None:
    """By hand: each drawn query once for each copy; a query's own copies are no neighbours of it."""
    vectors, stream = drawn(SOURCES, 1.0), np.random.default_rng(5)
    counts = np.bincount(stream.integers(0, len(SOURCES), len(SOURCES)), minlength=len(SOURCES))
    copies = [index for index, count in enumerate(counts) for _ in range(count)]
    apart = distances(vectors)
    found = purities(apart, SOURCES, 5, counts[None])[0], silhouettes(apart, SOURCES, counts[None])[0]
    for i in {index for index in copies if counts[index]}:
        others = [j for j in copies if j != i]
        nearest = sorted(others, key=lambda j: apart[i, j])[:5]
        assert found[0][i] == pytest.approx(sum(SOURCES[j] == SOURCES[i] for j in nearest) / 5)
        means = {name: np.mean([apart[i, j] for j in others if SOURCES[j] == name]) for name in "abc"}
        own = means.pop(SOURCES[i])
        assert found[1][i] == pytest.approx((min(means.values()) - own) / max(own, *[min(means.values())]))


def test_intervals_hold_their_values_and_narrow_with_more_queries() -> None:
    few, many = groups(20, 20), groups(70, 70)
    (small,), (large,) = (separations([drawn(sources, 1.5)], sources) for sources in (few, many))
    for one in (small, large):
        for interval in (one.silhouette, one.purity):
            assert interval.low < interval.value < interval.high
    for narrow, wide in ((large.silhouette, small.silhouette), (large.purity, small.purity)):
        assert narrow.high - narrow.low < 0.8 * (wide.high - wide.low)
    assert (small.n, small.neighbours, small.silhouette_change) == (40, 10, None)
    assert small.chance == pytest.approx(19 / 39)


def test_sources_that_do_not_differ_are_mixed_and_those_that_do_are_apart() -> None:
    sources = groups(30, 30)
    mixed, apart = separations([drawn(sources, 0.0), drawn(sources, 20.0)], sources)
    assert mixed.purity.low < mixed.chance < mixed.purity.high
    assert mixed.silhouette.value == pytest.approx(0, abs=0.02)
    assert apart.purity.value == apart.purity.high == 1
    assert apart.purity.low == pytest.approx(0.94, abs=0.01)  # 60 of 60 are no proof that all are: Wilson's interval
    assert apart.silhouette_change is not None
    assert apart.silhouette_change.low > 0.5


def test_a_change_is_paired_by_query() -> None:
    """Two models that are nearly alike: each interval is wide, that of the change narrow; of the same model, zero."""
    sources = groups(40, 40)
    vectors = drawn(sources, 1.0)
    first, same, near = separations([vectors, vectors, vectors + drawn(sources, 0.0, 9) * 0.01], sources)
    assert same.silhouette_change is not None
    assert (same.silhouette_change.low, same.silhouette_change.high) == (0, 0)
    assert near.silhouette_change is not None
    width = first.silhouette.high - first.silhouette.low
    assert near.silhouette_change.high - near.silhouette_change.low < width / 10


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="one source"):
        separations([np.zeros((4, 2))], ["a"] * 4)
    with pytest.raises(ValueError, match="finite"):
        separations([np.full((4, 2), np.nan)], list("aabb"))


def test_equal_vectors_separate_nothing() -> None:
    (found,) = separations([np.ones((8, 3))], groups(4, 4))
    assert found.silhouette.value == 0
    assert 0 <= found.purity.low <= found.purity.high <= 1


def test_models_share_a_plane_and_a_seed_gives_it_again() -> None:
    sources = groups(15, 15)
    models = [drawn(sources, 8.0), drawn(sources, 8.0, seed=1)]
    found = on_a_plane(models)
    assert [len(points) for points in found.points] == [30, 30]
    assert found.perplexity == pytest.approx(59 / 3)  # 30 is too many for 60 points
    assert found == on_a_plane(models)
    plane = distances([point for points in found.points for point in points])
    assert silhouettes(plane, sources * 2).mean() > 0.5  # what lies apart lies apart there, in both models alike


def test_t_sne_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several, on cores that are not idle, 300 points take half a minute in place of one second."""
    import threadpoolctl

    asked: list[Any] = []
    limits = threadpoolctl.threadpool_limits
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", lambda n: (asked.append(n), limits(n))[1])
    on_a_plane([drawn(groups(6, 6), 1.0)])
    assert asked == [1]
    assert representations.PERPLEXITY == 30
