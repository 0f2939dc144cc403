"""Which fields a row has: a key whose value is null is absent, as in tables that were put together of several.

Files are read so since version 1 of `fields`, and Alpaca's inputs of one character are kept. Before, a key was enough,
and FastChat's rule held, by which such an input is none. Identities name the version where a file is read otherwise.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sft_sweeps.data.formats import AUTO, FORMATS
from sft_sweeps.files import packing
from sft_sweeps.files.rows import FileRow, columns, read_column, read_rows
from sft_sweeps.spec import Source

# The files that conf/source pins: GSM8K's are read as ever, Code Alpaca has inputs of one character.
GSM8K = "sha256:17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"
GSM8K_RFT = "git-blob:a674db849e2ddf7127597bcebbe17c388c9a4887"
CODE_ALPACA = "git-blob:4599591b17572755907bd945e34d25a956dcab09"
TURN_KEYS = (("from", "role"), ("value", "content"))  # two names of one thing
BLANK = rb"(?:\s|\\[ntrfb])*+"
SHORT_INPUT = re.compile(
    rb'"input"\s*+:\s*+"' + BLANK + rb'(?:[\x80-\xff]{1,4}|(?:\\u[0-9a-fA-F]{4}){1,2}|\\["\\/]|[^"\\])' + BLANK + rb'"'
)
OVERLAP = 256  # bytes of a block that are looked at with the next one
DECIDING_ROWS = 100  # decide a file's format


def is_null(value: Any) -> bool:
    """Whether a value is none: null, or NaN, which is the null of a table's numbers."""
    return value is None or value != value  # noqa: PLR0124


def present(value: Any) -> Any:
    """A row without the keys, at any depth, whose value is null."""
    if isinstance(value, dict):
        return {key: present(inner) for key, inner in value.items() if not is_null(inner)}
    return [present(inner) for inner in value] if isinstance(value, list) else value


def without_nulls(row: FileRow) -> FileRow:
    """The row without keys whose value is null; its own ones stay where without them it has no known format."""
    if not isinstance(row.value, dict):
        return row
    value = present(row.value)
    nulls = row.value.keys() - value.keys()
    if nulls and not format_of(value.keys()):
        value |= dict.fromkeys(nulls)
    return replace(row, value=value)


def format_of(keys: Collection[str]) -> str:
    """The first format whose fields are among the keys, "" where there is none."""
    return next((name for name, known in FORMATS.all.items() if known.fields <= set(keys)), "")


def own_format(row: Mapping[str, Any], most: str) -> str:
    """The format of a row: that which most rows of its file have, where it has the fields."""
    return most if most and FORMATS.get(most).fields <= row.keys() else format_of(row.keys())


def most_common_format(rows: Iterable[Mapping[str, Any]]) -> str:
    """The format that most rows have (of equals, the one seen first), "" when none has any."""
    votes = Counter(format_of(row.keys()) for row in rows)
    del votes[""]
    return votes.most_common(1)[0][0] if votes else ""


def pinned_read_otherwise(pin: str, bug_compatible: bool) -> bool:
    """The same of a file that may not be here: of one that is not known, it is not known either."""
    return pin not in (GSM8K, GSM8K_RFT) and not (bug_compatible and pin == CODE_ALPACA)


def read_otherwise(path: Path, source: Source) -> bool:
    """Whether a file has rows of which something else is read than before version 1.

    False is certain, but for keys that are written with escapes.
    """
    stat = path.stat()
    keys, short = _seen(str(path), stat.st_size, stat.st_mtime_ns)
    if short and not source.bug_compatible and {"instruction", "input", "output"} <= keys:
        return True
    several = sum(known.fields <= keys for known in FORMATS.all.values()) > 1
    turns = any(set(names) <= keys for names in TURN_KEYS)
    auto = source.format == AUTO
    return (turns or (several and auto)) and _other_rows(str(path), stat.st_size, stat.st_mtime_ns, auto)


@lru_cache(maxsize=256)
def _other_rows(name: str, size: int, mtime: int, auto: bool) -> bool:  # noqa: ARG001
    rows = (row.value for row in read_rows(Path(name), "rows") if isinstance(row.value, dict))
    head = list(islice(rows, DECIDING_ROWS))
    before, now = most_common_format(head), most_common_format(map(present, head))
    for row in chain(head, rows):
        if auto and own_format(present(row), now) not in ("", before):
            return True
        if any(is_null(turn[one]) for turn in _turns(row) for one, other in TURN_KEYS if {one, other} <= turn.keys()):
            return True
    return False


def _turns(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = (value for value in row.values() if isinstance(value, list))
    return (turn for turn in chain.from_iterable(lists) if isinstance(turn, dict))


@lru_cache(maxsize=256)
def _seen(name: str, size: int, mtime: int) -> tuple[frozenset[str], bool]:  # noqa: ARG001
    """(the keys of formats and turns that a file has somewhere, whether an input of one character may be there)."""
    wanted = {"input", *chain.from_iterable(TURN_KEYS), *chain.from_iterable(f.fields for f in FORMATS.all.values())}
    if packing.packing(name) == "parquet":
        inputs = (cell for cell in read_column(name, "input") if isinstance(cell, str))
        return frozenset(wanted & columns(name)), any(len(cell.strip()) == 1 for cell in inputs)
    found: set[str] = set()
    short, before = False, b""
    with packing.opened(name) as file:
        while block := file.read(packing.BLOCK):
            buffer = before + block
            found |= {key for key in wanted - found if f'"{key}"'.encode() in buffer}
            short = short or SHORT_INPUT.search(buffer) is not None
            before = buffer[-OVERLAP:]
    return frozenset(found), short
