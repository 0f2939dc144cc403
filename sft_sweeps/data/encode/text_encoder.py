"""Text to token ids, as the tokenizer alone gives them: the interface, and the encoder that asks the tokenizer."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Ids = npt.NDArray[np.int32]  # [tokens]
Sides = tuple[str, str]  # the two texts of a round: what is given to the model, and what it learns to write


class TextEncoder(Protocol):
    """Encodes texts without special tokens."""

    def ids(self, text: str) -> Ids:
        """The ids of a text."""

    def batch(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many ids each text has."""

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        """Each round's ids, and the index of the first that is learnt."""


class PlainEncoder:
    """The tokenizer itself; the boundary between the sides is found by the characters that each token covers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def ids(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def batch(self, texts: Sequence[str]) -> list[Ids]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        encodings = self._tokenizer.encode_batch([given + learnt for given, learnt in sides], add_special_tokens=False)
        return [self._round(*both, encoding) for both, encoding in zip(sides, encodings, strict=True)]

    def _round(self, given: str, learnt: str, encoding: Any) -> tuple[Ids, int]:
        """Where a token would join the two sides, they are encoded apart."""
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        first = int(np.searchsorted(offsets[:, 1], len(given), side="right"))
        if first < len(offsets) and offsets[first, 0] < len(given):
            before = self.ids(given)
            return np.concatenate([before, self.ids(learnt)]), len(before)
        return np.array(encoding.ids, dtype=np.int32), first
