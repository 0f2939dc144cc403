"""`format=chosen`: of a file of preferences, the answers that were preferred; on request only, see data/formats.py.

    {prompt, chosen, rejected}                 texts, or turns; the prompt as any pair of a prompt and a response has it
    {chosen: [turns], rejected: [turns]}       whole conversations, that begin alike
    {chosen: "\\n\\nHuman: ...\\n\\nAssistant: ..."}   the same as one text (Anthropic's HH-RLHF)
    {messages | conversations, chosen, rejected}   an answer, or more, to the turns before

Learnt are the answers of `chosen` behind what it has in common with `rejected`: what both say was not preferred to
anything. The turns before are given to be read. What was rejected is read to be compared, and never an example's text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sft_sweeps.data.example import DropError
from sft_sweeps.data.formats import (
    CONTEXT_KEYS,
    CONVERSATIONS,
    PROMPT,
    RESPONSE,
    SYSTEM_KEYS,
    TURNS,
    Conversation,
    Format,
    Row,
    Turn,
    beside,
    conversation_of,
    turn_of,
    with_context,
)
from sft_sweeps.data.roles import HUMAN, SYSTEM, TOOL, kind_of
from sft_sweeps.data.turn_flags import says_something

CHOSEN_KEYS = ("chosen", "chosen_response", "preferred_output")
REJECTED_KEYS = ("rejected", "rejected_response", "non_preferred_output")
PROMPTS = ("prompt", "question", "query", "instruction", "problem", "inputs", "input")
MARKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ ]?")  # of HH-RLHF
Dialog = list[Turn]


def chosen(row: Row) -> Conversation:
    """What is learnt of a row of preferences."""
    good = _dialog(_first(row, CHOSEN_KEYS))
    bad = _dialog(_first(row, REJECTED_KEYS)) if any(says_something(row.get(key)) for key in REJECTED_KEYS) else None
    before = _before(row)
    given, whole = _joined(before, good)
    shared, refused = given, set[str]()
    if bad is not None:
        _, other = _joined(before, bad)
        shared = max(given, _alike(whole, other))
        refused = set(_texts(other, shared).values())
    learnt = {place for place, text in _texts(whole, shared).items() if text not in refused}
    if not learnt:
        raise DropError("chosen_is_rejected")
    return replace(conversation_of([], row), turns=whole, unlearnt=frozenset(range(len(whole))) - learnt)


def _first(row: Row, keys: tuple[str, ...]) -> Any:
    found = next((row[key] for key in keys if key in row), None)
    if found is None:
        raise KeyError(keys[0])
    return found


def _dialog(value: Any) -> Dialog:
    """The turns of an answer, a list of them or a text; a text without markers is one answer."""
    if isinstance(value, str):
        return list(_marked(value)) or [("assistant", value)]
    listed = value.get("messages", [value]) if isinstance(value, Mapping) else value
    if not isinstance(listed, list) or not listed:
        raise DropError("not_text")
    return [turn_of(turn) for turn in listed]


def _marked(text: str) -> Iterator[Turn]:
    """The turns of a text with HH-RLHF's markers; none where it does not begin with the human's."""
    parts = MARKER.split(text)
    if parts[0].strip() or len(parts) < 3 or parts[1] != "Human":
        return
    for name, said in zip(parts[1::2], parts[2::2], strict=True):
        if said.strip() or name == "Human":
            yield ("user" if name == "Human" else "assistant"), said


def _before(row: Row) -> Dialog:
    """The turns before the answers; none where the row has no prompt of its own."""
    earlier = [turn for both in _history(row) for turn in zip(("user", "assistant"), both, strict=True)]
    for key in CONVERSATIONS:
        if isinstance(row.get(key), list):
            return [turn_of(turn) for turn in row[key]]
    prompt = next((key for key in PROMPTS if says_something(row.get(key))), "")
    if not prompt:
        return earlier
    value = row[prompt]
    if not isinstance(value, str):
        return [*earlier, *_dialog(value)]
    if marked := list(_marked(value)):
        return [*earlier, *marked]
    return [*earlier, ("user", with_context(value, beside(row, prompt)))]


def _history(row: Row) -> list[list[str]]:
    rounds = row.get("history") or []
    sound = isinstance(rounds, list) and all(isinstance(both, list) and len(both) == 2 for both in rounds)
    if not sound or not all(isinstance(text, str) for both in rounds for text in both):
        raise DropError("history")
    return rounds


def _joined(before: Dialog, answers: Dialog) -> tuple[int, Dialog]:
    """(how many turns are surely given, the whole conversation): answers that begin with a prompt are one already."""
    if _answers(answers[0][0]):
        if not before:
            raise DropError("no_prompt")
        return len(before), [*before, *answers]
    prompts = {text.strip() for role, text in answers if kind_of(role) == HUMAN}
    if any(kind_of(role) == HUMAN and text.strip() not in prompts for role, text in before):
        raise DropError("two_prompts")
    return 0, answers


def _texts(dialog: Dialog, start: int) -> dict[int, str]:
    """The answers from a place on."""
    return {n: text.strip() for n, (role, text) in enumerate(dialog) if n >= start and _answers(role)}


def _alike(one: Dialog, other: Dialog) -> int:
    """How many turns both begin with."""
    same = [a[0] == b[0] and a[1].strip() == b[1].strip() for a, b in zip(one, other, strict=False)]
    return same.index(False) if False in same else len(same)


def _answers(role: str) -> bool:
    return kind_of(role) not in (HUMAN, SYSTEM, TOOL)


FORMAT = Format(
    frozenset({"chosen"}),
    chosen,
    frozenset({*CHOSEN_KEYS, *REJECTED_KEYS, *PROMPTS, *CONVERSATIONS, *CONTEXT_KEYS, *SYSTEM_KEYS, "id", "history"}),
    {
        **dict.fromkeys(CHOSEN_KEYS, RESPONSE),
        **dict.fromkeys(REJECTED_KEYS, "compared, never learnt"),
        **dict.fromkeys(PROMPTS, PROMPT),
        **dict.fromkeys(CONVERSATIONS, TURNS),
    },
)
