"""Turns in other spellings are read as in the usual one; what a row or turn says against itself refuses the row."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_sweeps.config.resolve_sources import source as resolve
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import fields
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import stream
from sft_sweeps.data.row_filter import RowFilter, Tally

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
TURNS = st.lists(st.tuples(ROLES, TEXTS), min_size=1, max_size=5)


def read(path: Path, **changes: Any) -> tuple[list[Example], Tally, int]:
    """The examples of a user's file, what became of its rows, and the version that its identity names."""
    entry = SourceConfig(name="general", ability="general", role="general", path=str(path))
    source, _ = resolve(entry, path.parent, "general")
    row_filter = RowFilter()
    examples = list(stream(path, replace(source, **changes), row_filter))
    tally = row_filter.tally
    assert tally.turns == sum(one.turns for one in examples) + sum(tally.dropped_turns.values())
    return examples, tally, source.fields


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@st.composite
def spelt(draw: st.DrawFn, turns: list[tuple[str, str]]) -> Any:
    """The turns under any of the names that keys of roles and texts have, or as text."""
    role = draw(st.sampled_from(["from", "role", "speaker"]))
    text = draw(st.sampled_from(["value", "content", "text", "message"]))
    listed = [{role: name, text: words} for name, words in turns]
    return draw(st.sampled_from([listed, json.dumps(listed)]))


@quick
@given(st.data(), st.lists(TURNS, min_size=1, max_size=4), st.sampled_from(["conversations", "messages"]))
def test_every_spelling_is_read_as_the_usual_one(
    tmp_path: Path, data: st.DataObject, rows: list[list[tuple[str, str]]], key: str
) -> None:
    usual = [{key: [{"role": role, "content": text} for role, text in turns]} for turns in rows]
    others = [{key: data.draw(spelt(turns))} for turns in rows]
    fields._newer.cache_clear()  # files of one size may be written within one tick of the clock
    one, counted, _ = read(written(tmp_path / "usual.jsonl", usual))
    other, found, version = read(written(tmp_path / "other.jsonl", others))
    assert [(e.rounds, e.system, e.left_out) for e in other] == [(e.rounds, e.system, e.left_out) for e in one]
    assert (found.dropped, found.turns, found.dropped_turns) == (counted.dropped, counted.turns, counted.dropped_turns)
    old = all(
        isinstance(row[key], list) and row[key][0].keys() <= {"from", "role", "value", "content"} for row in others
    )
    assert version == (0 if old else 2)


@quick
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_a_round_a_turn(tmp_path: Path, rounds: list[tuple[str, str]]) -> None:
    listed = [{"input": prompt, "output": response} for prompt, response in rounds]
    examples, _, version = read(written(tmp_path / "rows.jsonl", [{"conversation": listed}]))
    assert ([e.rounds for e in examples], version) == ([tuple(rounds)], 2)


@pytest.mark.parametrize("key", ["input", "passage", "article", "context"])
@pytest.mark.parametrize("pair", ["question answer", "query response", "instruction response", "problem solution"])
def test_what_a_prompt_is_about_is_part_of_it(tmp_path: Path, pair: str, key: str) -> None:
    prompt, response = pair.split()
    rows = [{prompt: "Q", response: "A", key: "About this"}]
    examples, tally, version = read(written(tmp_path / "rows.jsonl", rows))
    assert examples[0].rounds == (("Q\nInput:\nAbout this", "A"),)
    assert (dict(tally.ignored), version) == ({}, 0 if key == "context" else 2)


PAIR = {"question": "Q", "answer": "A"}
SAID = [
    ({"choices": ["a", "b"]}, {}, "choices"),
    ({"options": {"A": "a"}}, {}, "choices"),
    ({"context": "a", "input": "b"}, {}, "two_contexts"),
    ({"system": "a", "system_prompt": "b"}, {"system": "a", "system_prompt": "b"}, "two_systems"),
    ({"accepted": False}, {"accepted": "no"}, "label_false"),
    ({"deleted": True}, {"deleted": 1}, "label_false"),
    ({"skip": True}, {"ignore": "yes"}, "row_weight"),
    ({"learn": 0}, {"supervise": False}, "row_weight"),
    ({"image_path": "a.png"}, {"audio_path": "a.wav"}, "media"),
    ({}, {"history": [["a", "b"]]}, "history"),
]


@pytest.mark.parametrize(("pair", "listed", "reason"), SAID)
def test_a_row_that_speaks_against_itself_is_refused(
    tmp_path: Path, pair: dict[str, Any], listed: dict[str, Any], reason: str
) -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    rows = [*([PAIR | pair] if pair else []), *([{"messages": turns} | listed] if listed else [])]
    examples, tally, version = read(written(tmp_path / "rows.jsonl", rows))
    assert (examples, dict(tally.dropped), version) == ([], {reason: len(rows)}, 2)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"label": "bad"}, "label_false"),
        ({"is_correct": False}, "label_false"),
        ({"rejected": "worse"}, "rejected"),
        ({"ignore": True}, "turn_weight"),
        ({"no_train": 1}, "turn_weight"),
        ({"image_path": "a.png"}, "media"),
    ],
)
def test_a_turn_that_speaks_against_itself_refuses_the_row(tmp_path: Path, said: dict[str, Any], reason: str) -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", **said}]
    rows = [{"messages": turns}, {"conversations": json.dumps(turns)}]
    _, tally, version = read(written(tmp_path / "rows.jsonl", rows))
    assert (dict(tally.dropped), version) == ({reason: 2}, 2)


def test_what_says_nothing_of_this_keeps_its_identity(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "label": None, "skip": False}]
    rows = [
        {"messages": turns, "choices": ["a"], "deleted": False, "input": "unread"},
        PAIR | {"choices": [], "input": "", "accepted": True},
        {"instruction": "Q", "input": "in it", "output": "A", "text": "more"},
    ]
    examples, _, version = read(written(tmp_path / "rows.jsonl", rows))
    assert (len(examples), version) == (3, 1)  # for the mixed formats


def test_bare_texts_say_not_who_speaks(tmp_path: Path) -> None:
    examples, tally, _ = read(written(tmp_path / "rows.jsonl", [{"conversations": ["Q", "A"]}] * 2))
    assert (examples, dict(tally.dropped)) == ([], {"not_text": 2})
