"""Calls of tools in a row, and what the tools answer, put into the one spelling that chat templates know: OpenAI's.

    {"role": "assistant", "content": "...", "tool_calls": [{"id", "function": {"name", "arguments"}}]}
    {"role": "assistant", "function_call": {"name", "arguments"}}      OpenAI's, before there were several at once
    {"from": "function_call", "value": "{\\"name\\": ..., \\"arguments\\": {...}}"}  ShareGPT's, also a list of calls
    {"role": "tool" | "function", "content"}, {"from": "observation", "value"}     what a tool answers

`arguments` are an object, or the text of one in JSON; templates are given the object. A row's `tools` (or `functions`)
are a list, or the text of one; a tool that is bare, {name, description, parameters}, is put into {type, function}.
Only where `data.sources.X.tool_turns` is `render` is any of this read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from sft_sweeps.data.example import DropError, Example
from sft_sweeps.data.formats import turn_of
from sft_sweeps.data.roles import ASSISTANT, TOOL, kind_of
from sft_sweeps.data.row_keys import CALLS, LISTS, TOOLS
from sft_sweeps.data.turn_flags import says_something
from sft_sweeps.files.json_files import parse

OF_ANSWERS = ("name", "tool_call_id")
CALLERS = frozenset({"function_call", "function-call", "tool_call"})  # roles whose text is a call
BAD_TOOLS, BAD_CALL, NO_CALL = "tools_unclear", "call_unclear", "answer_without_call"
Message = dict[str, Any]  # as chat templates take it


def with_texts(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with a text in each turn that calls tools and says nothing beside."""
    lists = {key: row[key] for key in LISTS if isinstance(row.get(key), list)}
    return {**row, **{key: [_with_text(turn) for turn in turns] for key, turns in lists.items()}}


def _with_text(turn: Any) -> Any:
    calls = isinstance(turn, dict) and any(says_something(turn.get(key)) for key in CALLS)
    return {**turn, "content": ""} if calls and turn.get("value", turn.get("content")) is None else turn


def of_row(row: Mapping[str, Any]) -> str:
    """The tools that a row offers, as JSON in OpenAI's spelling; "" where it offers none."""
    given = [row[key] for key in TOOLS if says_something(row.get(key))]
    if not given:
        return ""
    listed = _decoded(given[0], BAD_TOOLS)
    if len(given) > 1 or not isinstance(listed, list):
        raise DropError(BAD_TOOLS, "no list of tools, or two")
    return json.dumps([_tool(tool) for tool in listed], ensure_ascii=False) if listed else ""


def _tool(tool: Any) -> Any:
    whole = tool if isinstance(tool, dict) and isinstance(tool.get("function"), dict) else None
    function = whole["function"] if whole else tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise DropError(BAD_TOOLS, "a tool without a name")
    return whole or {"type": "function", "function": function}


def said(turns: Sequence[Any], own: Mapping[str, str]) -> dict[int, Message]:
    """By their places, the turns that call tools, and those that are what tools answer."""
    return {place: message for place, turn in enumerate(turns) if (message := _message(turn, own))}


def _message(turn: Mapping[str, Any], own: Mapping[str, str]) -> Message | None:
    role, text = turn_of(turn)
    kind = kind_of(role, own)
    calls = list(_calls_of_keys(turn))
    if calls and kind != ASSISTANT:
        raise DropError(BAD_CALL, f"a call by {role}")
    if kind == TOOL and role not in own and role.strip().lower() in CALLERS:
        given = _decoded(text, BAD_CALL)
        calls, text = [_call(one) for one in (given if isinstance(given, list) else [given])], ""
        if not calls:
            raise DropError(BAD_CALL, "no call")
    if calls:
        return {"role": "assistant", "content": text, "tool_calls": calls}
    if kind != TOOL:
        return None
    return {"role": "tool", "content": text} | {key: turn[key] for key in OF_ANSWERS if isinstance(turn.get(key), str)}


def _calls_of_keys(turn: Mapping[str, Any]) -> Iterator[Any]:
    several, one = (turn.get(key) for key in CALLS)
    if says_something(several):
        listed = _decoded(several, BAD_CALL)
        if not isinstance(listed, list) or says_something(one):
            raise DropError(BAD_CALL, "no list of calls, or two")
        yield from map(_call, listed)
    elif says_something(one):
        yield _call(_decoded(one, BAD_CALL))


def _call(given: Any) -> Message:
    """A call in OpenAI's spelling, its arguments an object."""
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise DropError(BAD_CALL, "a call without a name")
    arguments = function.get("arguments", function.get("parameters", {}))
    arguments = _decoded(arguments, BAD_CALL) if arguments != "" else {}
    if not isinstance(arguments, dict):
        raise DropError(BAD_CALL, "arguments that are no object")
    named = {"id": given["id"]} if isinstance(given.get("id"), str) and given["id"] else {}
    return {**named, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _decoded(value: Any, reason: str) -> Any:
    """A value, or what the text of it is as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value, strict=True)
    except ValueError as error:
        raise DropError(reason, f"no JSON ({error})") from None


def check_answer(answer: Message, calls: Sequence[Message], before: Sequence[Message]) -> None:
    """DropError where a tool answers what it was not asked; `before` has answers to the same calls."""
    asked = [call["id"] for call in calls if "id" in call]
    answered = {one["tool_call_id"] for one in before if "tool_call_id" in one}
    own = answer.get("tool_call_id")
    if len(before) >= len(calls) or (asked and own and (own not in asked or own in answered)):
        raise DropError(NO_CALL)


def text_of(message: Message) -> str:
    """What stands for a message where only texts are looked at: lengths, duplicates, words."""
    parts = [message["content"]] if message["content"] else []
    if calls := message.get("tool_calls"):
        parts.append(json.dumps([call["function"] for call in calls], ensure_ascii=False))
    return "\n".join(parts)


def texts(example: Example) -> Iterator[str]:
    """All that is said of tools, to search for characters: a backslash in it is left out."""
    for text in filter(None, (example.tools, *chain.from_iterable(example.calls))):
        yield text.replace("\\\\", "").replace("\\u0000", "\0")  # JSON escapes it; behind a backslash it is text
