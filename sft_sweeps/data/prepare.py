"""A source is read, cleaned, encoded and put on the shelf, once, by whoever needs it first.

One process reads the rows in blocks and writes what comes back; others (or itself) make examples of them and encode.
Only a few blocks are held, whatever the length of the file. Whoever comes second waits for the first; where the file
system has no locks, both work and the second result is thrown away.
"""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import uuid
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_sweeps import vocabulary
from sft_sweeps.claims import write_json
from sft_sweeps.data import clean, mini
from sft_sweeps.data.drop import Dropped
from sft_sweeps.data.encode import Encoded, Encoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import Outcome, Reader, Sieve, check, reader_of
from sft_sweeps.data.rows import Row, read_rows
from sft_sweeps.data.shelf import ACCOUNT, TRUNCATED, Shelf, Wanted
from sft_sweeps.errors import RunError
from sft_sweeps.identity import canonical
from sft_sweeps.resolve import content_of, tokenizer_of
from sft_sweeps.spec import Source

BLOCK = 256  # rows
WORTH_PROCESSES = 8 << 20  # bytes of a file: less is encoded before helpers have started
WORDS = 12  # bins of the histogram: lengths up to 2, 4, 8, ... tokens
Progress = Callable[[int], None]  # is told how many rows are done


@dataclass(frozen=True)
class Block:
    """What became of some rows. Arrays are of all their examples, one after the other."""

    outcomes: list[tuple[int, tuple[Dropped, ...], clean.Keys | None]]  # of each row: its examples, and the rest
    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    rows: list[int]
    turns: list[int]
    groups: list[str]


REASONS = ("", "no_answer_before_cut", "mismatch")


def wanted(source: Source, tokenizer_folder: Path, template: str, max_length: int) -> Wanted:
    """What a stage or benchmark needs of a source; a chat template that is named only enters by its content."""
    if template == vocabulary.CHAT:
        template = vocabulary.chat_template_pin(vocabulary.chat_template(tokenizer_folder))
    return Wanted(source, tokenizer_of(str(tokenizer_folder))[0], template, max_length)


