"""Blocks of rows become encoded examples."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_sweeps.data import clean
from sft_sweeps.data.encode.encoded_source import TRUNCATED
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.example import Dropped, Example
from sft_sweeps.data.row_filter import RowCount
from sft_sweeps.data.row_reader import Reader, RowResult
from sft_sweeps.files.rows import FileRow

BLOCK = 256  # rows
REASONS = ("", "no_answer_before_cut", "mismatch")
WorkerSettings = tuple[str, str, int, Reader]  # tokenizer's folder, template, length in tokens, reader of rows


@dataclass(frozen=True)
class Block:
    """What became of some rows. Arrays are of all their examples, one after the other."""

    counts: list[RowCount]  # of each row
    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    rows: list[int]
    turns: list[int]
    groups: list[str]
    fates: npt.NDArray[np.int64]  # [examples, 3]: the turns that are learnt, given, behind the cut


def chunks_of(rows: Iterator[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Blocks of rows, each with the index of its first one."""
    first = 0
    while some := list(islice(rows, BLOCK)):
        yield first, some
        first += len(some)


class Worker:
    """Makes examples of rows, and encodes them."""

    def __init__(self, tokenizer_folder: str, template: str, max_length: int, reader: Reader) -> None:
        self._encoder = Encoder(Path(tokenizer_folder), template, max_length, bug_compatible=reader.bug_compatible)
        self._reader = reader.for_template(self._encoder.takes_system, self._encoder.takes_tools)

    def block(self, chunk: tuple[int, list[Any]]) -> Block:
        """What becomes of the rows, of which the first has the given index."""
        first, rows = chunk
        results = list(self._results(rows, first))
        examples = [example for result in results for example in result.examples]
        encoded = list(self._encoder.encoded(examples))
        return Block(
            [result.count for result in results],
            _joined([one.input_ids for one in encoded], np.int32),
            _joined([one.supervised for one in encoded], np.bool_),
            np.array([len(one.input_ids) for one in encoded], dtype=np.int64),
            np.array([_flag(one) for one in encoded], dtype=np.uint8),
            [first + index for index, result in enumerate(results) for _ in result.examples],
            [_turn(example) for example in examples],
            ["" if example.group == example.id else example.group for example in examples],
            np.array([one.turns for one in encoded], dtype=np.int64).reshape(-1, 3),
        )

    def _results(self, rows: Sequence[FileRow | Example], first: int) -> Iterator[RowResult]:
        """In two steps, so that the tokens of all messages are counted at once."""
        cleaned = [
            row if isinstance(row, Example) else self._reader.cleaned(row, first + index)
            for index, row in enumerate(rows)
        ]
        counts = self._counts([one for one in cleaned if isinstance(one, Example)])

        def split(example: Example) -> Iterable[Example]:
            return clean.split(example, self._reader.cleaning, self._reader.bug_compatible, counts.__getitem__)

        for row, one in zip(rows, cleaned, strict=True):
            if isinstance(one, Dropped):
                yield self._reader.without_example(one, row) if isinstance(row, FileRow) else RowResult(dropped=(one,))
            elif isinstance(row, Example):
                yield RowResult((row,))
            else:
                yield self._reader.parts(one, row, split, self._encoder.refusal)

    def _counts(self, examples: Sequence[Example]) -> dict[str, int]:
        """The tokens of each message, where conversations are split by them."""
        if not (self._reader.cleaning and self._reader.cleaning.split_tokens):
            return {}
        texts = list(dict.fromkeys(text for example in examples for text in (*example.beginning, *example.messages)))
        return dict(zip(texts, self._encoder.counts(texts), strict=True))


def _joined(arrays: list[Any], kind: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=kind)


def _flag(encoded: Encoded) -> int:
    return REASONS.index(encoded.reason) << 1 | (TRUNCATED if encoded.truncated else 0)


def _turn(example: Example) -> int:
    """The turn that a part of a row begins with, -1 for a whole row."""
    row = example.id.rpartition("/")[2]
    return int(row.partition("_")[2]) if "_" in row else -1
