"""Rows that say they are not to be trained as they stand are refused, counted, and move only their own sources' ids."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sft_sweeps.config.resolve_sources import source as resolve_source
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import row_keys, row_scan
from sft_sweeps.data.example import Dropped, Example
from sft_sweeps.data.read import SourceExamples, read
from sft_sweeps.data.row_reader import Reader
from sft_sweeps.files.rows import FileRow
from sft_sweeps.identity import canonical
from sft_sweeps.spec.data import Source, TurnRules

ROUND = "ab \n"
NOTHING = [None, "", " ", [], {}, [None], {"bytes": None}, float("nan"), "[]", "{ }"]
TURN_VALUES = {
    **{key: [*NOTHING, 0, 1, 1.0, 0.5, 2, "0", "1", False, True, -1] for key in row_keys.WEIGHTS},
    **{key: [*NOTHING, True, False, 0, 1, "false", "no", "yes", 0.5] for key in row_keys.TRAINED},
    **{key: [*NOTHING, True, False, 0, 1] for key in row_keys.MASKED},
    **{key: [*NOTHING, "think", [{"name": "add"}], {"name": "add"}] for key in (*row_keys.REASONS, *row_keys.DETAILS)},
}
ROW_VALUES = {
    **{
        key: [*NOTHING, True, False, 0, 1, -1, 0.0, -1.0, "false", " No", "-1", "bad", 7, "x"]
        for key in row_keys.LABELS
    },
    **{key: [*NOTHING, True, False, 0, 1, 0.5, "0"] for key in (*row_keys.WEIGHTS, *row_keys.TRAINED)},
    **{key: [*NOTHING, True, False, "User", "gpt"] for key in row_keys.MASKED},
    **{key: [*NOTHING, "1.jpg", ["1.jpg"], {"p": "1.jpg"}] for key in (*row_keys.REASONS, *row_keys.PREFERENCE)},
}


def keys(values: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(those) for key, those in values.items()})


def turns(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Q?", **(first or {})}, {"role": "assistant", "content": "A", **(second or {})}]


def has_keys(row: Any, indent: int | None = None) -> bool:
    return any(
        match["key"] or match["calls"] for match in row_scan.TOKENS.finditer(json.dumps(row, indent=indent).encode())
    )


def table(path: Path, rows: list[Any], **changes: Any) -> SourceExamples:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = Source("s", "", "auto", "general", "general", len(rows), **changes)
    return read(path, "s", max_bad_fraction=1, source=replace(made, max_bad_fraction=1))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": turns(second={"weight": 0})}, "no_answer_to_learn"),
        ({"messages": turns(second={"weight": 0.5})}, "turn_weight"),
        ({"messages": turns(second={"train": False})}, "no_answer_to_learn"),
        ({"messages": turns(second={"loss": 0})}, "no_answer_to_learn"),
        ({"messages": turns(second={"mask": 1})}, "turn_weight"),
        ({"messages": turns(second={"mask": "true"})}, "turn_weight"),
        (
            {"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A", "loss": 0}]},
            "no_answer_to_learn",
        ),
        ({"question": "Q?", "answer": "A", "weight": 0}, "row_weight"),
        ({"question": "Q?", "answer": "A", "train": "no"}, "row_weight"),
        ({"question": "Q?", "answer": "A", "label": 0}, "label_false"),
        ({"question": "Q?", "answer": "A", "label": "False"}, "label_false"),
        ({"question": "Q?", "answer": "A", "label": -1}, "label_false"),
        ({"question": "Q?", "answer": "A", "thinking": "as 1+1=2"}, "reasoning_content"),
        ({"messages": turns(), "tools": '[{"name": "f"}]'}, "tool_calls"),
        ({"messages": turns(), "functions": [{"name": "f"}]}, "tool_calls"),
        ({"messages": turns({"content": [{"type": "image_url", "image_url": {"url": "x"}}]})}, "media"),
        ({"messages": turns(second={"content": [{"type": "thinking", "thinking": "x"}]})}, "reasoning_content"),
        ({"conversations": [{"from": "gpt", "value": "A", "weight": 2}]}, "turn_weight"),
        ({"messages": turns(second={"reasoning_content": "as 1+1=2"})}, "reasoning_content"),
        ({"messages": turns(second={"content": None, "tool_calls": [{"function": {"name": "f"}}]})}, "tool_calls"),
        ({"messages": turns(), "label": False}, "label_false"),
        ({"question": "Q?", "answer": "A", "chosen": "x", "rejected": "y"}, "rejected"),
        ({"messages": turns(), "rejected": turns()}, "rejected"),
        ({"instruction": "Q?", "output": "A", "images": ["1.jpg"]}, "media"),
        ({"messages": turns(), "audios": ["1.wav"]}, "media"),
    ],
)
def test_a_row_that_speaks_against_itself_is_refused(row: Any, reason: str, tmp_path: Path) -> None:
    found = table(tmp_path / "a.jsonl", [row, *[{"messages": turns()}] * 2])
    assert len(found.examples) == 2
    assert found.dropped == {reason: 1}


@given(st.lists(st.tuples(st.text(ROUND, min_size=1), st.text(ROUND, min_size=1)), max_size=4))
def test_alpacas_history_is_the_rounds_before(history: list[tuple[str, str]]) -> None:
    row = {"instruction": "Q?", "output": "A", "history": history, "system": ""}
    value = json.loads(json.dumps(row))
    example = Reader("s", "alpaca").cleaned(FileRow(value, "line 1"), 0)
    assert isinstance(example, Example)
    assert example.rounds == (*history, ("Q?", "A"))
    assert not history or has_keys(row)
    faithful = Reader("s", "alpaca", bug_compatible=True).cleaned(FileRow(value, "line 1"), 0)
    assert isinstance(faithful, Example)
    assert faithful.rounds == (("Q?", "A"),)
    spoken = FileRow({**value, "system": "Be terse."}, "line 1")
    rendered = Reader("s", "alpaca", turns=TurnRules(system="render")).cleaned(spoken, 0)
    assert isinstance(rendered, Example)
    assert (rendered.system, rendered.rounds) == ("Be terse.", example.rounds)
    refused = Reader("s", "alpaca", turns=TurnRules(system="render")).for_template(False, False).cleaned(spoken, 0)
    assert isinstance(refused, Dropped)
    assert (refused.reason, refused.turns) == ("system_turn", 3 + 2 * len(history))


def test_fastchat_knows_no_such_key(tmp_path: Path) -> None:
    plain = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]
    marked = {"conversations": [plain[0], {**plain[1], "weight": 0}], "images": ["1.jpg"], "label": False}
    found = table(tmp_path / "a.jsonl", [marked], bug_compatible=True)
    assert found == table(tmp_path / "b.jsonl", [{"conversations": plain}], bug_compatible=True)


@pytest.mark.parametrize("nothing", NOTHING)
def test_null_and_empty_values_change_nothing(nothing: Any, tmp_path: Path) -> None:
    plain = table(tmp_path / "a.jsonl", [{"messages": turns()}])
    every = dict.fromkeys(TURN_VALUES, nothing)
    row = {"messages": turns(every, every), **dict.fromkeys(ROW_VALUES, nothing)}
    assert table(tmp_path / "b.jsonl", [row]) == plain


def test_a_prompt_of_weight_0_is_one_that_is_not_learnt(tmp_path: Path) -> None:
    """As every prompt; files that mark each turn write it so."""
    row = {"messages": turns({"weight": 0, "train": False}, {"weight": 1, "train": True}), "label": True}
    assert table(tmp_path / "a.jsonl", [row]).examples == table(tmp_path / "b.jsonl", [{"messages": turns()}]).examples


@given(keys(TURN_VALUES), keys(TURN_VALUES), keys(ROW_VALUES), st.sampled_from([None, 1]))
def test_a_file_that_cannot_hold_such_rows_holds_none(
    first: dict[str, Any], second: dict[str, Any], row: dict[str, Any], indent: int | None
) -> None:
    value = {"messages": turns(first, second), **row}
    assert not row_keys.reason(value) or has_keys(value, indent)


@given(st.text())
def test_text_about_keys_is_text(text: str) -> None:
    said = json.dumps({"weight": 0, "label": False, "images": [text]}) + text
    assert not has_keys({"messages": turns({"content": said})})


def test_a_key_is_seen_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the edge of two blocks, packed, in Parquet's columns."""
    monkeypatch.setattr(row_scan.packing, "BLOCK", 300)
    for before in range(250, 310):
        path = tmp_path / f"{before}.jsonl"
        path.write_text(" " * before + json.dumps({"messages": turns(second={"weight": 0})}))
        assert row_scan.traits(path).keys
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert row_scan.traits(tmp_path / "a.jsonl.gz").keys
    for name, more, expected in (("a", {}, False), ("b", {"weight": 0}, True)):
        parquet.write_table(pa.Table.from_pylist([{"messages": turns(more, more)}]), tmp_path / f"{name}.parquet")
        assert row_scan.traits(tmp_path / f"{name}.parquet").keys is expected


