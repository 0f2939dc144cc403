"""The rows of a file: JSON lines, or one JSON array, either of them gzipped.

A line that is no JSON is a broken row, to be counted by the reader. A file that is missing, not UTF-8, cut short or no
list of rows at all is refused as a whole, because nothing of it can be trusted.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its value, where it stands ("line 3"), and the text of a broken one."""

    value: Any
    place: str
    broken: str | None = None


def read_rows(path: Path, name: str) -> list[Row]:
    """The rows of source `name`'s file; blank lines are no rows."""
    text = _text(path, name)
    if not text.lstrip().startswith("["):
        return list(_lines(text))
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _row(text.lstrip().split("\n", 1)[0], "").broken is None:
            return list(_lines(text))
        raise RequestError(
            f"source {name}: {path} starts as a JSON array and does not end as one ({error}). It was probably cut "
            "short: fetch it again, or write one JSON object a line."
        ) from None
    return [Row(value, f"row {index}") for index, value in enumerate(values)]


def _lines(text: str) -> Iterator[Row]:
    # str.splitlines would also break at characters that JSON allows inside a string, such as U+2028.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _row(line, f"line {number}")


def _row(line: str, place: str) -> Row:
    try:
        return Row(json.loads(line), place)
    except (ValueError, RecursionError):
        return Row(None, place, line)


def _text(path: Path, name: str) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(GZIP_MAGIC):
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RequestError(f"source {name}: {path} is a damaged gzip file ({error}). Fetch it again.") from None
    except FileNotFoundError:
        raise RequestError(f"source {name}: there is no file {path}. Give its place, or fetch it first.") from None
    except OSError as error:
        raise RequestError(f"source {name}: {path} cannot be read: {error.strerror}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"source {name}: {path} is not UTF-8 (line {line}, byte {error.start}). "
            "Convert it, e.g. iconv -f LATIN1 -t UTF-8."
        ) from None