def get(
    wish: Wanted,
    tokenizer_folder: Path,
    roots: Sequence[Path],
    *,
    processes: int = 0,
    progress: Progress = lambda _: None,
) -> Shelf:
    """The encoded source: from a store that has it, or made in the first of `roots`.

    `processes: 0` takes the machine's cores, where the file is worth it. RequestError for a file that is no use,
    RunError when it is no longer the planned one, or there is no room.
    """
    if found := wish.find(roots):
        return found
    folder = wish.folder(roots[0])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent / f".{wish.key}.lock"):
            if (found := wish.find(roots)) is None:
                _make(wish, tokenizer_folder, folder, processes or _cores(wish.source), progress)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        way = "Make room" if full else "See that it can be written"
        what = f"{wish.source.name} cannot be written to {folder.parent} ({error})"
        raise RunError(f"{what}. {way}, then launch again.") from None
    except BrokenProcessPool:
        raise RunError(f"a process that encoded {wish.source.name} was killed, perhaps for its memory") from None
    found = wish.find(roots)
    if found is None:
        raise RunError(f"{folder} was removed while it was needed; launch again")
    return found


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(wish: Wanted, tokenizer_folder: Path, folder: Path, processes: int, progress: Progress) -> None:
    writing = folder.with_name(f".writing-{uuid.uuid4().hex[:12]}")
    _sweep_away(folder.parent)
    try:
        writing.mkdir()
        with _Writer(writing, wish) as writer:
            for block in _blocks(wish, tokenizer_folder, processes, writer):
                writer.add(block)
                progress(writer.sieve.tally.rows)
        with contextlib.suppress(OSError):  # another process was faster: what it made is the same
            writing.rename(folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _sweep_away(folder: Path) -> None:
    """What a killed process left half written, once it is a day old."""
    for left in folder.glob(".writing-*"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < (folder / ".").stat().st_mtime - 86_400:
                shutil.rmtree(left, ignore_errors=True)


def _blocks(wish: Wanted, tokenizer_folder: Path, processes: int, writer: "_Writer") -> Iterator[Block]:
    source = wish.source
    if source.rows_from == "generated":
        rows: Iterator[Any] = iter(mini.generate(source.name, source.rows, source.seed))
        reader = Reader(source.name, "")
    else:
        path = Path(source.path)
        before = _unchanged(path, source)
        reader, rows = reader_of(read_rows(path, source.name), source, path)
        writer.done = lambda: _still(path, source, before)
    made = (str(tokenizer_folder), wish.template, wish.max_length, reader)
    chunks = _chunks(rows)
    if processes > 1:
        yield from _side_by_side(chunks, made, processes)
    else:
        worker = _Worker(*made)
        yield from map(worker.block, chunks)


def _unchanged(path: Path, source: Source) -> tuple[int, int]:
    """Size and time of the file, which is the planned one."""
    if not path.is_file():
        raise RunError(f"source {source.name} is not at {path}; place it there, or have it fetched with action=prepare")
    stat = path.stat()
    content, _ = content_of(path, source.content)
    if content != source.content:
        raise RunError(f"{path} changed since it was planned ({content}, planned {source.content}); launch again")
    return stat.st_size, stat.st_mtime_ns


def _still(path: Path, source: Source, before: tuple[int, int]) -> None:
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != before:
        raise RunError(f"{path} of source {source.name} changed while it was read; launch again")


def _chunks(rows: Iterator[Any]) -> Iterator[tuple[int, list[Any]]]:
    first = 0
    while some := list(islice(rows, BLOCK)):
        yield first, some
        first += len(some)


class _Worker:
    """Makes examples of rows, and encodes them."""

    def __init__(self, tokenizer_folder: str, template: str, max_length: int, reader: Reader) -> None:
        self._reader = reader
        self._encoder = Encoder(Path(tokenizer_folder), template, max_length, bug_compatible=reader.bug_compatible)

    def block(self, chunk: tuple[int, list[Any]]) -> Block:
        """What becomes of the rows, of which the first has the given place."""
        first, rows = chunk
        outcomes = [self._outcome(row, first + place) for place, row in enumerate(rows)]
        examples = [example for outcome in outcomes for example in outcome.examples]
        encoded = list(self._encoder.encoded(examples))
        return Block(
            [(len(outcome.examples), outcome.dropped, outcome.keys) for outcome in outcomes],
            _joined([one.input_ids for one in encoded], np.int32),
            _joined([one.supervised for one in encoded], np.bool_),
            np.array([len(one.input_ids) for one in encoded], dtype=np.int64),
            np.array([_flag(one) for one in encoded], dtype=np.uint8),
            [first + place for place, outcome in enumerate(outcomes) for _ in outcome.examples],
            [_turn(example) for example in examples],
            ["" if example.group == example.id else example.group for example in examples],
        )

    def _outcome(self, row: Row | Example, index: int) -> Outcome:
        if isinstance(row, Example):
            return Outcome((row,))
        return self._reader.outcome(row, index, self._split)

    def _split(self, example: Example) -> Iterable[Example]:
        return clean.split(example, self._reader.cleaning, self._reader.bug_compatible, self._encoder.count)


def _joined(arrays: list[Any], kind: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=kind)


def _flag(encoded: Encoded) -> int:
    return REASONS.index(encoded.reason) << 1 | (TRUNCATED if encoded.truncated else 0)


def _turn(example: Example) -> int:
    """The turn that a part of a row begins with, -1 for a whole row."""
    row = example.id.rpartition("/")[2]
    return int(row.partition("_")[2]) if "_" in row else -1


_worker: _Worker | None = None


def _start(*made: Any) -> None:
    global _worker  # noqa: PLW0603 -- a helper process has one
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker = _Worker(*made)


def _work(chunk: tuple[int, list[Any]]) -> Block:
    if _worker is None:
        raise RuntimeError("the helper has not been started")
    return _worker.block(chunk)


def _side_by_side(chunks: Iterator[tuple[int, list[Any]]], made: tuple[Any, ...], processes: int) -> Iterator[Block]:
    """In the order of the rows; no more blocks are under way than the helpers can have in hand."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=made) as helpers:
        under_way: deque[Future[Block]] = deque()
        try:
            for chunk in chunks:
                under_way.append(helpers.submit(_work, chunk))
                if len(under_way) > 2 * processes:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _cores(source: Source) -> int:
    if source.rows_from == "generated" or multiprocessing.parent_process() is not None:
        return 1
    try:
        small = Path(source.path).stat().st_size < WORTH_PROCESSES
    except OSError:
        small = True
    return 1 if small else min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


@dataclass
class _Statistics:
    """Of the examples that are trained on; lengths in tokens."""

    tokens: int = 0
    supervised: int = 0
    truncated: int = 0
    longest: int = 0
    masked: dict[str, int] = field(default_factory=dict)
    histogram: list[int] = field(default_factory=lambda: [0] * WORDS)

    def add(self, block: Block, kept: npt.NDArray[np.bool_]) -> None:
        lengths, flags = block.lengths[kept], block.flags[kept]
        self.tokens += int(lengths.sum())
        self.truncated += int((flags & TRUNCATED).sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        for place, reason in enumerate(REASONS):
            if reason and (count := int((flags >> 1 == place).sum())):
                self.masked[reason] = self.masked.get(reason, 0) + count
        bins = np.minimum(np.ceil(np.log2(np.maximum(lengths, 2))).astype(int) - 1, WORDS - 1)
        for place, count in enumerate(np.bincount(bins, minlength=WORDS)):
            self.histogram[place] += int(count)


class _Writer:
    """Writes the files of a shelf; leaving it writes the account, last."""

    def __init__(self, folder: Path, wish: Wanted) -> None:
        self.folder, self.wish = folder, wish
        self.sieve, self.statistics = Sieve(), _Statistics()
        self.done: Callable[[], None] = lambda: None
        self._lengths, self._flags = array("q"), array("B")
        self._rows, self._turns = array("q"), array("i")
        self._groups: set[str] = set()

    def __enter__(self) -> "_Writer":
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
            self.done()
            self._finish()

    def add(self, block: Block) -> None:
        """Write what stays of a block."""
        stays = [self.sieve.passes(_outcome(*outcome)) for outcome in block.outcomes]
        kept = np.repeat(np.array(stays, dtype=np.bool_), [outcome[0] for outcome in block.outcomes])
        tokens = slice(None) if kept.all() else np.repeat(kept, block.lengths)
        block.ids[tokens].tofile(self._ids)
        mask = block.mask[tokens]
        mask.tofile(self._mask)
        self.statistics.add(block, kept)
        self.statistics.supervised += int(np.count_nonzero(mask))
        self._lengths.frombytes(block.lengths[kept].tobytes())
        self._flags.frombytes(block.flags[kept].tobytes())
        places = np.flatnonzero(kept).tolist()
        self._rows.extend(block.rows[place] for place in places)
        self._turns.extend(block.turns[place] for place in places)
        for place in places:
            self._name(block.groups[place])

    def _name(self, group: str) -> None:
        self._names.write(("," if self._names.tell() > 1 else "") + json.dumps(group) + "\n")
        if len(self._groups) < 2:
            self._groups.add(group)

    def _finish(self) -> None:
        source, tally = self.wish.source, self.sieve.tally
        if source.rows_from != "generated":
            check(tally, Path(source.path), source, f"data.sources.{source.slot or source.name}.max_bad_fraction")
        if len(self._groups) < 2:  # each its own; or ids that all share one base, which number rows only
            (self.folder / "names.json").unlink()
        np.savez(
            self.folder / "index.npz",
            offsets=np.concatenate([[0], np.cumsum(np.array(self._lengths, dtype=np.int64))]).astype(np.int64),
            flags=np.array(self._flags, dtype=np.uint8),
            rows=np.array(self._rows, dtype=np.int64),
            turns=np.array(self._turns, dtype=np.int32),
        )
        numbers = self.statistics
        write_json(
            self.folder / ACCOUNT,
            {
                "source": source.name,
                "identity": canonical(source),
                "content": source.content,
                "rows": tally.rows,
                "examples": len(self._lengths),
                "dropped": dict(sorted(tally.dropped.items())),
                "samples": tally.samples,
                "masked": dict(sorted(numbers.masked.items())),
                "tokens": numbers.tokens,
                "supervised_tokens": numbers.supervised,
                "truncated": numbers.truncated,
                "longest": numbers.longest,
                "histogram": {str(2 ** (place + 1)): count for place, count in enumerate(numbers.histogram)},
                "reasons": list(REASONS),
                "stand_in_for_tags": bool(source.cleaning and source.cleaning.fallback),
                "tokenizer": self.wish.tokenizer,
                "template": self.wish.template,
                "max_length": self.wish.max_length,
            },
        )


_NOTHING = Example("", ())


def _outcome(count: int, dropped: tuple[Dropped, ...], keys: clean.Keys | None) -> Outcome:
    return Outcome((_NOTHING,) * count, dropped, keys)
