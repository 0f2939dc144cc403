"""The rows of a file, one at a time: JSON lines or arrays, packed or not, CSV, or Parquet.

JSON may be in UTF-8, UTF-16 or UTF-32; a line may end with any line end; objects may stand behind each other over many
lines, or one of them may hold all rows (containers.py). A line that is no JSON is a broken row, to be counted by the
reader. A file that is missing, in another encoding, cut short or no list of rows at all is refused as a whole, because
nothing of it can be trusted; the message names the byte. However long the file is, no more of it is held than a few of
its rows, unless they are all in one object.
"""

import codecs
import io
import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, cast

from sft_sweeps.errors import RequestError
from sft_sweeps.files import csv_rows, encodings, glued, packing, parquet_rows, text_kinds
from sft_sweeps.files.containers import rows_in
from sft_sweeps.files.file_row import FileRow
from sft_sweeps.files.objects import Objects

__all__ = ["FileRow", "count_rows", "is_plain_json", "read_rows"]

BLOCK = 1 << 20  # bytes
BLANK = " \t\r\n"
BROKEN_SHOWN = 200  # bytes of a row that is too long
OBJECTS = Objects()
DECODER = json.JSONDecoder(object_pairs_hook=OBJECTS)  # to make one for each row takes as long as to read it
ROW_LIMIT = 1 << 25  # bytes of one row, the largest conversations have some hundred thousand
Kind = Literal["csv", "array", "objects", "lines", "cr_lines"]


def read_rows(path: Path, name: str) -> Iterator[FileRow]:
    """The rows of source `name`'s file; blank lines are no rows."""
    done = 0
    try:
        for row in _rows(path, name):
            yield row
            done += 1
    except text_kinds.NotUtf8Error:
        if encodings.encoding(path) != text_kinds.CP1252:
            raise
        yield from islice(_rows(path, name, text_kinds.CP1252), done, None)  # the first ones are plain ASCII


def _rows(path: Path, name: str, given: str = "") -> Iterator[FileRow]:
    """The rows of a file in UTF-8, or what its first bytes are, or a `given` encoding."""
    try:
        if packing.packing(path) == "parquet":
            yield from parquet_rows.read(path, name)
            return
        with packing.opened(path) as file:
            yield from _json(file, f"source {name}: {path}", suffix_of(path), given)
    except packing.DAMAGED as error:
        kind = {"gzip": "gzip", "zstd": "Zstandard"}.get(packing.packing(path), "packed")
        raise RequestError(f"source {name}: {path} is a damaged {kind} file ({error}). Fetch it again.") from None
    except FileNotFoundError:
        raise RequestError(f"source {name}: there is no file {path}. Give its path, or fetch it first.") from None
    except OSError as error:
        raise RequestError(f"source {name}: {path} cannot be read: {error.strerror or error}.") from None


def _json(file: IO[bytes], what: str, suffix: str, given: str) -> Iterator[FileRow]:
    head, file = _as_utf8(file.read(BLOCK), file, what, given)
    kind = kind_of(head, suffix)
    if kind == "csv":
        yield from csv_rows.read(head, file, what, suffix)
    elif kind == "array":
        yield from _Array(head, file, what).rows()
    elif kind == "objects":
        yield from _unwrapped(_Array(head, file, what, "a JSON object").objects(), what)
    else:
        yield from _unwrapped(_lines(head, file, what, b"\r" if kind == "cr_lines" else b"\n"), what)


def _as_utf8(head: bytes, file: IO[bytes], what: str, given: str = "") -> tuple[bytes, IO[bytes]]:
    text_kinds.refuse_others(head, what)
    if not (other := given or text_kinds.wide_encoding(head)):
        return head, file
    decoded = cast(IO[bytes], io.BufferedReader(text_kinds.AsUtf8(file, head, other, what), BLOCK))
    return decoded.read(BLOCK), decoded


