"""Files become tables: every format, every reason to drop a row, every way in which a file can be no use."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from common import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.data.formats import FORMATS
from sft_sweeps.data.read import SourceExamples, read, survey
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import read_rows
from sft_sweeps.spec.data import Source

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
GOOD = {"question": "2 + 2?", "answer": "4"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def lines(*rows: Any) -> Path:
        path = tmp_path / "rows.jsonl"
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
        return path

    return lines


def load(path: Path, limit: float = 0.0, **options: Any) -> SourceExamples:
    return read(path, "s", max_bad_fraction=limit, **options)


def chat(*turns: tuple[str, str], chat_id: str = "abc_0") -> dict[str, Any]:
    return {"id": chat_id, "conversations": [{"from": role, "value": value} for role, value in turns]}


def messages(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in zip(texts[::2], texts[1::2], strict=True)]}


def parts(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


ROWS = [
    ("question_answer", {"question": "q", "answer": "a", "style": 1}, ("q", "a")),
    ("query_response", {"query": "q", "response": "a"}, ("q", "a")),
    ("alpaca", {"instruction": "q", "input": "x y", "output": "a"}, ("q\nInput:\nx y", "a")),
    ("alpaca", {"instruction": "q", "input": "", "output": "a"}, ("q", "a")),
    ("alpaca", {"instruction": "q", "input": " x ", "output": "a"}, ("q\nInput:\n x ", "a")),
    ("alpaca", {"instruction": "q", "input": None, "output": "a"}, ("q", "a")),
    ("alpaca", {"instruction": "q", "output": " a\n", "response": "no"}, ("q", " a\n")),
    ("sharegpt", chat(("human", "q"), ("gpt", "a")), ("q", "a")),
    ("messages", messages("system", "s", "user", "q", "assistant", "a"), ("q", "a")),
    ("messages", {"messages": [parts("user", "q", "?"), parts("assistant", "a")]}, ("q?", "a")),
    ("conversation", {"conversation": [parts("user", "q"), parts("assistant", "a")]}, ("q", "a")),
    ("prompt_completion", {"prompt": "q", "completion": "a"}, ("q", "a")),
    ("prompt_completion", {"prompt": [parts("user", "q")], "completion": [parts("assistant", "a")]}, ("q", "a")),
    ("prompt_response", {"prompt": "q", "response": "a", "context": "c"}, ("q\nInput:\nc", "a")),
    ("problem_solution", {"problem": "q", "solution": "a"}, ("q", "a")),
    ("query_answer", {"query": "q", "answer": "a"}, ("q", "a")),
    ("inputs_targets", {"inputs": "q", "targets": "a"}, ("q", "a")),
    ("question_response", {"question": "q", "response": "a", "system_prompt": " "}, ("q", "a")),
    ("instruction_response", {"instruction": "q", "context": "", "response": "a", "category": "x"}, ("q", "a")),
    ("input_output", {"input": "q", "output": "a"}, ("q", "a")),
]


@pytest.mark.parametrize(("format_name", "row", "round_"), ROWS)
@pytest.mark.parametrize("given_format", [True, False])
def test_format(write: Write, format_name: str, row: Any, round_: tuple[str, str], given_format: bool) -> None:
    table = load(write(row), format=format_name if given_format else "auto")
    assert [example.rounds for example in table.examples] == [(round_,)]
    assert (table.rows, table.dropped) == (1, {})


def test_every_format_is_tested() -> None:
    assert {name for name, _, _ in ROWS} == set(FORMATS.names)


CHATS: list[tuple[list[tuple[str, str]], int]] = [
    ([("user", "a"), ("chatgpt", "b"), ("human", "c"), ("bing", "d"), ("human", "e"), ("bard", "f")], 3),
    ([("human", "a"), ("assistant", "b")], 1),
    ([("system", "s"), ("human", "a"), ("gpt", "b")], 1),
    ([("gpt", "x"), ("gpt", "y"), ("human", "a"), ("gpt", "b")], 1),
    ([("human", "a"), ("gpt", "b"), ("human", "c")], 1),
    ([("human", "a"), ("gpt", "b"), ("system", "s"), ("human", "c"), ("gpt", "d")], 2),
    ([("Human", "a"), (" ASSISTANT", "b"), ("prompter", "c"), ("model", "d"), ("user", "e"), ("ai", "f")], 3),
    ([("human", "a"), ("gpt", "b"), ("gpt", "c"), ("human", "d"), ("gpt", "e")], 1),
    ([("human", "a"), ("gpt", "b"), ("human", ""), ("gpt", "d")], 1),
    ([("human", "a"), ("gpt", "b"), ("tool", "c"), ("gpt", "d")], 1),
    ([("human", "\n"), ("gpt", " ")], 1),
    ([("human", "a"), ("human", "c"), ("gpt", "b")], 0),
    ([("human", "a"), ("gpt", "")], 0),
    ([("gpt", "a")], 0),
    ([("human", "a")], 0),
    ([], 0),
]


@pytest.mark.parametrize(("turns", "rounds"), CHATS)
def test_conversation(write: Write, turns: list[tuple[str, str]], rounds: int) -> None:
    table = load(write(chat(("human", "q"), ("gpt", "r")), chat(*turns)), 0.5)
    found = [len(example.rounds) for example in table.examples[1:]]
    assert found == ([rounds] if rounds else [])
    assert table.dropped == ({} if rounds else {"no_round": 1})


def test_conversation_texts_are_in_place(write: Write) -> None:
    table = load(write(chat(("gpt", "x"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d"), ("human", "e"))))
    assert table.examples[0].rounds == (("a", "b"), ("c", "d"))


REASONS = [
    ("broken_json", '{"question": "q", "answer":'),
    ("broken_json", "[" * 100_000),
    ("not_an_object", "[1, 2]"),
    ("not_an_object", "null"),
    ("unknown_fields", {"ask": "q", "say": "a"}),
    ("unknown_fields", {"question": "q"}),
    ("not_text", {"question": "q", "answer": 4}),
    ("not_text", {"question": ["q"], "answer": "a"}),
    ("empty_prompt", {"question": "", "answer": "a"}),
    ("empty_response", {"question": "q", "answer": ""}),
    ("bad_characters", {"question": "q\0", "answer": "a"}),
    ("bad_characters", '{"question": "q", "answer": "\\ud800 half"}'),
]


@pytest.mark.parametrize(("reason", "row"), REASONS)
def test_dropped_row_is_counted_shown_and_renames_no_other(write: Write, reason: str, row: Any) -> None:
    table = load(write(GOOD, row, "", GOOD), 0.5)
    assert [example.id for example in table.examples] == ["s/0", "s/2"]
    assert (table.rows, table.dropped) == (3, {reason: 1})
    assert table.samples[reason].startswith("line 2: ")
    assert len(table.samples[reason]) < 200


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("not_text", {"id": "x", "conversations": None}),
        ("not_text", {"id": "x", "conversations": [{"from": "human", "value": None}]}),
        ("not_text", {"id": "x", "conversations": ["hello"]}),
        ("unknown_fields", {"id": "x", "turns": []}),
        ("bad_characters", chat(("human", "a"), ("gpt", "b"), ("human", "\0"), ("gpt", "d"))),
        ("bad_characters", chat(("human", "a"), ("gpt", "b"), chat_id="\ud800_1")),
    ],
)
def test_dropped_conversation(write: Write, reason: str, row: Any) -> None:
    table = load(write(chat(("human", "a"), ("gpt", "b")), row), 0.5)
    assert (len(table.examples), table.dropped) == (1, {reason: 1})


@pytest.mark.parametrize("row", [{"instruction": 1, "output": "a"}, {"instruction": "q", "input": [1], "output": "a"}])
def test_alpaca_that_is_not_text(write: Write, row: Any) -> None:
    table = load(write({"instruction": "q", "input": "", "output": "a"}, row), 0.5)
    assert table.dropped == {"not_text": 1}


def test_a_row_with_another_list_than_its_format_has_is_counted(write: Write) -> None:
    row = {"conversations": "said"}
    assert load(write(chat(("human", "a"), ("gpt", "b")), row), 0.5, format="messages").dropped == {"not_text": 1}


def test_too_many_dropped_rows_are_refused_with_everything_to_act_on(write: Write) -> None:
    path = write(GOOD, GOOD, "oops", "oops", {"question": "q", "answer": ""})
    with pytest.raises(RequestError) as caught:
        load(path, 0.5, limit_key="data.sources.math.max_bad_fraction")
    text = str(caught.value)
    for part in ("source s", str(path), "3 of the 5 rows", "60.0%", "2 broken_json, e.g. line 3: oops"):
        assert part in text
    assert "1 empty_response, e.g. line 5: " in text
    assert "raise data.sources.math.max_bad_fraction (now 0.5)" in text
    assert caught.value.exit_status == 2


def test_the_limit_itself_is_allowed_and_the_default_key_is_the_source(write: Write) -> None:
    path = write(GOOD, "oops")
    assert load(path, 0.5).dropped == {"broken_json": 1}
    with pytest.raises(RequestError, match=r"raise data\.sources\.s\.max_bad_fraction \(now 0\.49\)"):
        load(path, 0.49)


def test_a_file_without_any_example_is_refused_whatever_the_limit(write: Write) -> None:
    with pytest.raises(RequestError, match=r"\{answer, question\}, \{query, response\}") as caught:
        load(write({"ask": "q", "say": "a"}), 1.0)
    assert "raise" not in str(caught.value)


def test_format_is_that_of_most_of_the_first_rows_and_of_a_row_without_its_fields_its_own(write: Write) -> None:
    other = {"query": "q", "response": "r"}
    table = load(write({"x": 1}, other, {"instruction": "i", "output": "o", **other}, other, GOOD), 0.5)
    assert [example.rounds[0][0] for example in table.examples] == ["q", "q", "q", GOOD["question"]]
    assert table.dropped == {"unknown_fields": 1}
    assert load(write(other, GOOD), 0.5, format="query_response").dropped == {"unknown_fields": 1}


def test_an_id_names_its_row_alone(write: Write) -> None:
    turns = (("human", "a"), ("gpt", "b"))
    ids = ["abc_0", "abc_15", "x_y_3", "plain", "7"]
    rows = [*(chat(*turns, chat_id=chat_id) for chat_id in ids), {"conversations": chat(*turns)["conversations"]}]
    groups = [example.group for example in load(write(*rows)).examples]
    assert groups == ["abc", "s/1", "x_y", "plain", "7", "s/5"]


def test_ids_that_only_number_the_rows_are_no_groups(write: Write) -> None:
    rows = [chat(("human", "a"), ("gpt", "b"), chat_id=f"identity_{n}") for n in range(3)]
    assert [example.group for example in load(write(*rows)).examples] == ["s/0", "s/1", "s/2"]


def test_gzip_and_array_and_byte_order_mark_read_alike(tmp_path: Path) -> None:
    rows = [{**GOOD, "question": f"{n}\u2028?"} for n in range(3)]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    contents = {
        "a.jsonl": lines.encode(),
        "b.jsonl": b"\xef\xbb\xbf" + lines.encode(),
        "c.jsonl.gz": gzip.compress(lines.encode()),
        "d.json": json.dumps(rows, indent=2).encode(),
        "e.json": json.dumps(rows).encode(),
        "f.json.gz": gzip.compress(b"\n" + json.dumps(rows).encode()),
        "g.jsonl.zst": zstandard.compress(lines.encode()),
        "h.zst": zstandard.compress(json.dumps(rows[:1]).encode()[:-1] + b",")
        + zstandard.compress(json.dumps(rows[1:]).encode()[1:]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    tables = {name: load(tmp_path / name) for name in contents}
    assert [example.rounds[0][0] for example in tables["a.jsonl"].examples] == ["0\u2028?", "1\u2028?", "2\u2028?"]
    assert [table for table in tables.values() if table != tables["a.jsonl"]] == []


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    rows = [GOOD, {"question": None, "answer": "x"}, {"question": "r", "answer": "s"}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    table = load(tmp_path / "rows.parquet", 0.5)
    assert [example.rounds for example in table.examples] == [(("2 + 2?", "4"),), (("r", "s"),)]
    assert (table.rows, table.dropped) == (3, {"not_text": 1})
    chats = [chat(("human", "a"), ("gpt", "b"))]
    parquet.write_table(arrow.Table.from_pylist(chats), tmp_path / "chats.parquet")
    assert load(tmp_path / "chats.parquet").examples[0].rounds == (("a", "b"),)


@pytest.mark.parametrize("block", [16, 61, 1 << 20])
@settings(max_examples=30)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.none(), max_size=3), max_size=9)
)
def test_arrays_and_lines_are_read_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, block: int, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    (folder / "a.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / "b.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "c.jsonl").write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sft_sweeps.files.rows.BLOCK", block)
        found = [[row.value for row in read_rows(path, "s")] for path in sorted(folder.iterdir())]
    assert found == [rows] * 3


def test_a_row_of_an_array_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([GOOD, 3, GOOD]), encoding="utf-8")
    assert load(tmp_path / "a.json", 0.5).samples == {"not_an_object": "row 1: 3"}


UNUSABLE = [
    ("empty", b"", "is empty"),
    ("empty", b"\n \n", "is empty"),
    ("empty", b"[]", "is empty"),
    ("latin1", b'{"question": "a"}\n{"question": "\xf0"}\n', r"not UTF-8 \(line 2, byte 32\).*iconv"),
    ("cut", gzip.compress(json.dumps(GOOD).encode() * 100)[:-10], "damaged gzip.*Fetch it again"),
    ("mangled", gzip.compress(json.dumps(GOOD).encode() * 100)[:12] + b"\xff" * 30, "damaged gzip.*Fetch it again"),
    ("half", b'[{"question": "a", "answer": "b"}, {"quest', r"does not end as one .*byte 36\).*fetch it again"),
    ("half", '[{"question": "\u00e9", "answer": "b"}, {"quest'.encode(), r"byte 37\)"),
    ("open", b'[{"question": "a", "answer": "b"}', r"Expecting ',' delimiter at byte 33"),
    ("comma", b'[{"question": "a", "answer": "b"},]', "Expecting value at byte 34"),
    ("more", b'[{"question": "a", "answer": "b"}] {}', "Extra data behind the array at byte 35"),
    ("zcut", zstandard.compress(json.dumps(GOOD).encode() * 100)[:-10], "damaged Zstandard.*Fetch it again"),
    ("zbad", zstandard.compress(json.dumps(GOOD).encode() * 100)[:9] + b"\xff" * 30, "damaged Zstandard"),
    ("parquet", b"PAR1 and nothing", "damaged Parquet"),
    ("half", b'[\n{"question": "a", "answer": "b"},\n{"quest', "does not end as one.*fetch it again"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"), UNUSABLE, ids=[f"{n}-{row[0]}" for n, row in enumerate(UNUSABLE)]
)
def test_unusable_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message) as caught:
        load(tmp_path / name, 1.0)
    assert "source s" in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_file_folder_and_unknown_format(tmp_path: Path, write: Write) -> None:
    with pytest.raises(RequestError, match=r"no file .*nowhere\.jsonl"):
        load(tmp_path / "nowhere.jsonl")
    with pytest.raises(RequestError, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(RequestError, match="question_answer, query_response, alpaca, sharegpt"):
        load(write(GOOD), format="parquet")


@settings(max_examples=60)
@given(rounds=st.lists(st.tuples(TEXT, TEXT), min_size=1), ascii_only=st.booleans())
def test_any_text_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[str, str]], ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    rows = [{"question": prompt, "answer": response} for prompt, response in rounds]
    path.write_bytes("\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode())
    table = load(path)
    assert [example.rounds for example in table.examples] == [(pair,) for pair in rounds]
    assert table.rows == len(rounds)


@needs_shared
def test_real_gsm8k() -> None:
    table = read(SHARED / "data/train/gsm8k_train.jsonl.gz", "gsm8k", max_bad_fraction=0)
    assert (table.rows, len(table.examples), table.dropped) == (7473, 7473, {})


@needs_shared
def test_real_code_alpaca() -> None:
    table = read(SHARED / "data/train/code_alpaca_20k.jsonl.gz", "code_alpaca", max_bad_fraction=0.001)
    assert (table.rows, len(table.examples), table.dropped) == (20022, 20016, {"empty_response": 6})
    with_input = sum("\nInput:\n" in example.rounds[0][0] for example in table.examples)
    assert 0.50 < with_input / len(table.examples) < 0.52


@pytest.mark.parametrize(("before", "between", "behind"), [("", "\n", "\n"), ("[", ",", "]"), ("", "\n\n \n", "")])
def test_a_key_that_stands_twice_is_told(tmp_path: Path, before: str, between: str, behind: str) -> None:
    """Its last value is read, as it ever was; a broken line before leaves nothing behind."""
    rows = [
        '{"question": "a", "answer": "b", "answer": "c"}',
        '{"question": "a", "answer": "b", "x": {"y": 1, "y": 2}}',
    ]
    rows += ['{"question": "a", "answer": "b"}']
    (tmp_path / "a.json").write_text(before + between.join(rows) + behind)
    told = survey(tmp_path / "a.json", Source("s", "", "auto", "", "general", 0), "limit").keys
    use = "named twice, the last value is read"
    assert (told["answer"], told["y"]) == ({"response": 3, use: 1}, {use: 1})
    assert [example.rounds for example in load(tmp_path / "a.json").examples] == [(("a", text),) for text in "cbb"]
    (tmp_path / "b.jsonl").write_text('{"x": 1, "x": 2\n' + "\n".join(rows[2:] * 9))
    assert [row.twice for row in read_rows(tmp_path / "b.jsonl", "s")] == [""] * 10
