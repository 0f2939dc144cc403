"""Other ways to write the turns of a row, which are put into the usual one before anything is read.

    {"messages": "[{\\"role\\": ...}]"}                 a list as JSON, as tables of text hold it
    {"conversation": [{"input": ..., "output": ...}]}  a round a turn (Capybara)
    {"role"|"from"|"speaker": ..., "text"|"message": ...}

Where a turn has the usual key too, the other one is not read. A list of bare texts does not say who speaks, and stays
as it is, to be refused.
"""

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

from sft_sweeps.data.formats import CONVERSATIONS

ROLES, TEXTS = ("from", "role"), ("value", "content")
OTHER_ROLES, OTHER_TEXTS = ("speaker",), ("text", "message")
ROUND = ("input", "output")
KEYS = frozenset({*OTHER_ROLES, *OTHER_TEXTS})  # without which, and a list as text, nothing is spelt otherwise


def usual(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its turns spelt as usual; the same object where they are."""
    changed = {}
    for key in CONVERSATIONS:
        before = row.get(key)
        listed = _decoded(before) if isinstance(before, str) else before
        if isinstance(listed, list) and (now := _turns(listed)) != before:
            changed[key] = now
    return {**row, **changed} if changed else row


def _decoded(text: str) -> Any:
    """The list of objects that a text is as JSON, else the text."""
    if not text.lstrip().startswith("["):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, list) and all(isinstance(turn, dict) for turn in value) else text


def _turns(listed: list[Any]) -> list[Any]:
    return list(chain.from_iterable(_turn(turn) for turn in listed))


def _turn(turn: Any) -> list[Any]:
    if not isinstance(turn, dict) or (has(turn, ROLES) and has(turn, TEXTS)):
        return [turn]
    if turn.keys() >= {*ROUND} and not has(turn, (*ROLES, *OTHER_ROLES, *TEXTS, *OTHER_TEXTS)):
        more = {key: value for key, value in turn.items() if key not in ROUND}
        prompt, response = (turn[key] for key in ROUND)
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response, **more}]
    for names, others, name in ((ROLES, OTHER_ROLES, "role"), (TEXTS, OTHER_TEXTS, "content")):
        other = [key for key in others if key in turn]
        if len(other) == 1 and not has(turn, names):
            turn = {name if key == other[0] else key: value for key, value in turn.items()}
    return [turn]


def has(turn: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether a turn has one of the keys."""
    return any(name in turn for name in names)