def kind_of(head: bytes, suffix: str) -> Kind:
    """How rows are laid out in a file that begins like this."""
    # More is read only where an array's first row is longer than a block.
    text = head.decode("utf-8-sig", errors="replace").lstrip(BLANK + "\ufeff")
    if not text.startswith(("{", "[")) and (suffix in csv_rows.SUFFIXES or csv_rows.is_header(text)):
        return "csv"
    whole = len(head) < BLOCK
    if text.startswith("[") and not _is_lines(text, whole):
        return "array"
    if text.startswith("{") and _spans_lines(text, whole):
        return "objects"
    return "cr_lines" if b"\n" not in head and b"\r" in head.rstrip() else "lines"


def _is_lines(text: str, whole: bool) -> bool:
    """Lines that happen to begin with an array each: the first is complete, and more follows."""
    first, end, rest = text.partition("\n")
    if not end and not whole:
        return False
    return _row(first, "").broken is None and bool(rest.strip())


def _spans_lines(text: str, whole: bool) -> bool:
    """Whether the first object goes on behind its first line, or another stands behind it there."""
    first, end, _ = text.partition("\n")
    if not end or _row(first, "").broken is None:
        return False
    try:
        _, stop = json.JSONDecoder().raw_decode(text)
    except RecursionError:
        return False
    except ValueError as error:
        position = getattr(error, "pos", 0)
        return not whole and (str(error).startswith("Unterminated string") or position >= len(text) - 12)
    return stop > len(first) or text[stop : stop + 1] in "{,"


def _unwrapped(rows: Iterator[FileRow], what: str) -> Iterator[FileRow]:
    """The rows of a file's only object, where it holds them."""
    head = list(islice(rows, 2))
    if len(head) == 1 and (held := rows_in(head[0].value, what)) is not None:
        yield from (FileRow(value, f"row {number}") for number, value in enumerate(held))
    else:
        yield from chain(head, rows)


def count_rows(path: Path) -> int:
    """The rows of a file as the reader counts them; of a broken array its lines, since each of them may be one."""
    if packing.packing(path) == "parquet":
        return parquet_rows.count(path)
    with packing.opened(path) as file:
        head = file.read(BLOCK)
        lines = not text_kinds.wide_encoding(head) and kind_of(head, suffix_of(path)) == "lines"
    count, counted = 0, False  # lines so far, whether this one is among them
    with packing.opened(path) as file:
        for piece in iter(lambda: file.readline(BLOCK), b""):
            text = piece.removeprefix(codecs.BOM_UTF8).strip()
            count += bool(text) and not counted
            counted = (counted or bool(text)) and not piece.endswith(b"\n")
    if lines and count > 1 and not glued.may_be(path):
        return count
    try:
        return sum(1 for _ in read_rows(path, "rows"))
    except RequestError:
        return count


def is_plain_json(path: Path) -> bool:
    """Whether a file is JSON in UTF-8, so that its bytes can be searched for keys."""
    with packing.opened(path) as file:
        head = file.read(BLOCK)
    return not text_kinds.wide_encoding(head) and kind_of(head, suffix_of(path)) != "csv"


def suffix_of(path: Path) -> str:
    """The end of a file's name that says what it is, behind that of its packing."""
    name = path.name.lower()
    for packed in (".gz", ".zst", ".zstd"):
        name = name.removesuffix(packed)
    return name.rpartition(".")[2]


def _lines(head: bytes, file: IO[bytes], what: str, end: bytes) -> Iterator[FileRow]:
    offset = 0
    # str.splitlines would also break at characters that JSON allows inside a string, such as U+2028.
    for number, (line, size) in enumerate(_split(head, file, end), start=1):
        try:  # files that were joined have the mark in their middle, too
            text = line.decode("utf-8-sig", "strict" if size == len(line) else "replace")
        except UnicodeDecodeError as error:
            where = f"line {number}, byte {offset + error.start}"
            raise text_kinds.not_utf8(what, where, line[max(error.start - 2000, 0) : error.start + 2000]) from None
        offset += size + 1
        if size > ROW_LIMIT:
            yield FileRow(None, f"line {number}", f"{size:,} bytes, {ROW_LIMIT:,} are the most: {text[:BROKEN_SHOWN]}")
        elif text.strip():
            row = _row(text, f"line {number}")
            yield from (row,) if row.broken is None else glued.rows_of(text, row)


