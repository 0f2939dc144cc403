"""Which examples one optimizer step sees, and how they are laid out.

An epoch's order sorts the examples by hash(seed, epoch, id): another source, fraction or process count changes the
relative order of none. An example that is shown r times comes at (hash + j) / r for j = 0 ... r-1, the hash as a number
from 0 to 1: its copies are the r-th part of an epoch apart, and between two of them lies every other example of its
source once, so that no batch holds it twice where its source has as many examples as a batch. A step takes exactly
`batch_size` examples of the order; an epoch's last batch is filled from the start of the same order. Within a step the
examples are spread over ranks, packed into bins of a token budget and concatenated without padding: position ids
restart at each example and no label crosses from one to the next.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sft_sweeps.data.encode.encoder import Encoded

HASH_BITS = 256  # of what orders the examples
IGNORED = -100  # the label of a position that predicts nothing


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Examples one after the other: `labels[t]` is the id that position t predicts, or IGNORED."""

    input_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def epoch_order(ids: Sequence[str], seed: int, epoch: int, repeats: Sequence[int] = ()) -> list[int]:
    """The indices of the examples in the order of one epoch, each as often as `repeats` says; empty: once."""
    keys = [hashlib.sha256(f"{seed}/{epoch}/{example_id}".encode()).digest() for example_id in ids]
    if not repeats:
        return sorted(range(len(ids)), key=keys.__getitem__)
    common = math.lcm(*repeats)
    places = [
        ((int.from_bytes(key) + (copy << HASH_BITS)) * (common // repeat), index)
        for index, (key, repeat) in enumerate(zip(keys, repeats, strict=True))
        for copy in range(repeat)
    ]
    return [index for _, index in sorted(places)]


def repeats_of(encoded: Sequence[Encoded]) -> tuple[int, ...]:
    """How often an epoch shows each example; empty where that is once."""
    repeats = tuple(example.repeat for example in encoded)
    return repeats if any(repeat > 1 for repeat in repeats) else ()


class _Same:
    """Ids as a key that is the tuple itself and not its content: hashing a million ids takes as long as a step."""

    __slots__ = ("ids", "repeats")

    def __init__(self, ids: tuple[str, ...], repeats: tuple[int, ...]) -> None:
        self.ids, self.repeats = ids, repeats

    def __hash__(self) -> int:
        return id(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.ids is other.ids


@lru_cache(maxsize=4)
def _cached_order(same: _Same, seed: int, epoch: int) -> list[int]:
    return epoch_order(same.ids, seed, epoch, same.repeats)


def batch(ids: tuple[str, ...], seed: int, batch_size: int, step: int, repeats: tuple[int, ...] = ()) -> list[int]:
    """The indices of the `batch_size` examples of a step, counted from 0 over all epochs.

    The order of an epoch is made once for a tuple of ids: give the same tuple for every step.
    """
    steps = -(-(sum(repeats) or len(ids)) // batch_size)
    epoch, step_in_epoch = divmod(step, steps)
    order = _cached_order(_Same(ids, repeats), seed, epoch)
    start = step_in_epoch * batch_size
    return [order[index % len(order)] for index in range(start, start + batch_size)]


def share(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """The examples of a step spread over ranks: the longest first, each to the rank with the fewest tokens so far."""
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for index in _longest_first(lengths):
        rank = loads.index(min(loads))
        shares[rank].append(index)
        loads[rank] += lengths[index]
    return shares


def bins(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """A rank's examples in rows of at most `budget` tokens, first fit, the longest first; a longer one is alone."""
    packed: list[list[int]] = []
    room: list[int] = []
    for index in _longest_first(lengths):
        row = next((row for row, free in enumerate(room) if free >= lengths[index]), None)
        if row is None:
            packed.append([index])
            room.append(budget - lengths[index])
        else:
            packed[row].append(index)
            room[row] -= lengths[index]
    return packed


def padded_bins(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """The same where each example is a row, padded to the longest of its bin, which its padding fills too."""
    padded: list[list[int]] = []
    for index in _longest_first(lengths):
        if padded and (len(padded[-1]) + 1) * lengths[padded[-1][0]] <= budget:
            padded[-1].append(index)
        else:
            padded.append([index])
    return padded


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


def pack(encoded: Sequence[Encoded]) -> Packed:
    """The examples concatenated; the first token of each is nobody's label."""
    if not encoded:
        empty = np.zeros(0, dtype=np.int64)
        return Packed(empty, empty, empty)
    return Packed(
        np.concatenate([example.input_ids for example in encoded]).astype(np.int64),
        np.concatenate([np.arange(len(example.input_ids), dtype=np.int64) for example in encoded]),
        np.concatenate([_labels(example) for example in encoded]),
    )


def _labels(example: Encoded) -> npt.NDArray[np.int64]:
    labels = np.full(len(example.input_ids), IGNORED, dtype=np.int64)
    labels[:-1] = np.where(example.supervised[1:], example.input_ids[1:], IGNORED)
    return labels
