"""The rows of a table of text: CSV, or values between tabs, semicolons or bars, the names of the columns first."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import IO, cast

from sft_sweeps.errors import RequestError
from sft_sweeps.files import text_kinds
from sft_sweeps.files.file_row import FileRow

SUFFIXES = ("csv", "tsv")
COLUMN = r'"?[A-Za-z_][\w .-]{0,40}"?'
HEADER = re.compile(f"{COLUMN}(?:,{COLUMN})+|{COLUMN}(?:;{COLUMN})+|{COLUMN}(?:\t{COLUMN})+")
LONGEST = 1 << 28  # characters of a value


def is_header(text: str) -> bool:
    """Whether a text begins with a line of column names, and no JSON follows it."""
    first, end, rest = text.partition("\n")
    return bool(end and HEADER.fullmatch(first.rstrip("\r")) and not rest.lstrip().startswith(("{", "[")))


def read(head: bytes, file: IO[bytes], what: str, suffix: str) -> Iterator[FileRow]:
    """A row for each of the table; one with more values than there are columns is broken."""
    csv.field_size_limit(LONGEST)
    lines = _texts(head, file, what)
    first = next(lines, "")
    marks = "\t" if suffix == "tsv" else ",;\t|"
    delimiter = max(marks, key=first.count)
    try:
        table = csv.DictReader(chain([first], lines), delimiter=delimiter, strict=True)
        if twice := [name for name, count in Counter(filter(None, table.fieldnames or ())).items() if count > 1]:
            raise RequestError(f"{what} has several columns called {twice[0]}. Give each a name of its own.")
        for number, row in enumerate(table):
            uneven = None in row or None in row.values()
            yield FileRow(None if uneven else row, f"row {number}", str(row) if uneven else None)
    except csv.Error as error:
        raise RequestError(f"{what} is no table of text that can be read: {error}. Write it as JSON lines.") from None


def _texts(head: bytes, file: IO[bytes], what: str) -> Iterator[str]:
    whole = io.BufferedReader(cast(io.RawIOBase, _Chained(head, file)))
    for number, line in enumerate(io.TextIOWrapper(whole, "utf-8-sig", "surrogateescape", newline=""), start=1):
        if broken := re.search("[\udc80-\udcff]", line):
            sample = line.encode("utf-8", "surrogateescape")
            raise text_kinds.not_utf8(what, f"line {number}, character {broken.start()}", sample)
        yield line


class _Chained(io.RawIOBase):
    """What was read of a file, and the rest of it."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._left, self._file = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._left or self._file.read(len(buffer))
        size = min(len(buffer), len(block))
        buffer[:size], self._left = block[:size], block[size:]
        return size
