"""Batches: every example once an epoch, exactly batch_size a step, and nothing lost in shares, bins and packing."""

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from typing import Any, get_args

import numpy as np
import pytest
import values
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.data.encode.batches import IGNORED, Packed, Shown, batch, bins, epoch_order, pack, share, shown
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.spec.training import ExampleOrder

COUNTS = st.integers(1, 60)
LENGTHS = st.lists(st.integers(1, 300), max_size=40)
Sources = list[tuple[int, int]]  # of each, how many examples and how often
SOURCES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), min_size=1, max_size=3)
TOKENS = st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=12)


def names(count: int, source: str = "math") -> tuple[str, ...]:
    return tuple(f"{source}/{row}" for row in range(count))


def mixed(sources: Sources) -> Shown:
    """Of each source so many examples, each so often."""
    return Shown(
        ids=tuple(name for at, (count, _) in enumerate(sources) for name in names(count, f"s{at}")),
        repeats=tuple(repeat for count, repeat in sources for _ in range(count)),
        sources=tuple(at for at, (count, _) in enumerate(sources) for _ in range(count)),
    )


@given(count=COUNTS, batch_size=st.integers(1, 20), epochs=st.integers(1, 3), seed=st.integers(0, 3))
def test_every_example_once_an_epoch_and_exactly_batch_size_a_step(
    count: int, batch_size: int, epochs: int, seed: int
) -> None:
    examples = Shown(names(count))
    steps = -(-count // batch_size)
    for epoch in range(epochs):
        seen = [batch(examples, seed, batch_size, epoch * steps + step) for step in range(steps)]
        assert {len(places) for places in seen} == {batch_size}
        flat = [place for places in seen for place in places]
        assert flat[:count] == epoch_order(examples, seed, epoch)
        assert sorted(flat[:count]) == list(range(count))
        assert flat[count:] == [flat[place % count] for place in range(len(flat) - count)]


def test_a_batch_larger_than_the_examples_cycles() -> None:
    places = batch(Shown(names(3)), 0, 8, 5)
    assert places == (epoch_order(Shown(names(3)), 0, 5) * 3)[:8]
    assert sorted(Counter(places).values()) == [2, 3, 3]


@given(left=COUNTS, right=COUNTS, epoch=st.integers(0, 3), shuffler=st.randoms(use_true_random=False))
def test_another_source_and_the_order_of_listing_reshuffle_nothing(
    left: int, right: int, epoch: int, shuffler: random.Random
) -> None:
    alone = names(left)
    both = [*alone, *names(right, "code")]
    shuffler.shuffle(both)
    order = [both[place] for place in epoch_order(Shown(tuple(both)), 1, epoch)]
    own = [alone[place] for place in epoch_order(Shown(alone), 1, epoch)]
    assert [name for name in order if name.startswith("math/")] == own


@given(count=COUNTS, other=COUNTS, repeat=st.integers(1, 6), epoch=st.integers(0, 3))
def test_repeating_one_source_reorders_no_other(count: int, other: int, repeat: int, epoch: int) -> None:
    """Nor itself: each pass over it has the order that it has alone."""
    both = (*names(count), *names(other, "code"))
    order = epoch_order(Shown(both, (repeat,) * count + (1,) * other), 1, epoch)
    assert [place for place in order if place < count] == epoch_order(Shown(names(count)), 1, epoch) * repeat
    once = epoch_order(Shown(both), 1, epoch)
    assert [place for place in order if place >= count] == [place for place in once if place >= count]


@given(sources=SOURCES, epoch=st.integers(0, 2))
def test_every_order_leaves_each_source_the_order_that_it_has_alone(sources: Sources, epoch: int) -> None:
    """By source they stand behind each other; interleaved, whatever was cut off had its share of each."""
    examples = mixed(sources)
    shuffled = epoch_order(examples, 1, epoch)

    def of(source: int, order: list[int]) -> list[int]:
        return [place for place in order if examples.sources[place] == source]

    own = [of(source, shuffled) for source in range(len(sources))]
    assert epoch_order(replace(examples, order="by_source"), 1, epoch) == [place for part in own for place in part]
    interleaved = epoch_order(replace(examples, order="interleaved"), 1, epoch)
    assert [of(source, interleaved) for source in range(len(sources))] == own
    for source, part in enumerate(own):
        share = Fraction(len(part), len(shuffled))
        counts = accumulate((examples.sources[place] == source for place in interleaved), initial=0)
        off = max(abs(count - length * share) for length, count in enumerate(counts))
        assert off <= Fraction(1, 2) + share * len(sources) / 2
    if len(sources) == 1:
        assert interleaved == shuffled


@pytest.mark.parametrize("order", get_args(ExampleOrder))
@given(sources=SOURCES, batch_size=st.integers(1, 12), epoch=st.integers(0, 2))
def test_no_order_shows_an_example_twice_in_a_batch(
    order: ExampleOrder, sources: Sources, batch_size: int, epoch: int
) -> None:
    """Where a repeated source has as many examples as a batch; the last batch, which is filled up, among them."""
    examples = replace(mixed(sources), order=order)
    steps = -(-examples.count // batch_size)
    seen = [batch(examples, 1, batch_size, epoch * steps + step) for step in range(steps)]
    flat = [place for places in seen for place in places][: examples.count]
    assert Counter(flat) == dict(enumerate(examples.repeats))
    if all(count >= batch_size for count, repeat in sources if repeat > 1) and len(examples.ids) >= batch_size:
        assert all(len(set(places)) == batch_size for places in seen)


def test_orders_by_hand() -> None:
    """Of 2 a come the places 1/4 and 3/4, of 4 b 1/8, 3/8, 5/8 and 7/8, of 1 c 1/2."""
    names_of = [("a", 2), ("b", 4), ("c", 1)]
    encoded = [make(place, [(1, True)], source) for source, count in names_of for place in range(count)]

    def letters(**recipe: Any) -> str:
        examples = shown(encoded, replace(values.RECIPE, **recipe))
        return "".join(encoded[place].source for place in epoch_order(examples, 0, 0))

    assert letters(order="interleaved") == "babcbab"
    assert letters(order="by_source", source_order=("c", "a", "b")) == "caabbbb"
    assert sorted(letters()) == sorted("aabbbbc")


def test_epochs_and_seeds_differ() -> None:
    orders = [tuple(epoch_order(Shown(names(50)), seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert tuple(range(50)) not in orders


# Raise VERSIONS["batches"] when these orders of epochs 0 and 1 change.
GOLDEN = [[0, 6, 2, 7, 4, 3, 5, 1], [5, 0, 6, 3, 2, 4, 7, 1]]


def test_golden_order() -> None:
    assert [epoch_order(Shown(names(8)), 0, epoch) for epoch in (0, 1)] == GOLDEN


@given(lengths=LENGTHS, ranks=st.integers(1, 9))
def test_shares_partition_and_balance(lengths: list[int], ranks: int) -> None:
    shares = share(lengths, ranks)
    assert len(shares) == ranks
    assert sorted(place for own in shares for place in own) == list(range(len(lengths)))
    loads = [sum(lengths[place] for place in own) for own in shares]
    assert max(loads) - min(loads) <= max(lengths, default=0)
    assert share(lengths, ranks) == shares


def test_share_gives_the_longest_to_the_least_loaded() -> None:
    assert share([1, 9, 5, 5], 2) == [[1, 0], [2, 3]]
    assert share([4], 3) == [[0], [], []]
    assert share([], 2) == [[], []]


@given(lengths=LENGTHS, budget=st.integers(1, 400))
def test_bins_partition_within_the_budget(lengths: list[int], budget: int) -> None:
    packed = bins(lengths, budget)
    assert sorted(place for row in packed for place in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[place] for place in row) <= budget for row in packed)
    assert all(packed)
    assert bins(lengths, budget) == packed
    # First fit: no two bins that could be one.
    totals = [sum(lengths[place] for place in row) for row in packed]
    assert all(a + b > budget for at, a in enumerate(totals) for b in totals[at + 1 :])


def test_a_longer_example_is_alone() -> None:
    assert bins([3, 50, 4, 9], 10) == [[1], [3], [2, 0]]
    assert bins([], 10) == []
    assert bins([6, 4], 10) == [[0, 1]]


def make(place: int, tokens: list[tuple[int, bool]], source: str = "s") -> Encoded:
    ids, supervised = zip(*tokens, strict=True)
    return Encoded(f"{source}/{place}", source, np.array(ids, np.int32), np.array(supervised, np.bool_))


def unpack(packed: Packed) -> list[tuple[list[int], list[int]]]:
    starts = np.flatnonzero(packed.position_ids == 0)[1:]
    rows = zip(np.split(packed.input_ids, starts), np.split(packed.labels, starts), strict=True)
    return [(ids.tolist(), labels.tolist()) for ids, labels in rows]


@given(examples=st.lists(TOKENS, min_size=1, max_size=6))
def test_pack_and_unpack(examples: list[list[tuple[int, bool]]]) -> None:
    packed = pack([make(place, tokens) for place, tokens in enumerate(examples)])
    found = unpack(packed)
    assert len(found) == len(examples)
    for (ids, labels), tokens in zip(found, examples, strict=True):
        assert ids == [token for token, _ in tokens]
        assert labels == [token if learnt else IGNORED for token, learnt in tokens[1:]] + [IGNORED]
    lengths = [len(tokens) for tokens in examples]
    assert packed.position_ids.tolist() == [position for length in lengths for position in range(length)]
    assert {array.dtype for array in (packed.input_ids, packed.position_ids, packed.labels)} == {np.dtype(np.int64)}
    learnt_tokens = sum(learnt for tokens in examples for _, learnt in tokens[1:])
    assert int((packed.labels != IGNORED).sum()) == learnt_tokens


def test_pack_by_hand_and_pack_of_nothing() -> None:
    packed = pack([make(0, [(1, False), (5, False), (6, True), (2, True)]), make(1, [(1, False), (7, True)])])
    assert packed.input_ids.tolist() == [1, 5, 6, 2, 1, 7]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert packed.labels.tolist() == [-100, 6, 2, -100, 7, -100]
    assert [len(array) for array in (pack([]).input_ids, pack([]).position_ids, pack([]).labels)] == [0, 0, 0]
