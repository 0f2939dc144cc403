"""The rows of a table of text: CSV, or values between tabs, semicolons or bars, the names of the columns first."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import IO, Literal, cast

from sft_sweeps.errors import RequestError
from sft_sweeps.files import text_kinds
from sft_sweeps.files.file_row import FileRow

SUFFIXES = ("csv", "tsv")
COLUMN = r'"?[A-Za-z_][\w .-]{0,40}"?'
HEADER = re.compile(f"{COLUMN}(?:,{COLUMN})+|{COLUMN}(?:;{COLUMN})+|{COLUMN}(?:\t{COLUMN})+")
LONGEST = 1 << 28  # characters of a value
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE, ROWS = 1 << 16, 200  # bytes and rows, the first, by which a separator is judged
Quoting = Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE


def is_header(text: str) -> bool:
    """Whether a text begins with a line of column names, and no JSON follows it."""
    first, end, rest = text.partition("\n")
    return bool(end and HEADER.fullmatch(first.rstrip("\r")) and not rest.lstrip().startswith(("{", "[")))


def read(head: bytes, file: IO[bytes], what: str, suffix: str) -> Iterator[FileRow]:
    """A row for each of the table; one with more values than there are columns is broken."""
    csv.field_size_limit(LONGEST)
    delimiter, quoting = separator(head, suffix)
    try:
        table = csv.DictReader(_texts(head, file, what), delimiter=delimiter, quoting=quoting, strict=True)
        if twice := [name for name, count in Counter(filter(None, table.fieldnames or ())).items() if count > 1]:
            raise RequestError(f"{what} has several columns called {twice[0]}. Give each a name of its own.")
        for number, row in enumerate(table):
            uneven = None in row or None in row.values()
            yield FileRow(None if uneven else row, f"row {number}", str(row) if uneven else None)
    except csv.Error as error:
        raise RequestError(f"{what} is no table of text that can be read: {error}. Write it as JSON lines.") from None


def separator(head: bytes, suffix: str) -> tuple[str, Quoting]:
    """What stands between the values of a table, and whether quotes around them are none of theirs.

    That under which the first rows have as many values as there are columns, several; of equals, the one that the end
    of the file's name says, then the one that makes most columns. Only between tabs may values be written as they are.
    """
    text = head[:SAMPLE].decode("utf-8-sig", "replace")
    whole = len(head) <= SAMPLE
    choices: list[tuple[str, Quoting]] = [*((mark, csv.QUOTE_MINIMAL) for mark in SEPARATORS), ("\t", csv.QUOTE_NONE)]
    expected = "\t" if suffix == "tsv" else ","

    def fits(choice: tuple[str, Quoting]) -> tuple[bool, bool, bool, int]:
        sizes, sound = _sizes(text if whole else text.rpartition("\n")[0], *choice, whole)
        several = sound and sizes[:1] > [1]
        return several, len(set(sizes)) == 1, choice[0] == expected, sizes[0] if sizes else 0

    return max(choices, key=fits)


def _sizes(text: str, delimiter: str, quoting: Quoting, whole: bool) -> tuple[list[int], bool]:
    """How many values the first rows have, and whether they could be read; what is cut short is no row."""
    sizes: list[int] = []
    try:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
        sizes.extend(map(len, islice(filter(None, table), ROWS)))  # those before an error stay
    except csv.Error as error:
        return sizes, not whole and "unexpected end" in str(error)
    return sizes, True


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
