"""What a file's rows have that the rules for turns and keys are about, found without reading the rows one by one.

An identity names a rule only where a file has something that the rule reads. So whoever adds a file without system
turns, say, needs not care what is done with them, and what was trained before there was a rule keeps its identity.
Planning hashes a user's file anyway; this is one more pass over it. A quote inside a text is escaped and is not seen.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.data import row_keys
from sft_sweeps.data.formats import SYSTEM_KEYS
from sft_sweeps.data.roles import ASSISTANT, HUMAN, SYSTEM, TOOL, kind_of
from sft_sweeps.data.turn_flags import TRAINED, WEIGHTS
from sft_sweeps.files import packing, parquet_rows
from sft_sweeps.files.rows import is_plain_json, read_rows

OVERLAP = 512  # bytes of a block that are looked at with the next one: a key with its value
# The names that were known before a file could say others; a row of one of those is read as ever.
FIRST_NAMES = frozenset({"human", "user", "gpt", "chatgpt", "bing", "bard", "assistant", "system"})
YES_ONLY = (*WEIGHTS, *TRAINED)
LABELS = "|".join(row_keys.LABELS)
FILLED = (*row_keys.REASONS, *row_keys.PREFERENCE, *row_keys.DETAILS, *SYSTEM_KEYS, "history", "context")
EMPTY = r'(?:null|NaN|""|\[\s*+\]|\{\s*+\})'
# The group `key` matches whatever row_keys.reason refuses, and what only newer rules read; some that it takes, too.
TOKENS = re.compile(
    (
        rf'"(?:(?P<list>{"|".join(row_keys.LISTS)})"\s*+:\s*+\[(?!\s*+\[)'
        r'|(?:from|role)"\s*+:\s*+"(?P<role>[^"\\]{0,64})"'
        rf'|(?P<calls>(?:{"|".join((*row_keys.CALLS, *row_keys.TOOLS))})"\s*+:\s*+(?!{EMPTY}))'
        rf'|(?P<key>(?:{"|".join(YES_ONLY)})"\s*+:\s*+(?!null|NaN|""|true|1\s*+[,}}]|1\.0\s*+[,}}])'
        rf'|(?:{"|".join(row_keys.MASKED)})"\s*+:\s*+(?!null|NaN|""|false)'
        rf'|(?:{LABELS})"\s*+:\s*+(?:false|-?0|-1|"\s*+(?:[-01FfNnBbUuRrIiWw]))'
        rf'|(?:{"|".join(FILLED)})"\s*+:\s*+(?!{EMPTY})'
        r'|(?:content|value)"\s*+:\s*+\[))'
    ).encode()
)


@dataclass(frozen=True)
class Traits:
    """What the rows of a file may have. Where it is False, none has it (but for a key written with escapes)."""

    keys: bool = True  # that row_keys reads or refuses
    system: bool = True  # system turns before the first prompt, or a system text beside the turns
    later_system: bool = True
    tools: bool = True
    breaks: bool = True  # two turns of one role behind each other
    names: bool = True  # other names of roles than the first ones
    calls: bool = True  # tools, or calls of some, by their keys


NONE = Traits(*[False] * 7)
ALL = Traits()


def traits(path: Path, roles: tuple[tuple[str, str], ...] = ()) -> Traits:
    """What the rows of a file have; ALL where that is not known without reading them."""
    stat = path.stat()
    return _traits(str(path), stat.st_size, stat.st_mtime_ns, roles)


@lru_cache(maxsize=256)
def _traits(name: str, size: int, mtime: int, roles: tuple[tuple[str, str], ...]) -> Traits:  # noqa: ARG001
    found = _Found(dict(roles))
    if packing.packing(name) == "parquet":
        return _of_parquet(name, found)
    if not is_plain_json(Path(name)):
        return ALL
    for match in _matches(name):
        found.token(match.lastgroup or "", match["role"])
    return found.traits


class _Found:
    """Gathers traits from the tokens of rows, in their order."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        self._roles, self._kinds = roles, dict[bytes, str]()
        self._prompted, self._before = False, ""
        self.traits = NONE

    def token(self, group: str, role: bytes | None) -> None:
        if group == "list":
            self._prompted, self._before = False, ""
        elif group == "role" and role is not None:
            self._turn(self._kind(role))
        elif not self.traits.keys or (group == "calls" and not self.traits.calls):
            self.traits = replace(self.traits, keys=True, system=True, calls=group == "calls" or self.traits.calls)

    def _kind(self, role: bytes) -> str:
        if role not in self._kinds:
            name = role.decode("utf-8", "replace")
            kind = self._kinds[role] = kind_of(name, self._roles)
            if (kind != TOOL and name not in FIRST_NAMES) or name in self._roles:
                self.traits = replace(self.traits, names=True)
        return self._kinds[role]

    def _turn(self, kind: str) -> None:
        if kind == SYSTEM:
            self._note("later_system" if self._prompted else "system")
        elif kind == TOOL:
            self._note("tools")
        elif self._prompted or kind == HUMAN:
            if kind == self._before:
                self._note("breaks")
            self._prompted, self._before = True, kind if kind in (HUMAN, ASSISTANT) else ""

    def _note(self, name: str) -> None:
        if not getattr(self.traits, name):
            self.traits = replace(self.traits, **{name: True})


def _matches(name: str) -> Iterator[re.Match[bytes]]:
    """Every token of a file, once, in their order."""
    with packing.opened(name) as file:
        left = b""
        while True:
            block = file.read(packing.BLOCK)
            buffer = left + block
            end = len(buffer) - OVERLAP if block else len(buffer)
            at = max(end, 0)
            for match in TOKENS.finditer(buffer):
                if match.start() >= end:
                    break
                at = max(at, match.end())
                yield match
            if not block:
                return
            left = buffer[at:]


def _of_parquet(name: str, found: _Found) -> Traits:
    """By the columns, and where there are roles, by the rows."""
    columns = parquet_rows.columns(name)
    if not columns.isdisjoint({*row_keys.RULED, *FILLED}):
        found.token("calls" if columns & {*row_keys.CALLS, *row_keys.TOOLS} else "key", None)
    if not columns.isdisjoint({"from", "role"}):
        for row in read_rows(Path(name), "rows"):
            _of_row(row.value, found)
    return found.traits


def _of_row(row: Mapping[str, Any], found: _Found) -> None:
    found.token("list", None)
    for turn in row_keys.turns_of(row):
        role = turn.get("from") or turn.get("role")
        if isinstance(role, str):
            found.token("role", role.encode("utf-8", "replace"))
