"""Writes an encoded source: its files, and last its account (encoded_source.py)."""

import json
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_sweeps.data.encode.blocks import REASONS, Block
from sft_sweeps.data.encode.encoded_source import TRUNCATED, EncodedKey
from sft_sweeps.data.groups import Names
from sft_sweeps.data.row_filter import RowFilter, Tally, check_bad_rows, limit_key
from sft_sweeps.files import checksum
from sft_sweeps.files.encoded import ACCOUNT
from sft_sweeps.files.json_files import write_json
from sft_sweeps.files.layout import described
from sft_sweeps.identity import canonical

BINS = 12  # of the histogram: lengths up to 2, 4, 8, ... tokens


@dataclass
class Statistics:
    """Of the examples that are trained on; lengths in tokens."""

    tokens: int = 0
    supervised: int = 0
    truncated: int = 0
    longest: int = 0
    masked: dict[str, int] = field(default_factory=dict)
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)
    trained_turns: int = 0
    prompt_turns: int = 0
    cut_turns: Counter[str] = field(default_factory=Counter)  # by reason

    def add(self, block: Block, kept: npt.NDArray[np.bool_]) -> None:
        lengths, flags = block.lengths[kept], block.flags[kept]
        self.tokens += int(lengths.sum())
        self.truncated += int((flags & TRUNCATED).sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        for index, reason in enumerate(REASONS):
            if reason and (count := int((flags >> 1 == index).sum())):
                self.masked[reason] = self.masked.get(reason, 0) + count
        self._add_turns(block.fates[kept], flags >> 1)
        bins = np.minimum(np.ceil(np.log2(np.maximum(lengths, 2))).astype(int) - 1, BINS - 1)
        for bin_, count in enumerate(np.bincount(bins, minlength=BINS)):
            self.histogram[bin_] += int(count)

    def _add_turns(self, fates: npt.NDArray[np.int64], reasons: npt.NDArray[Any]) -> None:
        """Of an example of which nothing is learnt, no turn is; of the others, those behind the cut are not."""
        trained, prompt, cut = fates[reasons == 0].sum(axis=0).tolist()
        self.trained_turns += trained
        self.prompt_turns += prompt
        self.cut_turns["max_length"] += cut
        for index, reason in enumerate(REASONS[1:], start=1):
            self.cut_turns[reason] += int(fates[reasons == index].sum())

    def turns(self, tally: Tally) -> dict[str, Any]:
        """What became of every turn of the rows: `read` is the sum of all the others."""
        return {
            "read": tally.turns,
            "trained": self.trained_turns,
            "prompt": self.prompt_turns,
            "cut": {reason: count for reason, count in sorted(self.cut_turns.items()) if count},
            "dropped": dict(sorted(tally.dropped_turns.items())),
        }


class Writer:
    """Writes the files of an encoded source; leaving it without an error writes the account, last."""

    def __init__(self, folder: Path, key: EncodedKey) -> None:
        self.folder, self.key = folder, key
        self.row_filter, self.statistics = RowFilter(), Statistics()
        self.before_account: Callable[[], None] = lambda: None  # a last check; what it raises leaves no account
        self._lengths, self._flags = array("q"), array("B")
        self._rows, self._turns = array("q"), array("i")
        self._groups = Names()

    def __enter__(self) -> "Writer":
        self._ids = (self.folder / "ids.bin").open("wb")
        self._mask = (self.folder / "mask.bin").open("wb")
        self._names = (self.folder / "names.json").open("w", encoding="utf-8")
        self._names.write("[")
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for file in (self._ids, self._mask):
            file.close()
        self._names.write("]")
        self._names.close()
        if kind is None:
            self.before_account()
            self._finish()

    def add(self, block: Block) -> None:
        """Write what stays of a block."""
        keeps = [self.row_filter.keeps(row) for row in block.counts]
        kept = np.repeat(np.array(keeps, dtype=np.bool_), [row.examples for row in block.counts])
        tokens = slice(None) if kept.all() else np.repeat(kept, block.lengths)
        block.ids[tokens].tofile(self._ids)
        mask = block.mask[tokens]
        mask.tofile(self._mask)
        self.statistics.add(block, kept)
        self.statistics.supervised += int(np.count_nonzero(mask))
        self._lengths.frombytes(block.lengths[kept].tobytes())
        self._flags.frombytes(block.flags[kept].tobytes())
        indices = np.flatnonzero(kept).tolist()
        self._rows.extend(block.rows[index] for index in indices)
        self._turns.extend(block.turns[index] for index in indices)
        for index in indices:
            self._write_group(block.groups[index])

    def _write_group(self, group: str) -> None:
        self._names.write(("," if self._names.tell() > 1 else "") + json.dumps(group) + "\n")
        self._groups.add(group)

    def _finish(self) -> None:
        source, tally = self.key.source, self.row_filter.tally
        if source.rows_from != "generated":
            check_bad_rows(tally, Path(source.path), source, limit_key(source))
        if not self._groups.say_something:
            (self.folder / "names.json").unlink()
        np.savez(
            self.folder / "index.npz",
            offsets=np.concatenate([[0], np.cumsum(np.array(self._lengths, dtype=np.int64))]).astype(np.int64),
            flags=np.array(self._flags, dtype=np.uint8),
            rows=np.array(self._rows, dtype=np.int64),
            turns=np.array(self._turns, dtype=np.int32),
        )
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        checksums = {path.name: checksum.of_file(path) for path in files}
        write_json(self.folder / ACCOUNT, checksum.sealed(self._account() | {"checksums": checksums}))

    def _account(self) -> dict[str, Any]:
        """What the source was, how it was encoded, and what became of its rows."""
        key, source, tally, numbers = self.key, self.key.source, self.row_filter.tally, self.statistics
        return {
            "source": source.name,
            "identity": canonical(source),
            "content": source.content,
            "file": described(Path(source.path)) if source.path else "",
            "rows": tally.rows,
            "examples": len(self._lengths),
            "dropped": dict(sorted(tally.dropped.items())),
            "dropped_rows": dict(sorted(tally.dropped_rows.items())),
            "samples": tally.samples,
            "turns": numbers.turns(tally),
            "answers_of_weight_0": tally.unlearnt,
            "ignored_keys": dict(sorted(tally.ignored.items())),
            "keys": tally.keys,
            "masked": dict(sorted(numbers.masked.items())),
            "tokens": numbers.tokens,
            "supervised_tokens": numbers.supervised,
            "truncated": numbers.truncated,
            "longest": numbers.longest,
            "histogram": {str(2 ** (bin_ + 1)): count for bin_, count in enumerate(numbers.histogram)},
            "reasons": list(REASONS),
            "stand_in_for_tags": bool(source.cleaning and source.cleaning.fallback),
            "tokenizer": key.tokenizer,
            "template": key.template,
            "max_length": key.max_length,
        }
