"""Which fields a row has: a key whose value is null is absent, as in tables that were put together of several.

Files are read so since version 1 of `fields`, and Alpaca's inputs of one character are kept. Before, a key was enough,
and FastChat's rule held, by which such an input is none. Version 2 reads an `input`, `passage` or `article` beside any
pair, other spellings of turns (data/spellings.py) and two more formats, and refuses what row_keys.newer_reasons names.
Version 3 gives answers of weight 0 without teaching them (data/turn_flags.py), where it refused such rows before, and
reads the objects of a line that has several.
Identities name the version since which a file is read as it is.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sft_sweeps.data import row_keys, spellings
from sft_sweeps.data.formats import AUTO, CONTEXT_KEYS, CONVERSATIONS, FORMATS, SYSTEM_KEYS
from sft_sweeps.data.turn_flags import FLAGS, asked
from sft_sweeps.files import packing, parquet_rows
from sft_sweeps.files.layout import has_glued
from sft_sweeps.files.rows import FileRow, is_plain_json, read_rows
from sft_sweeps.identity import VERSIONS
from sft_sweeps.spec.data import Source

# The files that conf/source pins: GSM8K's are read as ever, Code Alpaca has inputs of one character.
GSM8K = "sha256:17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"
GSM8K_RFT = "git-blob:a674db849e2ddf7127597bcebbe17c388c9a4887"
CODE_ALPACA = "git-blob:4599591b17572755907bd945e34d25a956dcab09"
TURN_KEYS = (("from", "role"), ("value", "content"))  # two names of one thing
BLANK = rb"(?:\s|\\[ntrfb])*+"
SHORT_INPUT = re.compile(
    rb'"input"\s*+:\s*+"' + BLANK + rb'(?:[\x80-\xff]{1,4}|(?:\\u[0-9a-fA-F]{4}){1,2}|\\["\\/]|[^"\\])' + BLANK + rb'"'
)
LISTED_AS_TEXT = re.compile(rb'"(?:' + "|".join(CONVERSATIONS).encode() + rb')"\s*+:\s*+"')
# Keys, other than an `input`, of which a row has one that is read otherwise since version 2.
NEWER_KEYS = frozenset({*spellings.KEYS, *row_keys.NEWER, *row_keys.LABELS, *row_keys.PREFERENCE})
NEWER_KEYS |= {"passage", "article", "inputs"}
SPELLINGS = 2  # the version since which other keys and spellings are read
NEWER_FORMATS = ("query_answer", "inputs_targets")
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


def spelt_as_usual(row: FileRow) -> FileRow:
    """The row with its turns spelt in the usual way."""
    if not isinstance(row.value, dict) or (value := spellings.usual(row.value)) is row.value:
        return row
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


def pinned_version(pin: str, bug_compatible: bool) -> int:
    """`version` of a file that may not be here: of one that is not known, it is not known either."""
    if pin in (GSM8K, GSM8K_RFT) or (bug_compatible and pin == CODE_ALPACA):
        return 0
    return 1 if bug_compatible or pin == CODE_ALPACA else VERSIONS["fields"]


def version(path: Path, source: Source) -> int:
    """The version of `fields` since which a file is read as it is, 0 where it always was."""
    if has_glued(path):
        return VERSIONS["fields"]
    newer = 0 if source.bug_compatible else read_newly(path)
    return newer or int(read_otherwise(path, source))


def read_newly(path: Path) -> int:
    """The last version, 2 or later, since which something else is read of a file's rows than before; 0 is certain."""
    stat = path.stat()
    return _newer(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _newer(name: str, size: int, mtime: int) -> int:
    latest = VERSIONS["fields"]
    if packing.packing(name) == "parquet" or is_plain_json(Path(name)):
        keys, _, listed = _seen(name, size, mtime)
        several = len(keys & {*SYSTEM_KEYS}) > 1 or ("history" in keys and not keys.isdisjoint(CONVERSATIONS))
        latest = latest if keys & FLAGS else SPELLINGS
        if not (listed or several or keys & (NEWER_KEYS | FLAGS) or keys >= {"query", "answer"} or _has_input(keys)):
            return 0
    found = 0
    for row in read_rows(Path(name), "rows"):
        if isinstance(row.value, dict) and (found := max(found, _since(row.value))) == latest:
            break
    return found


def _has_input(keys: frozenset[str]) -> bool:
    """Whether a file may have an `input` in a row that is none of Alpaca's, or in a turn."""
    beside = (known.fields for name, known in FORMATS.all.items() if "input" in known.also and name != "alpaca")
    return "input" in keys and (not keys.isdisjoint(CONVERSATIONS) or any(fields <= keys for fields in beside))


def _since(row: dict[str, Any]) -> int:
    """The last version, 2 or later, since which something else is read of a row; 0 where there is none."""
    row = present(row)
    known = FORMATS.all.get(format_of(row.keys()))
    if known is None:
        return 0
    usual = spellings.usual(row)
    if any(asked(turn) == "leave" for turn in row_keys.turns_of(usual)):
        return VERSIONS["fields"]
    if usual is not row or any(row_keys.newer_reasons(usual)):
        return SPELLINGS
    newer = known in [FORMATS.get(name) for name in NEWER_FORMATS]
    contexts = known.also & {*CONTEXT_KEYS} - {"context"} if known is not FORMATS.get("alpaca") else ()
    return SPELLINGS if newer or any(row.get(key) for key in contexts) else 0


def read_otherwise(path: Path, source: Source) -> bool:
    """Whether a file has rows of which something else is read than before version 1.

    False is certain, but for keys that are written with escapes.
    """
    stat = path.stat()
    keys, short, _ = _seen(str(path), stat.st_size, stat.st_mtime_ns)
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
def _seen(name: str, size: int, mtime: int) -> tuple[frozenset[str], bool, bool]:  # noqa: ARG001
    """The keys of formats and turns that a file has; whether it may have inputs of one character, and turns as text."""
    wanted = {"input", "history", *SYSTEM_KEYS, *NEWER_KEYS, *FLAGS, *chain.from_iterable(TURN_KEYS)}
    wanted |= {*chain.from_iterable(known.fields for known in FORMATS.all.values())}
    if packing.packing(name) == "parquet":
        inputs = (cell for cell in parquet_rows.read_column(name, "input") if isinstance(cell, str))
        found = wanted & parquet_rows.columns(name)
        listed = bool(found & {*CONVERSATIONS}) and not found & {"from", "role"}
        return frozenset(found), any(len(cell.strip()) == 1 for cell in inputs), listed
    found = set[str]()
    short, listed, before = False, False, b""
    with packing.opened(name) as file:
        while block := file.read(packing.BLOCK):
            buffer = before + block
            found |= {key for key in wanted - found if f'"{key}"'.encode() in buffer}
            short = short or SHORT_INPUT.search(buffer) is not None
            listed = listed or LISTED_AS_TEXT.search(buffer) is not None
            before = buffer[-OVERLAP:]
    return frozenset(found), short, listed
