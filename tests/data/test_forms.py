"""Answers of weight 0, preferences, named columns and roles: what is learnt of a row, and what never is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.config.resolve_sources import source as resolve_source
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import columns, key_uses, mini, roles
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.example import Dropped, Example
from sft_sweeps.data.formats import CHOSEN, FORMATS
from sft_sweeps.data.read import SourceExamples, read
from sft_sweeps.data.row_filter import RowFilter
from sft_sweeps.data.row_reader import Reader
from sft_sweeps.data.turn_flags import NOTHING_LEARNT, TRAINED, WEIGHTS
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import FileRow
from sft_sweeps.identity import VERSIONS, canonical
from sft_sweeps.models import train_tokenizer
from sft_sweeps.spec.data import Cleaning, Source, TurnRules

YES, NO = (1, True, 1.0, "1", "true"), (0, False, 0.0, "0", "false", "no")


def row_of(value: Any, reader: Reader | None = None) -> Example | Dropped:
    return (reader or Reader("s", "messages")).cleaned(FileRow(value, "line 1"), 0)


def turn(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


@st.composite
def flagged(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[str, str]], list[bool]]:
    """A row whose answers have flags, its rounds, and which of them are to be learnt."""
    turns, rounds, learnt = [], [], []
    for number in range(draw(st.integers(1, 5))):
        key = draw(st.sampled_from([*WEIGHTS, *TRAINED]))
        learn = draw(st.booleans())
        value = draw(st.sampled_from(YES if learn else NO))
        more = {key: value} if not learn or draw(st.booleans()) else {}
        rounds.append((f"Q {number}?", f"A {number}."))
        turns += [turn("user", f"Q {number}?"), turn("assistant", f"A {number}.", **more)]
        learnt.append(learn)
    return {"messages": turns}, rounds, learnt


@given(flagged())
def test_an_answer_of_weight_0_is_read_and_not_learnt(row: Any) -> None:
    value, rounds, learnt = row
    found = row_of(value)
    if not any(learnt):
        assert isinstance(found, Dropped)
        assert (found.reason, found.turns) == (NOTHING_LEARNT, 2 * len(rounds))
        return
    assert isinstance(found, Example)
    assert found.rounds == tuple(rounds)
    assert [index not in found.unlearnt for index in range(len(rounds))] == learnt


@pytest.mark.parametrize("value", [0.5, 2, -1, 0.999, [1, 0], "half", "-1"])
def test_other_weights_are_refused(value: Any) -> None:
    found = row_of({"messages": [turn("user", "Q"), turn("assistant", "A", weight=value)]})
    assert isinstance(found, Dropped)
    assert found.reason == "turn_weight"


def test_answers_of_different_weights_are_not_joined() -> None:
    answers = [turn("assistant", "A", weight=0), turn("assistant", "B", weight=1)]
    reader = Reader("s", "messages", Cleaning(role_break="join"))
    found = row_of({"messages": [turn("user", "Q"), *answers]}, reader)
    assert isinstance(found, Dropped)
    assert found.reason == "turn_weight"
    same = row_of({"messages": [turn("user", "Q"), answers[0], answers[0], turn("user", "R"), answers[1]]}, reader)
    assert isinstance(same, Example)
    assert (same.rounds, same.unlearnt) == ((("Q", "A\nA"), ("R", "B")), (0,))


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKING = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(
    scope="module", params=["vicuna_v1.1", "alpaca", CHATML, MARKING], ids=["vicuna", "alpaca", "chatml", "marking"]
)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("tokenizer")
    if "{" not in request.param:
        train_tokenizer.copy(mini.TOKENIZER, folder)
        return Encoder(folder, request.param, 400)
    words = ["USER: Q 1? ASSISTANT: A 2."] * 20
    tokenizer = train_tokenizer.train(words, 300)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    train_tokenizer.save(tokenizer, folder)
    (folder / "chat_template.jinja").write_text(request.param)
    return Encoder(folder, "chat_template", 400)


@settings(max_examples=20, deadline=None)
@given(row=flagged())
def test_the_mask_is_that_of_the_learnt_answers_alone(row: Any, encoder: Encoder) -> None:
    """By hand: the ids are those of the row without flags, and of its mask the spans of the other answers are left."""
    value, _, learnt = row
    found = row_of(value)
    if isinstance(found, Dropped):
        return
    marked = next(encoder.encoded([found]))
    plain = next(encoder.encoded([Example(found.id, found.rounds)]))
    assert (marked.input_ids == plain.input_ids).all()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], plain.supervised, [False]]))).reshape(-1, 2)
    assert len(edges) == len(learnt)
    expected = np.zeros_like(plain.supervised)
    for (start, stop), learn in zip(edges, learnt, strict=True):
        expected[start:stop] = learn
    assert (marked.supervised == expected).all()
    assert marked.turns == (sum(learnt), 2 * len(learnt) - sum(learnt), 0)


GOOD, BAD = "fine words", "poor words"
HH = "\n\nHuman: Q one\n\nAssistant: A one\n\nHuman: Q two\n\nAssistant: {}"
BEFORE = [turn("user", "Q one"), turn("assistant", "A one"), turn("user", "Q two")]
PREFERENCES = {
    "texts": {"prompt": "Q two", "chosen": GOOD, "rejected": BAD},
    "of Anthropic": {"chosen": HH.format(GOOD), "rejected": HH.format(BAD)},
    "a dialog as prompt": {"prompt": HH.format(""), "chosen": f" {GOOD}", "rejected": f" {BAD}"},
    "whole conversations": {
        "chosen": [*BEFORE, turn("assistant", GOOD)],
        "rejected": [*BEFORE, turn("assistant", BAD)],
    },
    "with the prompt again": {
        "prompt": "Q one",
        "chosen": [*BEFORE, turn("assistant", GOOD)],
        "rejected": [*BEFORE, turn("assistant", BAD)],
    },
    "turns": {"prompt": BEFORE, "chosen": [turn("assistant", GOOD)], "rejected": [turn("assistant", BAD)]},
    "an answer to turns": {
        "conversations": [{"from": "human", "value": "Q two"}],
        "chosen": {"from": "gpt", "value": GOOD},
        "rejected": {"from": "gpt", "value": BAD},
    },
    "alpaca": {"instruction": "Q two", "input": "", "chosen": GOOD, "rejected": BAD},
    "of OpenAI": {
        "input": {"messages": BEFORE},
        "preferred_output": [turn("assistant", GOOD)],
        "non_preferred_output": [turn("assistant", BAD)],
        "chosen": None,
    },
    "system and question": {"system": "S", "question": "Q two", "chosen": GOOD, "rejected": BAD},
    "nothing rejected": {"prompt": "Q two", "chosen": GOOD},
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_what_was_chosen_is_learnt_and_nothing_else(name: str) -> None:
    row = {key: value for key, value in PREFERENCES[name].items() if value is not None}
    found = row_of(row, Reader("s", CHOSEN, turns=TurnRules(system="render")))
    assert isinstance(found, Example), found
    learnt = [answer.strip() for index, (_, answer) in enumerate(found.rounds) if index not in found.unlearnt]
    assert learnt == [GOOD]
    assert found.rounds[-1][0].strip() == "Q two"
    assert not any(BAD in text for text in found.messages)
    plain = row_of(row, Reader("s", "question_answer", auto=True))  # not asked for: refused
    assert isinstance(plain, Dropped)
    assert plain.reason == "rejected"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Q", "chosen": GOOD, "rejected": f" {GOOD}"}, "chosen_is_rejected"),
        ({"chosen": GOOD, "rejected": BAD}, "no_prompt"),
        ({"prompt": "other", "chosen": [*BEFORE, turn("assistant", GOOD)]}, "two_prompts"),
        ({"prompt": "Q", "chosen": 7, "rejected": BAD}, "not_text"),
        ({"prompt": "Q", "rejected": BAD}, "unknown_fields"),
        ({"prompt": "Q", "chosen": GOOD, "rejected": BAD, "images": ["1.jpg"]}, "media"),
    ],
)
def test_rows_of_preferences_that_cannot_be_used(row: Any, reason: str) -> None:
    found = row_of(row, Reader("s", CHOSEN))
    assert isinstance(found, Dropped)
    assert found.reason == reason


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.lists(st.sampled_from("abc"), min_size=1, max_size=4)
)
def test_no_answer_that_was_rejected_is_learnt(chosen: list[str], rejected: list[str]) -> None:
    def dialog(answers: list[str]) -> list[dict[str, Any]]:
        return [one for text in answers for one in (turn("user", "Q"), turn("assistant", text))]

    found = row_of({"chosen": dialog(chosen), "rejected": dialog(rejected)}, Reader("s", CHOSEN))
    common = next(
        (n for n, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(map(len, (chosen, rejected)))
    )
    expected = [text for text in chosen[common:] if text not in rejected[common:]]
    if isinstance(found, Dropped):
        assert (found.reason, expected) == ("chosen_is_rejected", [])
    else:
        assert [answer for n, (_, answer) in enumerate(found.rounds) if n not in found.unlearnt] == expected


NAMED = (("prompt", "frage"), ("response", "antwort"))


def table(path: Path, rows: list[Any], form: str = "auto", **changes: Any) -> SourceExamples:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source("s", "", form, "a", "general", 0, slot="general", max_bad_fraction=1, **changes)
    return read(path, "s", max_bad_fraction=1, source=source)


def test_named_columns_are_read_as_the_format_that_they_make(tmp_path: Path) -> None:
    whole = {"frage": "Q", "antwort": "A", "prompt": "not this", "question": "nor this"}
    rows = [whole, {"frage": "Q"}, {"frage": None, "antwort": "A"}]
    found = table(tmp_path / "a.jsonl", rows, columns.format_of(NAMED), columns=NAMED)
    assert [example.rounds for example in found.examples] == [(("Q", "A"),)]
    assert found.dropped == {"missing_column": 2}
    assert "no antwort" in found.samples["missing_column"]
    chats = [{"dialog": [turn("user", "Q"), turn("assistant", "A")], "conversations": "x", "nr": "7"}]
    pairs = (("id", "nr"), ("messages", "dialog"))
    read_chats = table(tmp_path / "b.jsonl", chats, "messages", columns=pairs).examples
    assert [(one.rounds, one.row_id) for one in read_chats] == [((("Q", "A"),), "7")]
    weighted = [{"question": "Q", "answer": "A", "weight": 0}]
    assert table(tmp_path / "c.jsonl", weighted, columns=(("weight", ""),)).dropped == {}
    with pytest.raises(RequestError, match=r"data.sources.general.columns.prompt=fragen: .* did you mean frage\?"):
        table(tmp_path / "d.jsonl", rows, columns=(("prompt", "fragen"), NAMED[1]))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"prompt": "a", "response": "b"}, ""),
        ({"messages": "a", "id": "b", "weight": None}, ""),
        ({"prompt": "a"}, "also type"),
        ({"response": "a"}, "also type"),
        ({"prompt": "a", "response": "a"}, "a is named for prompt and response"),
        ({"prompts": "a"}, "did you mean prompt?"),
        ({"messages": "a", "prompt": "b", "response": "c"}, "two answers"),
        ({"prompt": "", "response": "b"}, "names no column"),
    ],
)
def test_what_is_typed_of_columns_is_checked(typed: dict[str, str | None], said: str) -> None:
    problems = list(columns.problems("data.sources.x.columns", typed, "auto"))
    assert bool(problems) == bool(said)
    assert said in " ".join(problems)


def test_roles_may_be_typed_either_way() -> None:
    by_role = roles.named({"human": ["Ann", "Ben"], "assistant": ["Cy"]})
    assert by_role == roles.named({"Ann": "human", "Cy": "assistant", "Ben": "human"})
    assert not list(roles.problems("k", {"human": ["Ann"], "Cy": "assistant"}))
    for wrong in (
        {"humans": ["Ann"]},
        {"Ann": "gpt"},
        {"human": []},
        {"human": ["A"], "assistant": ["A"]},
        {"human": 7},
    ):
        assert list(roles.problems("k", wrong))
    value = {"messages": [turn("Ann", "Q"), turn("Cy", "A")]}
    assert isinstance(row_of(value, Reader("s", "messages", turns=TurnRules(roles=by_role))), Example)
    refused = row_of(value)
    assert isinstance(refused, Dropped)
    assert "the roles 'Ann', 'Cy'" in refused.sample


KEYS = st.sampled_from(["question", "answer", "context", "id", "weight", "odd", "system", "tags"])


@given(st.dictionaries(KEYS, st.sampled_from(["x", "", None, 1]), max_size=8))
def test_every_key_with_a_value_has_a_use(row: dict[str, Any]) -> None:
    known = FORMATS.get("question_answer") if {"question", "answer"} <= row.keys() else None
    found = dict(key_uses.of_row(row, known))
    assert found.keys() == {key for key, value in row.items() if value not in ("", None)}
    assert known or set(found.values()) <= {key_uses.NOT_USED}
    assert found.get("odd", key_uses.NOT_USED) == key_uses.NOT_USED


def test_uses_are_counted_by_the_files_own_names() -> None:
    reader = Reader("s", "prompt_completion", columns=NAMED, group_by="nr")
    row_filter = RowFilter()
    for value in ({"frage": "Q", "antwort": "A", "nr": 1}, {"frage": "Q", "nr": 2}):
        row = columns.named(FileRow(value, "line 1"), NAMED)
        row_filter.keeps(reader.result(row, 0, lambda one: (one,)).count)
    assert row_filter.tally.keys == {
        "frage": {"prompt": 2},
        "antwort": {"response": 1},
        "nr": {"what belongs together": 2},
    }


@pytest.mark.parametrize(
    ("more", "typed", "version"),
    [
        ({}, {}, 0),
        ({"weight": 1}, {}, 0),
        ({"weight": 0}, {}, VERSIONS["fields"]),
        ({}, {"roles": {"human": ["x"]}}, 0),
        ({}, {"columns": {"messages": "messages"}}, VERSIONS["fields"]),
    ],
)
def test_an_id_moves_only_where_a_file_is_read_otherwise(
    more: dict[str, Any], typed: dict[str, Any], version: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    last = [turn("assistant", "A", **more), turn("user", "R"), turn("assistant", "B")]
    path.write_text(json.dumps({"messages": [turn("user", "Q"), *last]}) + "\n")
    made, _ = resolve_source(SourceConfig(name="own", ability="a", path=str(path), **typed), tmp_path, "own")
    said = canonical(made)
    assert said.get("fields", 0) == version
    assert ("columns" in said) == ("columns" in typed)
