"""A table from words to token ids that looks up a million words in one numpy expression.

A word of at most 24 bytes of UTF-8 is three 64-bit numbers, filled up with zeros, and these are compared: no word is
found by its hash alone. Slots are probed one after the other, all words at once, until none is left.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LANES = 3
WIDTH = 8 * LANES  # bytes of a word
ENTRIES = 1 << 20  # words that are remembered: about 60 MB with their ids
SLOTS = 1 << 21
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)

Lanes = list[npt.NDArray[np.uint64]]
Indices = npt.NDArray[np.int64]


def lanes(buffer: bytes, starts: Indices, lengths: Indices) -> Lanes:
    """The numbers of the words of a buffer; those of a word that is longer are of its beginning."""
    padded = buffer + bytes(WIDTH + 8 - len(buffer) % 8)
    whole = np.frombuffer(padded, dtype="<u8")
    first, shift = starts >> 3, ((starts & 7) << 3).astype(np.uint64)
    rest, one = np.uint64(63) - shift, np.uint64(1)
    parts = [whole.take(first + n, mode="clip") for n in range(LANES + 1)]
    words: Lanes = []
    for n in range(LANES):
        lane = parts[n] >> shift | parts[n + 1] << one << rest  # in two steps: a shift by 64 means nothing
        words.append(lane & MASKS.take(np.clip(lengths - 8 * n, 0, 8)))
    return words


class WordTable:
    """Grows until `room` is none; then `clear` it. Entries count from 1: 0 is an empty slot, and no word."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.count = 0
        self._slots = np.zeros(SLOTS, dtype=np.int32)
        self._keys = [np.zeros(ENTRIES + 1, dtype=np.uint64) for _ in range(LANES)]
        self._offsets = np.zeros(ENTRIES + 1, dtype=np.int64)
        self._lengths = np.zeros(ENTRIES + 1, dtype=np.int64)
        self._pool = np.zeros(1 << 16, dtype=np.int32)
        self._used = 0

    @property
    def room(self) -> int:
        """How many more words it takes."""
        return ENTRIES - self.count

    def find(self, keys: Lanes) -> npt.NDArray[np.int32]:
        """The entry of each word, 0 where there is none."""
        slots = _slots(keys)
        entries = self._slots.take(slots)
        asked = np.flatnonzero(self._differ(entries, keys))
        while len(asked):
            slots[asked] = (slots[asked] + 1) & (SLOTS - 1)
            entries[asked] = self._slots.take(slots[asked])
            asked = asked[self._differ(entries[asked], [key[asked] for key in keys])]
        return entries

    def _differ(self, entries: npt.NDArray[np.int32], keys: Lanes) -> npt.NDArray[np.bool_]:
        """Where an entry is there and is another word's."""
        wrong: npt.NDArray[np.bool_] = self._keys[0].take(entries) != keys[0]
        for known, key in zip(self._keys[1:], keys[1:], strict=True):
            wrong |= known.take(entries) != key
        wrong &= entries != 0
        return wrong

    def add(self, keys: Lanes, new_ids: Sequence[bytes]) -> None:
        """New words, each once, with their ids as the bytes of int32."""
        new = np.arange(self.count + 1, self.count + 1 + len(new_ids), dtype=np.int32)
        for known, key in zip(self._keys, keys, strict=True):
            known[new] = key
        self._lengths[new] = lengths = np.array([len(ids) // 4 for ids in new_ids], dtype=np.int64)
        self._offsets[new] = self._used + np.cumsum(lengths) - lengths
        self._used += len(self._append(np.frombuffer(b"".join(new_ids), dtype=np.int32)))
        self.count += len(new_ids)
        slots = _slots(keys)
        while len(new):
            free = self._slots[slots] == 0
            self._slots[slots[free]] = new[free]  # of two that want one slot, the last has it
            left = self._slots[slots] != new
            new, slots = new[left], (slots[left] + 1) & (SLOTS - 1)

    def ids(
        self, entries: npt.NDArray[np.int32], others: Indices, other_ids: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.int32], Indices]:
        """(the ids of words one after the other, where each word's end).

        `others` are the indices of words without an entry, `other_ids` their ids.
        """
        offsets, lengths = self._offsets.take(entries), self._lengths.take(entries)
        if len(others):
            lengths[others] = more = np.array([len(ids) // 4 for ids in other_ids], dtype=np.int64)
            offsets[others] = self._used + np.cumsum(more) - more
            self._append(
                np.frombuffer(b"".join(other_ids), dtype=np.int32)
            )  # behind what is used: until the next words
        ends = np.cumsum(lengths)
        indices = np.repeat(offsets - (ends - lengths), lengths)
        indices += np.arange(len(indices))
        return self._pool.take(indices), ends

    def _append(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Write ids behind those in use, in a larger pool where they do not fit; the ids."""
        needed = self._used + len(ids)
        if needed > len(self._pool):
            self._pool = np.concatenate([self._pool[: self._used], np.zeros(2 * needed - self._used, dtype=np.int32)])
        self._pool[self._used : needed] = ids
        return ids


def _slots(keys: Lanes) -> Indices:
    mixed = keys[0] * np.uint64(MULTIPLIERS[0])
    for key, by in zip(keys[1:], MULTIPLIERS[1:], strict=True):
        mixed ^= key * np.uint64(by)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(MULTIPLIERS[0])
    return (mixed >> np.uint64(40)).astype(np.int64) & (SLOTS - 1)
