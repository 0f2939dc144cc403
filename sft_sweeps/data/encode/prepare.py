"""A source is read, cleaned, encoded and kept in a store, once, by whoever needs it first.

One process reads the rows in blocks and writes what comes back; others (or itself) make examples of them and encode.
Only a few blocks are held, whatever the length of the file. Whoever comes second waits for the first; where the file
system has no locks, both work and the second result is thrown away.
"""

import contextlib
import errno
import logging
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.data import mini
from sft_sweeps.data.encode.blocks import Block, Worker, chunks_of
from sft_sweeps.data.encode.encoded_source import EncodedKey, EncodedSource, opened
from sft_sweeps.data.encode.helpers import HelperKilledError, side_by_side
from sft_sweeps.data.encode.writer import Writer
from sft_sweeps.data.read import reader_of
from sft_sweeps.data.row_filter import check_account
from sft_sweeps.data.row_reader import Reader
from sft_sweeps.errors import RunError
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.encoded import ACCOUNT, damaged, encoded_folder, read_account
from sft_sweeps.files.lock import locked
from sft_sweeps.files.rows import read_rows
from sft_sweeps.models import tokenizer
from sft_sweeps.models.pins import tokenizer_pin
from sft_sweeps.spec.data import Source

MOST_PROCESSES = 8  # one reads and writes for all: more have to wait for it
WORTH_PROCESSES = 8 << 20  # bytes of a file: less is encoded before helpers have started
log = logging.getLogger(__name__)
Progress = Callable[[int], None]  # called with the number of rows that are done


def encoded_key(source: Source, tokenizer_folder: Path, template: str, max_length: int) -> EncodedKey:
    """What a stage or benchmark needs of a source; `chat_template` is replaced by the pin of the folder's own."""
    if template == tokenizer.CHAT:
        template = tokenizer.chat_template_pin(tokenizer.chat_template(tokenizer_folder))
    return EncodedKey(source, tokenizer_pin(str(tokenizer_folder))[0], template, max_length)


def stored(key: EncodedKey, roots: Sequence[Path]) -> EncodedSource | None:
    """The encoded source of a store that has it; RequestError where this request allows fewer bad rows than it has."""
    encoded = key.find(roots)
    if encoded:
        check_account(encoded.account, key.source)
    return encoded


def get(
    key: EncodedKey,
    tokenizer_folder: Path,
    roots: Sequence[Path],
    *,
    processes: int = 0,
    progress: Progress = lambda _: None,
) -> EncodedSource:
    """The encoded source: from a store that has it, or made in the first of `roots`.

    `processes: 0` takes the machine's cores, where the file is worth it. RequestError for a file that cannot be
    used, RunError when it is no longer the planned one, or there is no room.
    """
    roots = _undamaged(key, roots)
    if encoded := stored(key, roots):
        return encoded
    folder = key.folder(roots[0])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f".{key.key}.lock"):
            if key.find(roots) is None:
                _make(key, tokenizer_folder, folder, processes or _cores(key.source), progress)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "Make room" if full else "See that it can be written"
        what = f"{key.source.name} cannot be written to {folder.parent} ({error})"
        raise RunError(f"{what}. {remedy}, then launch again.") from None
    except HelperKilledError:
        raise RunError(f"a process that encoded {key.source.name} was killed, perhaps for its memory") from None
    if encoded := stored(key, roots):  # another process may have made it, under a limit of its own
        return encoded
    raise RunError(f"{folder} was removed while it was needed; launch again")


def _undamaged(key: EncodedKey, roots: Sequence[Path]) -> Sequence[Path]:
    """The stores without those in which a byte of this source has changed; in the first, it is set aside."""
    own = key.folder(roots[0])
    if own.is_dir() and read_account(own) is None:
        _set_aside(own, [ACCOUNT])
    while folder := encoded_folder(key.key, roots):
        if not (wrong := _damaged(folder, (folder / ACCOUNT).stat().st_mtime_ns)):
            break
        if folder.parent.parent == roots[0]:
            _set_aside(folder, wrong)
        else:
            log.warning("%s of %s changed since it was written: it is not used", ", ".join(wrong), folder)
            roots = [root for root in roots if root != folder.parent.parent]
    return roots


def _set_aside(folder: Path, wrong: Sequence[str]) -> None:
    log.warning("%s of %s changed since it was written: it is encoded anew", ", ".join(wrong), folder)
    with contextlib.suppress(OSError):  # another process was faster
        folder.rename(folder.with_name(f".writing-{uuid.uuid4().hex[:12]}"))  # removed with the leftovers
    opened.cache_clear()


@lru_cache(maxsize=64)
def _damaged(folder: Path, written: int) -> list[str]:  # noqa: ARG001
    """Read once in a process."""
    return damaged(folder)


def _make(key: EncodedKey, tokenizer_folder: Path, folder: Path, processes: int, progress: Progress) -> None:
    writing = folder.with_name(f".writing-{uuid.uuid4().hex[:12]}")
    _remove_leftovers(folder.parent)
    try:
        writing.mkdir()
        with Writer(writing, key) as writer:
            for block in _blocks(key, tokenizer_folder, processes, writer):
                writer.add(block)
                progress(writer.row_filter.tally.rows)
        with contextlib.suppress(OSError):  # another process was faster: what it made is the same
            writing.rename(folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """What a killed process left half written, once it is a day old."""
    for leftover in folder.glob(".writing-*"):
        with contextlib.suppress(OSError):
            if leftover.stat().st_mtime < (folder / ".").stat().st_mtime - 86_400:
                shutil.rmtree(leftover, ignore_errors=True)


def _blocks(key: EncodedKey, tokenizer_folder: Path, processes: int, writer: Writer) -> Iterator[Block]:
    source = key.source
    if source.rows_from == "generated":
        rows: Iterator[Any] = iter(mini.generate(source.name, source.rows, source.seed))
        reader = Reader(source.name, "")
    else:
        path = Path(source.path)
        before = _check_content(path, source)
        reader, rows = reader_of(read_rows(path, source.name), source, path)
        writer.before_account = lambda: _check_unchanged(path, source, before)
    settings = (str(tokenizer_folder), key.template, key.max_length, reader)
    chunks = chunks_of(rows)
    if processes > 1:
        yield from side_by_side(chunks, settings, processes)
    else:
        yield from map(Worker(*settings).block, chunks)


def _check_content(path: Path, source: Source) -> tuple[int, int]:
    """(size, time of change) of the file; RunError where it is not the planned one."""
    if not path.is_file():
        raise RunError(f"source {source.name} is not at {path}; place it there, or have it fetched with action=prepare")
    stat = path.stat()
    content, _ = content_pin(path, source.content, f"source {source.name}: {path}")
    if content != source.content:
        raise RunError(f"{path} changed since it was planned ({content}, planned {source.content}); launch again")
    return stat.st_size, stat.st_mtime_ns


def _check_unchanged(path: Path, source: Source, before: tuple[int, int]) -> None:
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != before:
        raise RunError(f"{path} of source {source.name} changed while it was read; launch again")


def _cores(source: Source) -> int:
    """One in a process of a stage or of answering: its siblings need the others."""
    return 1 if multiprocessing.parent_process() is not None else helpers(source)


def helpers(source: Source) -> int:
    """How many processes a source is worth here: those of the job's CPUs, where Slurm gave it some."""
    try:
        small = source.rows_from == "generated" or Path(source.path).stat().st_size < WORTH_PROCESSES
    except OSError:
        small = True
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return 1 if small else min(MOST_PROCESSES, cores, int(os.environ.get("SLURM_CPUS_PER_TASK", cores)))
