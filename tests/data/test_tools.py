"""What a row says of tools, in every spelling one thing; a row that leaves doubt about a call is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.data import clean
from sft_sweeps.data.example import Dropped, Example
from sft_sweeps.data.row_reader import Reader
from sft_sweeps.files.file_row import FileRow
from sft_sweeps.spec.data import Cleaning, TurnRules

READER = Reader("t", "messages", Cleaning(role_break="drop"), turns=TurnRules("render", "render"), auto=True)
FUNCTION = {"name": "area", "description": "of a field", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
ASK, ANSWER = {"role": "user", "content": "3 by 5?"}, {"role": "tool", "content": "15"}
SAYS = {"role": "assistant", "content": "It is 15."}


def read(row: Any, reader: Reader = READER) -> Example | Dropped:
    return reader.cleaned(FileRow(row, "line 1"), 0)


def calling(*functions: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": one} for one in functions], **more}


def call(arguments: Any) -> dict[str, Any]:
    return {"name": "area", "arguments": arguments}


VALUES = st.recursive(
    st.text('aé"\\ {', max_size=4) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(st.text("ab", min_size=1, max_size=2), VALUES, max_size=3)


@given(arguments=ARGUMENTS, several=st.booleans())
def test_all_spellings_are_one(arguments: dict[str, Any], several: bool) -> None:
    text, one = json.dumps(arguments), call(arguments)
    spelt: list[dict[str, Any]] = [
        calling(one),
        calling(one, content=""),
        calling(one, content=None),
        calling(call(text)),
        {"role": "assistant", "tool_calls": [one]},
        {"role": "assistant", "tool_calls": json.dumps([one])},
        {"role": "assistant", "function_call": call(text)},
        {"role": "function_call", "content": json.dumps([one] if several else one)},
    ]
    tools = [[TOOL], [FUNCTION], json.dumps([FUNCTION]), json.dumps([TOOL])]
    rows = [{"messages": [ASK, turn, ANSWER, SAYS], "tools": tools[n % 4]} for n, turn in enumerate(spelt)]
    turned = [("human", "3 by 5?"), ("function_call", json.dumps(one)), ("observation", "15"), ("gpt", "It is 15.")]
    rows.append({"conversations": [{"from": role, "value": text} for role, text in turned], "functions": [FUNCTION]})
    found = [read(row) for row in rows]
    assert all(replace(example, id="", group="") == replace(found[0], id="", group="") for example in found)
    assert isinstance(found[0], Example)
    assert json.loads(found[0].tools) == [TOOL]
    ((_, called), (answered, _)) = found[0].calls
    function = {"name": "area", "arguments": arguments}
    made = [{"type": "function", "function": function}]
    assert json.loads(called) == [{"role": "assistant", "content": "", "tool_calls": made}]
    assert json.loads(answered) == [ANSWER]
    assert [text for _, text in found[0].rounds] == [json.dumps([function], ensure_ascii=False), "It is 15."]


def row(*turns: Any, tools: Any = (TOOL,)) -> dict[str, Any]:
    return {"messages": list(turns), "tools": list(tools) if isinstance(tools, tuple) else tools}


CALLED = calling(call({"w": 3}))
TWICE = {"role": "assistant", "tool_calls": [{"id": name, "function": call({})} for name in ("x", "y")]}


def answers(name: str) -> dict[str, Any]:
    return {**ANSWER, "tool_call_id": name}


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (row(ASK, calling(call("{w: 3}")), ANSWER, SAYS), "call_unclear"),
        (row(ASK, calling(call('{"w": 3, "w": 5}')), ANSWER, SAYS), "call_unclear"),
        (row(ASK, calling(call('{"w": NaN}')), ANSWER, SAYS), "call_unclear"),
        (row(ASK, calling(call("[3, 5]")), ANSWER, SAYS), "call_unclear"),
        (row(ASK, calling({"arguments": {}}), ANSWER, SAYS), "call_unclear"),
        (row(ASK, calling("area"), ANSWER, SAYS), "call_unclear"),
        (row({**ASK, "tool_calls": [call({})]}, SAYS), "call_unclear"),
        (row(ASK, {"role": "function_call", "content": "area(3)"}, ANSWER, SAYS), "call_unclear"),
        (row(ASK, {"role": "function_call", "content": "[]"}, ANSWER, SAYS), "call_unclear"),
        (row(ASK, {**CALLED, "function_call": call({})}, ANSWER, SAYS), "call_unclear"),
        (row(ASK, ANSWER, SAYS), "answer_without_call"),
        (row(ASK, SAYS, ANSWER, SAYS), "answer_without_call"),
        (row(ASK, CALLED, ANSWER, ANSWER, SAYS), "answer_without_call"),
        (row(ASK, TWICE, answers("x"), answers("x"), SAYS), "answer_without_call"),
        (row(ASK, TWICE, answers("z"), SAYS), "answer_without_call"),
        (row(ASK, CALLED, ANSWER, ASK, SAYS), "role_break"),
        (row(ASK, CALLED, SAYS), "role_break"),
        (row(ASK, SAYS, CALLED), "role_break"),
        (row(ASK, SAYS, tools="area"), "tools_unclear"),
        (row(ASK, SAYS, tools=({"description": "of a field"},)), "tools_unclear"),
        (row(ASK, SAYS, tools={"area": FUNCTION}), "tools_unclear"),
        (row(ASK, {**SAYS, "content": [{"type": "tool_use", "name": "area"}]}), "tool_calls"),
        (row({"role": "system", "content": "x", "tools": [TOOL]}, ASK, SAYS), "tool_calls"),
        ({**row(ASK, SAYS), "tool_calls": [call({})]}, "tool_calls"),
        (row(ASK, calling(call({"w": "\0"})), ANSWER, SAYS), "bad_characters"),
        (row(ASK, SAYS, tools=({**FUNCTION, "description": "\ud800"},)), "bad_characters"),
    ],
)
def test_what_is_in_doubt_is_refused(refused: Any, reason: str) -> None:
    found = read(refused)
    assert isinstance(found, Dropped)
    assert (found.reason, found.turns) == (reason, len(refused["messages"]))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\ \\u0000\\"])
def test_what_only_spells_a_bad_character_is_text(text: str) -> None:
    assert isinstance(read(row(ASK, calling(call({"w": text})), {**ANSWER, "content": text}, SAYS)), Example)
    assert isinstance(read(row(ASK, calling(call({"w": f"{text}\0"})), ANSWER, SAYS)), Dropped)


def test_joined_turns_are_never_those_of_tools() -> None:
    joining = replace(READER, cleaning=Cleaning(role_break="join"))
    for turns in ((ASK, CALLED, ANSWER, ASK, SAYS), (ASK, CALLED, SAYS), (ASK, SAYS, CALLED)):
        found = read(row(*turns), joining)
        assert isinstance(found, Dropped)
        assert found.reason == "role_break"


@pytest.mark.parametrize(
    ("turns", "rounds", "left_out"),
    [
        ((ASK, CALLED), ((1, 1),), {}),
        ((ASK, CALLED, ANSWER), ((1, 1),), {"unanswered_prompt": 1}),
        ((ASK, TWICE, answers("y"), answers("x"), SAYS), ((1, 1), (2, 1)), {}),
        ((ASK, TWICE, answers("y"), SAYS), ((1, 1), (1, 1)), {}),
        (
            (ASK, {"role": "function_call", "content": '{"name": "a"}'}, CALLED, ANSWER, ANSWER),
            ((1, 2),),
            {"unanswered_prompt": 2},
        ),
        ((CALLED, ASK, SAYS), ((1, 1),), {"before_first_prompt": 1}),
        ((ASK, calling(call({}), content="Wait."), {**ANSWER, "content": ""}, SAYS), ((1, 1), (1, 1)), {}),
    ],
)
def test_every_turn_is_accounted_for(turns: Any, rounds: Any, left_out: dict[str, int]) -> None:
    found = read(row(*turns))
    assert isinstance(found, Example)
    assert (found.turns_of_rounds, dict(found.left_out)) == (rounds, left_out)
    assert found.turns + sum(left_out.values()) == len(turns)


def test_an_answer_stays_with_its_call_where_a_conversation_is_split() -> None:
    found = read(row(ASK, CALLED, ANSWER, SAYS, ASK, SAYS))
    assert isinstance(found, Example)
    parts = list(clean.split(found, Cleaning(split_tokens=1), False, len))
    assert [len(part.rounds) for part in parts] == [2, 1]
    assert [part.calls for part in parts] == [found.calls[:2], found.calls[2:]]
    assert all(part.tools == found.tools for part in parts)