@pytest.mark.parametrize(
    ("more", "faithful", "moves"),
    [({}, False, False), ({"weight": 1}, False, False), ({"weight": 0}, False, True), ({"weight": 0}, True, False)],
)
def test_only_sources_that_may_have_such_rows_have_another_identity(
    more: dict[str, Any], faithful: bool, moves: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": turns(second=more)}) + "\n")  # of weight 0: fields 3, too
    made, _ = resolve_source(SourceConfig(name="own", ability="math", path=str(path)), tmp_path, "own", faithful)
    assert ("row_keys" in canonical(made)) == moves
    before = {name: value for name, value in canonical(made).items() if name != "row_keys"}
    assert before == canonical(replace(made, row_keys=0))


SPOKEN = {"role": "tool", "content": "15"}


@pytest.mark.parametrize(
    ("row", "moves"),
    [
        ({"messages": turns()}, False),
        ({"messages": turns(), "tools": []}, False),
        ({"messages": turns(), "tools": [{"name": "f"}]}, True),
        ({"messages": turns(second={"tool_calls": [{"function": {"name": "f"}}]})}, True),
        ({"messages": [*turns(), SPOKEN]}, True),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_rendered_tools_are_in_the_identity_of_files_that_have_some(
    row: Any, moves: bool, packed: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"a.jsonl{'.gz' if packed else ''}"
    text = json.dumps(row).encode()
    path.write_bytes(gzip.compress(text) if packed else text)

    def made(rule: str) -> Any:
        config = SourceConfig(name="own", ability="math", path=str(path), tool_turns=rule)
        return canonical(resolve_source(config, tmp_path, "own", False)[0])

    assert (made("render") != made("refuse")) == moves
    if moves:
        assert made("render")["turns"]["tools"] == "render"
