"""Which examples of a source belong together, so that a subset takes them together.

Only what is proven to belong together does: the parts into which this package split a row; rows that have the same
value in a column which the user names (`group_by`); and in a source that says so (`pre_split`, as the public ShareGPT)
rows next to each other of which each continues the one before. The spelling of ids proves nothing: `alpaca_17` may
number the rows of a set as well as the chunks of a conversation.

A group's name decides its place in the source's order (data/select.py). A row that has an id is named by it, without a
last `_` and number; where an earlier row has that name, by the row's place in the file.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from sft_sweeps.data.formats import FORMATS
from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.files import packing, parquet_rows
from sft_sweeps.files.rows import FileRow, read_rows
from sft_sweeps.spec.data import Source

NUMBER = re.compile(r"_\d+$")
CHUNK = re.compile(r"([A-Za-z0-9]{7})_(\d+)")  # ids of ShareGPT's: the conversation, the turn that a chunk begins with
CONVERSATIONS = ("conversations", "messages")  # the keys of their turns
ID = re.compile(rb'"id"\s*+:\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,}\]"]++)(?=[\s,}\]]))', re.DOTALL)
PAIRS = frozenset(FORMATS.own()) - {"sharegpt", "messages"}  # formats of which a row is one prompt and one response
NO_ID = frozenset({b"", b"null", b"0", b"false", b"[", b"{"})


def without_number(row_id: str) -> str:
    """What the ids of the chunks of one conversation share, where they are such."""
    return NUMBER.sub("", row_id)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A row that may be a part of a conversation: whose, the number of its first turn, its turns."""

    conversation: str
    first: int
    turns: list[Any]

    def continues(self, before: "Chunk") -> bool:
        """Whether the row before ends where this one begins, its last turn repeated or not."""
        if self.conversation != before.conversation:
            return False
        beyond = before.first + len(before.turns)
        repeated = before.turns[-1:] == self.turns[:1] != []
        return self.first == beyond or (self.first == beyond - 1 and repeated)


def _chunk(row: dict[str, Any]) -> Chunk | None:
    found = CHUNK.fullmatch(_row_id(row))
    turns = next((row[key] for key in CONVERSATIONS if isinstance(row.get(key), list)), None)
    return Chunk(found[1], int(found[2]), turns) if found and turns is not None else None


def _row_id(row: dict[str, Any]) -> str:
    return str(row.get("id") or "")


class Namer:
    """Names the groups of rows, one after the other; "" is a group of the row's own."""

    def __init__(self, group_by: str = "", pre_split: bool = False) -> None:
        self._group_by, self._pre_split = group_by, pre_split
        self._taken: set[str] = set()
        self._before: Chunk | None = None
        self._name = ""  # of the row before

    def name(self, row: FileRow) -> str:
        """The group of the next row."""
        value = row.value if isinstance(row.value, dict) else {}
        if self._group_by:
            cell = value.get(self._group_by)
            text = cell if isinstance(cell, str) else json.dumps(cell, sort_keys=True, default=str)
            return f"{self._group_by}={text}" if text.strip() not in ("", "null") else ""  # a table's null is ""
        before, self._before = self._before, _chunk(value) if self._pre_split else None
        if not (self._before and before and self._before.continues(before)):
            self._name = self._first(without_number(_row_id(value)), row.location)
        return self._name

    def _first(self, name: str, location: str) -> str:
        if name not in self._taken:
            self._taken.add(name)
            return name
        # Of a chunk, the ones that follow need it too.
        return f"{name} {location}" if self._before and name else ""


def named(rows: Iterator[FileRow], source: Source, format_name: str) -> Iterator[FileRow]:
    """The rows of a format, each with the name of its group; ids name conversations alone."""
    if not source.group_by and format_name in PAIRS:
        return rows
    namer = Namer(source.group_by, source.pre_split)
    return (replace(row, group=namer.name(row)) for row in rows)


def check_column(head: list[FileRow], source: Source) -> None:
    """RequestError where none of a file's first rows says anything in the column by which they are to be grouped."""
    column, rows = source.group_by, [row.value for row in head if isinstance(row.value, dict)]
    if not column or any(row.get(column) is not None for row in rows):
        return
    key, known = f"data.sources.{source.slot or source.name}.group_by", sorted(set(chain.from_iterable(rows)))
    hint = nearest(column, known) or f"; they have: {', '.join(known)}"
    raise RequestError(f"{key}={column}: the first rows of {source.path} have nothing there{hint}")


class Names:
    """Whether the names of a source's groups say more than the examples' own ids would.

    They do not where all examples have one name, nor where a single example has one: such a name numbers rows only.
    """

    def __init__(self) -> None:
        self._first, self._count, self._total, self._more = "", 0, 0, False

    def add(self, name: str) -> None:
        """Count the next example's; "" is its own id."""
        self._total += 1
        self._first = self._first or name
        self._count += bool(name) and name == self._first
        self._more = self._more or name not in ("", self._first)

    @property
    def say_something(self) -> bool:
        return self._more or self._count not in (0, 1, self._total)


def differ_from_ids(path: Path, rows: int, source: Source) -> bool:
    """Whether a file has groups that are others than by the rule of 0.1.0, by which stages of it have been trained.

    That rule took rows for chunks of one conversation whose ids are alike but for a last `_` and number.
    """
    stat = path.stat()
    count, names = _counts(str(path), stat.st_size, stat.st_mtime_ns)
    split = bool(source.cleaning and source.cleaning.split_tokens)
    if names == 1:  # says nothing where all rows have it, and one that is split is a group by itself now
        return count < rows or split
    if count == names:
        return False
    return not source.pre_split or _other_names(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _counts(name: str, size: int, mtime: int) -> tuple[int, int]:  # noqa: ARG001
    """(ids of a file, different ones without their numbers)."""
    names = [base for row_id in _ids(name) if (base := without_number(row_id))]
    return len(names), len(set(names))


@lru_cache(maxsize=256)
def _other_names(name: str, size: int, mtime: int) -> bool:  # noqa: ARG001
    namer = Namer(pre_split=True)
    for row in read_rows(Path(name), "groups"):
        if isinstance(row.value, dict) and namer.name(row) != without_number(_row_id(row.value)):
            return True
    return False


def _ids(name: str) -> Iterator[str]:
    """The ids of a file of conversations, and those that stand deeper in its rows; none of other files."""
    own = len(FORMATS.all) > len(FORMATS.own())  # a format of another distribution may be one of conversations
    if packing.packing(name) == "parquet":
        yield from (str(cell) for cell in parquet_rows.read_column(name, "id", () if own else CONVERSATIONS) if cell)
    elif own or _has_conversations(name):
        found = (m[1] if m[1] is not None else m[2] for m in _matches(name))
        yield from (row_id.decode(errors="replace") for row_id in found if row_id not in NO_ID)


def _has_conversations(name: str) -> bool:
    keys, before = tuple(f'"{key}"'.encode() for key in CONVERSATIONS), b""
    with packing.opened(name) as file:
        while block := file.read(packing.BLOCK):
            if any(key in before + block for key in keys):
                return True
            before = block[-16:]
    return False


def _matches(name: str) -> Iterator[re.Match[bytes]]:
    left = b""
    with packing.opened(name) as file:
        while block := file.read(packing.BLOCK):
            buffer, end = left + block, 0
            for found in ID.finditer(buffer):
                yield found
                end = found.end()
            cut = buffer.rfind(b'"id"')  # its value may go on in the next block
            left = buffer[max(end, cut if cut >= end else len(buffer) - 4) :]
