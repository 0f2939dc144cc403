"""Where the responses stand in what a chat template writes of a conversation with tools.

A call is written in ways of each template's own, so what is written is not taken apart into texts (chat_layout.py). A
response begins where the template, given what came before, has asked for it, and ends with the last special token of
what it writes of the conversation up to there; both must be how the whole conversation begins. Where the template has
`{% generation %}`, the response is what is marked. Whatever a row says, names and values of every call included, must
be found again in its place, or the row is refused: templates leave out what they do not know.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from sft_sweeps.data.encode.template_renderer import CLOSE, MARKS, OPEN, Renderer, without_marks
from sft_sweeps.data.example import Example

GUARD = "\ufdd4"  # a noncharacter: in a special token that a row says, which is text
ASKED_THOUGHTS = re.compile(r"(?:<\w+>\s*)?(?:</\w+>\s*)?\Z")
EMPTY_THOUGHT = re.compile(r"\s*(?:<(\w+)>\s*</\1>|</\w+>)\s*")
NOT_WRITTEN, CHANGED = "tools_left_out_by_template", "changed_by_template"
THING = {"type": "object", "properties": {"thing": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "finds", "parameters": THING}}
CALL = {"id": "call00001", "type": "function", "function": {"name": "look_up", "arguments": {"thing": "a b"}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
ANSWER = {"role": "tool", "content": "c d", "name": "look_up", "tool_call_id": "call00001"}
TRIED = Example(
    "",
    (("where is it", ""), ("c d", "it is there")),
    tools=json.dumps([TOOL]),
    calls=(("", json.dumps([CALLING])), (json.dumps([ANSWER]), "")),
)


class Spans(NamedTuple):
    """What is written, texts of the row guarded, and where in it each response stands."""

    written: str
    learnt: tuple[tuple[int, int], ...]


class UnlikeError(ValueError):
    """Why a conversation is not written as it is: one of the two reasons above."""


class ToolLayouts:
    """The layouts of one template; `special` finds its tokenizer's special tokens."""

    def __init__(self, render: Renderer, special: re.Pattern[str]) -> None:
        self._render, self._special = render, special

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the template writes tools, a call of one, and what it answers."""
        return isinstance(self.of(TRIED), Spans)

    @lru_cache(maxsize=1024)  # noqa: B019 -- the conversations that are encoded at once
    def of(self, example: Example) -> Spans | str:
        """Where the responses of a conversation stand, or why it is refused."""
        try:
            said = _messages(example), json.loads(example.tools or "null")
            messages, tools = map(self._guarded, said)
            spans = self._spans(messages, tools)
            if GUARD in spans.written:  # a template may look for what is guarded, such as </think>
                plain = without_marks(self._render(said[0], tools=said[1]))
                return spans if spans.written.replace(GUARD, "") == plain else CHANGED
            return spans
        except UnlikeError as error:
            return str(error)
        except ValueError:  # the template raises
            return CHANGED

    def _spans(self, messages: Sequence[Mapping[str, Any]], tools: Any) -> Spans:
        marked = self._render(messages, tools=tools)
        written = without_marks(marked)
        places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        marks = _marks(marked) if self._render.marks_answers else None
        if marks is not None and len(marks) != len(places):
            raise UnlikeError(CHANGED)
        found: list[tuple[int, int]] = []
        for index, place in enumerate(places):
            asked = without_marks(self._render(messages[:place], ask=True, tools=tools))
            if marks is not None:
                start, stop = marks[index]
                start = max(start, _asked(asked, written) or 0)
            else:
                shown = without_marks(self._render(messages[: place + 1], tools=tools))
                start, stop = self._from_prefixes(asked, shown, written, messages[place])
            start = _behind_empty_thought(written, start, messages[place])
            if not (found[-1][1] if found else 0) <= start < stop:
                raise UnlikeError(CHANGED)
            found.append((start, stop))
        self._check(written, found, messages, tools)
        return Spans(written, tuple(found))

    def _from_prefixes(self, asked: str, shown: str, written: str, message: Mapping[str, Any]) -> tuple[int, int]:
        """Where a response stands, of which `shown` is written where it is the last message."""
        start = _asked(asked, written)
        if start is None or not shown.startswith(written[:start]):
            raise UnlikeError(CHANGED)
        own, there = (text[_behind_empty_thought(text, start, message) :] for text in (shown, written))
        ends = [token.end() for token in self._special.finditer(own)]
        if not there.startswith(own) or not ends or own[ends[-1] :].strip():
            raise UnlikeError(CHANGED)
        return start, len(written) - len(there) + ends[-1]

    def _check(
        self, written: str, found: Sequence[tuple[int, int]], messages: Sequence[Mapping[str, Any]], tools: Any
    ) -> None:
        """UnlikeError where something that the row says is not found where it belongs."""
        bounds = [0, *(edge for span in found for edge in span)]
        parts = iter([written[start:stop] for start, stop in pairwise(bounds)])
        if not all(_holds(written[: found[0][0]], tool["function"]["name"]) for tool in tools or ()):
            raise UnlikeError(NOT_WRITTEN)
        given = next(parts)
        for message in messages:
            answers = message["role"] == "assistant"
            part = next(parts) if answers else given
            if not _holds(part, message["content"]):
                raise UnlikeError(NOT_WRITTEN if message["role"] == "tool" else CHANGED)
            functions = [call["function"] for call in message.get("tool_calls", ())]
            if not all(_holds(part, leaf) for one in functions for leaf in (one["name"], *_leaves(one["arguments"]))):
                raise UnlikeError(NOT_WRITTEN)
            given = next(parts, "") if answers else given

    def _guarded(self, value: Any) -> Any:
        """A value in whose texts no special token is found."""
        if isinstance(value, str):
            return self._special.sub(lambda token: token[0][:1] + GUARD + token[0][1:], value)
        if isinstance(value, list):
            return [self._guarded(one) for one in value]
        if isinstance(value, dict):
            return {self._guarded(key): self._guarded(one) for key, one in value.items()}
        return value


def _messages(example: Example) -> list[dict[str, Any]]:
    """A conversation as chat templates take it."""
    whole = "".join([example.tools, example.system, *example.messages])
    if any(mark in whole for mark in (OPEN, CLOSE, GUARD)):
        raise UnlikeError(CHANGED)
    messages = [{"role": "system", "content": example.system}] if example.system else []
    calls = example.calls or (("", ""),) * len(example.rounds)
    for texts, both in zip(example.rounds, calls, strict=True):
        for role, text, listed in zip(("user", "assistant"), texts, both, strict=True):
            messages += json.loads(listed) if listed else [{"role": role, "content": text}]
    return messages


def _marks(marked: str) -> list[tuple[int, int]]:
    """What is marked, in places of what is written without the marks; marks behind each other are one."""
    found: list[tuple[int, int]] = []
    for before, mark in enumerate(MARKS.finditer(marked)):
        place = mark.start() - before
        if mark[0] == CLOSE:
            found[-1] = found[-1][0], place
        elif not found or found[-1][1] != place:
            found.append((place, place))
    return [(start, stop) for start, stop in found if start < stop]


def _asked(asked: str, written: str) -> int | None:
    """Where the response stands that is asked for, be it without the thoughts that are asked for."""
    if written.startswith(asked):
        return len(asked)
    thoughts = ASKED_THOUGHTS.search(asked)
    base = asked[: thoughts.start()] if thoughts else asked
    return len(base) if written.startswith(base) else None


def _behind_empty_thought(text: str, place: int, message: Mapping[str, Any]) -> int:
    """Where a response begins behind a block of thoughts that the template adds."""
    empty = EMPTY_THOUGHT.match(text, place)
    return empty.end() if empty and not EMPTY_THOUGHT.match(message["content"]) else place


def _leaves(value: Any) -> Iterator[Any]:
    """The names and values in an object, however deep."""
    if isinstance(value, dict | list):
        for inner in value.items() if isinstance(value, dict) else value:
            yield from _leaves(list(inner) if isinstance(inner, tuple) else inner)
    else:
        yield value


def _holds(part: str, value: Any) -> bool:
    """Whether a value is written in a part of a conversation, in its own letters or in those of JSON."""
    as_json = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        text = value.strip()
        return text in part or json.dumps(text, ensure_ascii=False)[1:-1] in part
    return as_json in part or str(value) in part
