"""Errors of writing, in words that name the place: of a full disk the system or a library often says none."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sft_sweeps.files.folders import nearest_existing

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Libraries in Rust and C++ put the system's words into errors of their own.
WORDS = {
    number: re.compile(rf"{re.escape(os.strerror(number))}|\bos error {number}\b", re.IGNORECASE) for number in FULL
}
NOTHING_LEFT = 64 << 10  # bytes of a disk on which the next write fails


def in_words(error: BaseException, folder: Path) -> str:
    """What went wrong while work was done in `folder`: the path, the system's reason and what to do on a full disk."""
    for cause in _chain(error):
        number = cause.errno if isinstance(cause, OSError) else _number_in(str(cause))
        if number in FULL:
            return full(_path(cause) or folder, os.strerror(number or 0))
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        text = str(error) if _path(error) else f"{error} (working in {folder})"
    return f"{text}; {full(folder, os.strerror(errno.ENOSPC))}" if _nothing_left(folder) else text


def full(path: Path, reason: str) -> str:
    """That a file or folder cannot be written because there is no room, and what to do."""
    return f"{path} cannot be written: {reason}; make room there"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _number_in(text: str) -> int | None:
    return next((number for number, words in WORDS.items() if words.search(text)), None)


def _path(error: BaseException) -> Path | None:
    name = getattr(error, "filename", None)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def _nothing_left(folder: Path) -> bool:
    try:
        return shutil.disk_usage(nearest_existing(folder)).free < NOTHING_LEFT
    except OSError:
        return False
