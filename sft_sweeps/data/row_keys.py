"""Keys by which a row says that it is not to be trained as it stands.

Such a row is refused with a reason of its own, because its examples would be trained against its own word: an answer of
weight 0 is one that must not be learnt, what was thought or called before an answer belongs to it, a picture is part of
the question. Null and whatever is empty say nothing. `data.bug_compatible` reads rows as FastChat does, which knows
none of these keys.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from sft_sweeps.files import packing

PROMPTS = frozenset({"human", "user", "system", "tool", "function", "observation", "developer"})  # never supervised
TURN_TRAINED = ("train", "training", "trainable", "loss")  # false: not to be learnt
TURN_REASONS = {
    "reasoning_content": "reasoning_content",
    "reasoning": "reasoning_content",
    "thinking": "reasoning_content",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
ROW_FALSE = ("label", "kto_tag")
ROW_REASONS = {
    **dict.fromkeys(("rejected", "rejected_response", "non_preferred_output"), "rejected"),
    **dict.fromkeys(("images", "videos", "audios", "image", "video", "audio"), "media"),
}
ALPACA = ("instruction", "output")
FALSE = (*TURN_TRAINED, *ROW_FALSE)
FILLED = (*TURN_REASONS, *ROW_REASONS, "system", "history")  # the history is not refused, but read
# Whatever `reason` refuses matches, and Alpaca's history; some that it takes match too. A quote inside a text is
# escaped and does not.
IN_JSON = re.compile(
    (
        rf'"(?:{"|".join(FALSE)})"\s*+:\s*+false'
        rf'|"weight"\s*+:\s*+(?!null|NaN|""|1\s*+[,}}]|1\.0\s*+[,}}])'
        rf'|"(?:{"|".join(FILLED)})"\s*+:\s*+(?!null|""|\[\s*+\]|\{{\s*+\}})'
    ).encode()
)
# The files that conf/source pins, which have none of these keys.
WITHOUT = frozenset(
    {
        "git-blob:4599591b17572755907bd945e34d25a956dcab09",
        "sha256:17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        "git-blob:a674db849e2ddf7127597bcebbe17c388c9a4887",
    }
)
OVERLAP = 256  # bytes of a block that are looked at with the next one: a key with its value


def reason(row: Mapping[str, Any]) -> str:
    """Why a row must not be trained as it stands; "" where nothing speaks against it."""
    lists = (row.get(key) for key in ("conversations", "messages"))
    turns = (turn for listed in lists if isinstance(listed, list) for turn in listed if isinstance(turn, dict))
    return next(filter(None, chain(_row_reasons(row), map(_turn_reason, turns))), "")


def _row_reasons(row: Mapping[str, Any]) -> Iterator[str]:
    yield from ("label_false" for key in ROW_FALSE if row.get(key) is False)
    yield from (text for key, text in ROW_REASONS.items() if _says_something(row.get(key)))
    if all(key in row for key in ALPACA) and _says_something(row.get("system")):
        yield "system"  # the template has its own


def _turn_reason(turn: Mapping[str, Any]) -> str:
    supervised = turn.get("from", turn.get("role")) not in PROMPTS
    if not _weight_is_kept(turn.get("weight"), supervised):
        return "turn_weight"
    if supervised and any(turn.get(key) is False for key in TURN_TRAINED):
        return "turn_weight"
    return next((text for key, text in TURN_REASONS.items() if _says_something(turn.get(key))), "")


def _weight_is_kept(weight: Any, supervised: bool) -> bool:
    """Whether training gives a turn its weight: 1 to an answer, none to a prompt, whatever full weight it has."""
    if not _says_something(weight):
        return True
    try:
        return float(weight) in ((1.0,) if supervised else (0.0, 1.0))
    except (TypeError, ValueError, OverflowError):
        return False


def _says_something(value: Any) -> bool:
    """Whether a value is more than null, a NaN (the null of a table's numbers), or a container of nothing else."""
    if isinstance(value, float):
        return not math.isnan(value)
    if isinstance(value, str | list | dict):
        parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
        return bool(value.strip()) if isinstance(value, str) else any(map(_says_something, parts))
    return value is not None


def may_refuse(path: Path) -> bool:
    """Whether a file may have rows that are refused here; False is certain (but for a key written with escapes)."""
    stat = path.stat()
    return _may_refuse(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _may_refuse(name: str, size: int, mtime: int) -> bool:  # noqa: ARG001
    if packing.packing(name) == "parquet":
        return not _columns(name).isdisjoint({"weight", *FALSE, *FILLED})
    before = b""
    with packing.opened(name) as file:
        while block := file.read(packing.BLOCK):
            if IN_JSON.search(before + block):
                return True
            before = block[-OVERLAP:]
    return False


def _columns(name: str) -> set[str]:
    from pyarrow import parquet  # 0.1 s that only its readers pay

    schema = parquet.read_metadata(name).schema
    return {part for index in range(len(schema)) for part in schema.column(index).path.split(".")}
