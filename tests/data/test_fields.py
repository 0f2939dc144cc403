"""A key whose value is null is absent, wherever it stands; an input of one character is an input."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sft_sweeps.config.resolve_sources import source as resolve_source
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import fields
from sft_sweeps.data.formats import FORMATS
from sft_sweeps.data.read import SourceExamples, read
from sft_sweeps.files import packing
from sft_sweeps.spec.data import Source

KEYS = sorted({key for known in FORMATS.all.values() for key in known.fields} | {"input", "history", "system", "id"})
NULL = st.sampled_from([None, math.nan])
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def turns(text: str, role: str = "role", content: str = "content") -> list[dict[str, Any]]:
    return [{role: name, content: f"{text} {name}"} for name in ("human", "gpt")]


ROWS = [
    lambda n: {"question": f"{n}?", "answer": "A"},
    lambda n: {"query": f"{n}?", "response": "A"},
    lambda n: {"instruction": f"{n}?", "input": "in", "output": "A"},
    lambda n: {"conversations": turns(str(n), "from", "value")},
    lambda n: {"messages": turns(str(n))},
    lambda n: {"conversations": turns(str(n), "role", "value")},
]


@st.composite
def nulls(draw: st.DrawFn, row: dict[str, Any]) -> dict[str, Any]:
    """The row with null in some of the keys that it lacks, as in a table put together of several."""
    more = {key: draw(NULL) for key in draw(st.lists(st.sampled_from(KEYS), unique=True)) if key not in row}
    mixed = {
        key: [draw(nulls_of_turn(turn)) for turn in value] if isinstance(value, list) else value
        for key, value in row.items()
    }
    return {key: (more | mixed)[key] for key in draw(st.permutations([*more, *mixed]))}


@st.composite
def nulls_of_turn(draw: st.DrawFn, turn: dict[str, Any]) -> dict[str, Any]:
    more = dict.fromkeys(("from", "role", "value", "content", "weight", "tool_calls"))
    chosen = draw(st.lists(st.sampled_from(sorted(more)), unique=True))
    return {**{key: None for key in chosen if key not in turn}, **turn}


def table(path: Path, rows: Sequence[Any], **changes: Any) -> SourceExamples:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = Source("s", "", "auto", "general", "general", len(rows), max_bad_fraction=1)
    return read(path, "s", max_bad_fraction=1, source=replace(made, **changes))


def otherwise(path: Path, **changes: Any) -> bool:
    return fields.read_otherwise(path, replace(Source("s", "", "auto", "general", "general", 0), **changes))


@quick
@given(data=st.data(), kinds=st.lists(st.sampled_from(ROWS), min_size=1, max_size=6), bug_compatible=st.booleans())
def test_null_columns_change_nothing(
    data: st.DataObject, kinds: list[Any], bug_compatible: bool, tmp_path: Path
) -> None:
    """Whatever the formats of the rows are: each is read by its own."""
    rows = [kind(n) for n, kind in enumerate(kinds)]
    with_nulls = [data.draw(nulls(row)) for row in rows]
    plain = table(tmp_path / "a.jsonl", rows, bug_compatible=bug_compatible)
    assert table(tmp_path / "b.jsonl", with_nulls, bug_compatible=bug_compatible) == plain
    assert [len(plain.examples), plain.dropped] == [len(rows), {}]


@quick
@given(kinds=st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_parquet_has_all_columns_in_every_row(kinds: list[int], tmp_path: Path) -> None:
    rows = [ROWS[kind](n) for n, kind in enumerate(kinds)]
    parquet.write_table(pa.Table.from_pylist([dict.fromkeys(KEYS) | row for row in rows]), tmp_path / "a.parquet")
    made = Source("s", "", "auto", "general", "general", len(rows))
    found = read(tmp_path / "a.parquet", "s", max_bad_fraction=0, source=replace(made, max_bad_fraction=0))
    assert found.examples == table(tmp_path / "a.jsonl", rows).examples
    assert otherwise(tmp_path / "a.parquet") == any(kinds)  # before, each was taken for the first format


def test_a_text_that_is_null_is_no_text(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "answer": None}, {"messages": [{"role": "user", "content": None}]}, {"answer": "A"}]
    assert table(tmp_path / "a.jsonl", [*rows, *map(ROWS[0], range(3))]).dropped == {
        "not_text": 2,
        "unknown_fields": 1,
    }


@quick
@given(text=st.text(max_size=4), before=st.sampled_from(["", " ", "\n\t"]), ascii_only=st.booleans())
def test_an_input_of_one_character_is_one(text: str, before: str, ascii_only: bool, tmp_path: Path) -> None:
    row = {"instruction": "Is it prime?", "input": before + text, "output": "A"}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=ascii_only), encoding="utf-8", errors="surrogatepass")
    made = Source("s", "", "auto", "general", "general", 1, max_bad_fraction=1)
    if not fields_are_text(text):
        return
    kept, faithful = (
        read(path, "s", max_bad_fraction=1, source=replace(made, bug_compatible=bug)).examples[0].rounds[0][0]
        for bug in (False, True)
    )
    own = f"Is it prime?\nInput:\n{before}{text}"
    assert kept == (own if text.strip() else "Is it prime?")
    assert faithful == (own if len((before + text).strip()) > 1 else "Is it prime?")
    if kept != faithful:
        assert otherwise(path)
    assert not otherwise(path, bug_compatible=True)


def fields_are_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def test_a_short_input_is_seen_on_the_edge_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK", 300)
    for before in range(240, 310):
        path = tmp_path / f"{before}.jsonl"
        path.write_text(" " * before + json.dumps({"instruction": "Q?", "input": "7", "output": "A"}))
        assert otherwise(path)


@pytest.mark.parametrize(
    ("rows", "entry", "moves"),
    [
        ([ROWS[0](0), {"question": "Q?", "answer": None}], {}, False),
        ([{**ROWS[0](0), **ROWS[4](1)}], {}, False),
        ([{**ROWS[4](1), "question": None, "answer": None}], {}, True),
        ([{**ROWS[4](1), "conversations": None}], {}, True),
        ([{**ROWS[4](1), "conversations": None}], {"format": "sharegpt"}, False),
        ([*map(ROWS[4], range(9)), ROWS[3](1)], {}, True),
        ([{"messages": [{"from": None, **turn} for turn in turns("1")]}], {}, True),
        ([{"messages": [{"from": turn["role"], **turn} for turn in turns("1")]}], {}, False),
        ([{"instruction": "Q?", "input": "7", "output": "A"}], {}, True),
        ([{"instruction": "Q?", "input": "77", "output": "A"}], {}, False),
        ([{"question": "Q?", "input": "7", "answer": "A"}], {}, True),
    ],
)
def test_only_sources_of_which_something_else_is_read_have_another_identity(
    rows: list[Any], entry: dict[str, Any], moves: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made, _ = resolve_source(SourceConfig(name="own", ability="math", path=str(path), **entry), tmp_path, "own")
    assert bool(made.fields) == moves


def test_pinned_sources(tmp_path: Path) -> None:
    for pin, moves in ((fields.GSM8K, False), (fields.GSM8K_RFT, False), (fields.CODE_ALPACA, True)):
        entry = SourceConfig(name="own", ability="math", content=pin, file="a")
        assert bool(resolve_source(entry, tmp_path, "own")[0].fields) == moves
        assert not resolve_source(entry, tmp_path, "own", True)[0].fields
