"""What each key of a row is used for: prompt, response, system ..., or that it is not used, in words for who looks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

from sft_sweeps.data import columns as named_columns
from sft_sweeps.data import row_keys
from sft_sweeps.data.formats import CONTEXT_KEYS, SYSTEM_KEYS, TURNS, Format
from sft_sweeps.data.tools import OF_ANSWERS
from sft_sweeps.data.turn_flags import FLAGS

NOT_USED = "not used"
TWICE = "named twice, the last value is read"
LOOKED_AT = "looked at, not trained on"  # it may speak against the row
BESIDE: Mapping[str, str] = {
    **dict.fromkeys(SYSTEM_KEYS, "system"),
    **dict.fromkeys(CONTEXT_KEYS, "follows the prompt"),
    "history": "earlier rounds",
    "id": "id",
    "plugins": LOOKED_AT,
}
OF_TURNS: dict[str, str] = {
    **dict.fromkeys(("from", "role"), "who speaks"),
    **dict.fromkeys(("value", "content"), "text"),
    **dict.fromkeys(FLAGS, "weight"),
}
# Where tools are rendered (data/tools.py), of rows and of turns:
TOOLS: Mapping[str, str] = dict.fromkeys(row_keys.TOOLS, "given to the template")
CALLS: dict[str, str] = {
    **dict.fromkeys(row_keys.CALLS, "calls of tools"),
    **dict.fromkeys(OF_ANSWERS, "which tool answers"),
}
EMPTY: tuple[Any, ...] = (None, "", [], {})
# FastChat reads the fields of a format alone; where tools are rendered, they and their calls are read too.
Rules = Literal["", "fastchat", "tools"]
Uses = tuple[tuple[str, str], ...]  # a key, or `[].key` of the turns, and what it is used for


def of_row(
    row: Mapping[str, Any],
    known: Format | None,
    columns: Sequence[tuple[str, str]] = (),
    group_by: str = "",
    rules: Rules = "",
) -> Uses:
    """The keys that say anything in a row."""
    keys = tuple(key for key, value in row.items() if value not in EMPTY)
    lists = tuple(key for key in keys if known and known.uses.get(key) == TURNS and isinstance(row[key], list))
    turns = chain.from_iterable(row[key] for key in lists)
    inner = frozenset(chain.from_iterable(turn for turn in turns if isinstance(turn, dict)))
    fields = tuple((key, _use(key, known, rules) if known else NOT_USED) for key in keys)
    return _named(fields, inner, tuple(columns), group_by, rules)


def _use(key: str, known: Format, rules: Rules) -> str:
    if key in known.fields or (key in known.uses and rules != "fastchat"):
        return known.uses.get(key, "read")
    if rules == "fastchat":
        return NOT_USED
    if rules == "tools" and key in TOOLS:
        return TOOLS[key]
    if key in known.also:
        return BESIDE.get(key, "read")
    return LOOKED_AT if key in row_keys.RULED else NOT_USED


@lru_cache(maxsize=4096)
def _named(
    fields: Uses,
    inner: frozenset[str],
    columns: tuple[tuple[str, str], ...],
    group_by: str,
    rules: Rules,
) -> Uses:
    return tuple(chain(_outer(fields, columns, group_by), _inner(inner, rules)))


def _outer(fields: Uses, columns: Sequence[tuple[str, str]], group_by: str) -> Iterator[tuple[str, str]]:
    for key, use in fields:
        used = [use] if use != NOT_USED or key != group_by else []
        used += ["what belongs together"] if key == group_by else []
        yield named_columns.column_of(key, columns), ", ".join(used)


def _inner(keys: frozenset[str], rules: Rules) -> Iterator[tuple[str, str]]:
    fastchat, known = rules == "fastchat", OF_TURNS | CALLS if rules == "tools" else OF_TURNS
    for key in sorted(keys):
        read = key in row_keys.TEXTS if fastchat else key in known
        ruled = not fastchat and key in row_keys.RULED
        yield f"[].{key}", known[key] if read else LOOKED_AT if ruled else NOT_USED


def lines(keys: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What was counted of a source's keys, for a screen: one line for what is used, one for what is not."""
    for what, wanted in (("keys used", True), ("keys not used", False)):
        found = [
            f"{key} ({rows:,} rows)" if use == NOT_USED else f"{key}: {use} ({rows:,} rows)"
            for key, uses in keys.items()
            for use, rows in uses.items()
            if (use != NOT_USED) is wanted
        ]
        if found:
            yield f"{what}: {', '.join(found)}"
