"""JSON files: lines that are added, and what a reader sees of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.files.json_files import append_line, last_line, write_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values=st.lists(VALUES, min_size=1, max_size=5))
def test_every_value_is_one_line(values: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lines") / "lines.jsonl"
    for value in values:
        append_line(path, value)
        assert json.loads(last_line(path)) == value
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]] == values


@pytest.mark.parametrize("durable", [False, True])
def test_a_line_that_was_cut_short_spoils_itself_alone(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    append_line(path, {"a": 3}, durable=durable)
    assert path.read_text().splitlines() == ['{"a": 1}', '{"a": ', '{"a": 3}']


def test_what_is_no_json_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, 1)
    with pytest.raises(TypeError):
        append_line(path, object())
    assert path.read_text() == "1\n"


def test_a_text_that_no_file_can_hold_is_written_all_the_same(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.md", "half of a pair: \ud800", durable=False)
    assert (tmp_path / "new" / "a.md").read_text() == "half of a pair: ?"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.md"]