def _split(head: bytes, file: IO[bytes], end: bytes) -> Iterator[tuple[bytes, int]]:
    """The lines with their sizes; of one beyond ROW_LIMIT no more than its beginning is held."""
    left, cut = head, 0  # bytes of a line's beginning, and of its middle that were let go
    while True:
        *lines, rest = left.split(end)
        for line in lines:
            yield line, len(line) + cut
            cut = 0
        if len(rest) + cut > ROW_LIMIT and len(rest) > BROKEN_SHOWN:
            cut, rest = cut + len(rest) - BROKEN_SHOWN, rest[:BROKEN_SHOWN]
        parts = [rest]
        while block := file.read(BLOCK):
            parts.append(block)
            if end in block or sum(map(len, parts)) > ROW_LIMIT:
                break
        left = b"".join(parts)
        if not block:
            yield left, len(left) + cut
            return


def _row(line: str, location: str) -> FileRow:
    try:
        value = DECODER.decode(line)
    except (ValueError, RecursionError):
        OBJECTS.twice()
        return FileRow(None, location, line)
    return FileRow(value, location, twice=OBJECTS.twice())


class _Array:
    """The rows of one JSON array, or of objects behind each other, of which a block at a time is held."""

    def __init__(self, head: bytes, file: IO[bytes], what: str, kind: str = "a JSON array") -> None:
        self._file, self._what, self._kind = file, what, kind
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._objects = Objects()
        self._scan = json.JSONDecoder(object_pairs_hook=self._objects).raw_decode
        self._text, self._at, self._before, self._ended = "", 0, 0, False  # _before: bytes in front of _text
        self._take(head)

    def rows(self) -> Iterator[FileRow]:
        self._skip(BLANK)
        self._at += 1  # the bracket
        number, separator = 0, ""
        while self._skip(BLANK) != "]":
            if number and self._text[self._at : self._at + 1] == ",":
                self._at, separator = self._at + 1, ","
                self._skip(BLANK)
            if number and not separator:
                raise self._broken("Expecting ',' delimiter")
            yield FileRow(self._value(), f"row {number}", twice=self._objects.twice())
            number, separator = number + 1, ""
        self._at += 1
        if self._skip(BLANK):
            raise self._broken("Extra data behind the array")

    def objects(self) -> Iterator[FileRow]:
        """The values of a file that has no array around them."""
        number = 0
        while self._skip(BLANK + ",\ufeff"):
            yield FileRow(self._value(), f"row {number}", twice=self._objects.twice())
            number += 1

    def _value(self) -> Any:
        while True:
            try:
                value, self._at = self._scan(self._text, self._at)
                return value
            except RecursionError:
                raise self._broken("nested too deeply") from None
            except ValueError as error:
                message, position = getattr(error, "msg", str(error)), getattr(error, "pos", self._at)
                # A row that a block cut is broken at the block's end, or in a string that nothing closes.
                unfinished = message.startswith("Unterminated string") or position >= len(self._text) - 12
                if unfinished and len(self._text) - self._at > ROW_LIMIT:
                    message, unfinished = f"a row of more than {ROW_LIMIT:,} bytes", False
                if not unfinished or not self._more():
                    self._at = position
                    raise self._broken(message) from None

    def _skip(self, characters: str) -> str:
        """Go to the next character that is none of these, and return it: "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in characters:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, as much again as is held; False at the end."""
        if self._ended:
            return False
        self._before += len(self._text[: self._at].encode())
        self._text, self._at = self._text[self._at :], 0
        self._take(self._file.read(max(BLOCK, len(self._text))))
        return True

    def _take(self, block: bytes) -> None:
        self._ended = not block
        try:
            self._text += self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            offset = self._before + len(self._text.encode()) + error.start
            sample = block[max(error.start - 2000, 0) : error.start + 2000]
            raise text_kinds.not_utf8(self._what, f"byte {offset}", sample) from None

    def _broken(self, message: str) -> RequestError:
        offset = self._before + len(self._text[: self._at].encode())
        return RequestError(
            f"{self._what} starts as {self._kind} and does not end as one ({message} at byte {offset:,}). It was "
            "probably cut short: fetch it again, or write one JSON object a line."
        )
