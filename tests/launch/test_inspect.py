"""`action=inspect`: what scripts read from it, and what it shows."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from common import SHARED, Launch, needs_shared
from fastchat_oracle import ORACLES, Oracle
from rich.console import Console

from sft_sweeps.data import mini
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.example import Example
from sft_sweeps.launch import inspect
from sft_sweeps.models import train_tokenizer

LLAMA = f"model.tokenizer={SHARED}/data/llama_tokenizer"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(texts)]


ROWS: list[Any] = [
    {"id": "good", "conversations": chat("q", "a", "r", "b")},
    {"id": 7, "conversations": chat("q")},
    {"id": "empty", "conversations": chat("q", "")},
    {"id": "long", "conversations": chat("word " * 3000, "a")},
    '{"id": "broken", "conversations": [',
    {"id": "wrong", "conversations": [*chat("q", "a"), {"from": "tool", "value": "x"}]},
]


def test_one_row_comes_out_for_each_that_goes_in(launch: Launch, tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", ROWS)
    line = ("action=inspect", "model=mini", "data=mini", f"inspect.input={path}", "inspect.output=out.jsonl")
    done = launch(*line)
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == ["good", 7, "empty", "long", 4, "wrong"]
    reasons = [row.get("dropped") for row in found]
    assert reasons == [None, "no_round", "no_round", "no_answer_before_cut", "broken_json", "tool_turn"]
    assert all(set(row) == {"source", "id", "dropped"} for row in found if "dropped" in row)
    good = found[0]
    assert good["source"] == "in"
    assert good["input_ids"][0] == train_tokenizer.START
    assert good["input_ids"].count(train_tokenizer.END) == 2
    assert [good["input_ids"][position] for position in good["supervised"]].count(train_tokenizer.END) == 2
    assert "1 rows encoded, 5 dropped" in done.stdout

    done = launch(*line, "data.bug_compatible=true")
    found = lines(tmp_path / "out.jsonl")
    reasons = [row.get("dropped", row.get("masked")) for row in found]
    assert reasons == [None, "mismatch", "mismatch", "no_answer_before_cut", "broken_json", "unknown_role"]
    assert [row["supervised"] for row in found[1:4]] == [[], [], []]
    assert all(row["input_ids"] for row in found[:4])


def test_sources_with_statistics(launch: Launch, tmp_path: Path) -> None:
    line = ("action=inspect", "model=mini", "data=mini", "inspect.limit=2", "inspect.output=out.jsonl")
    done = launch(*line)
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "out.jsonl")
    assert [row["source"] for row in found] == ["mini_code"] * 2 + ["mini_math"] * 2 + ["mini_general"] * 2
    for row in found:
        assert row["id"].startswith(row["source"] + "/")
        assert set(row["supervised"]) < set(range(len(row["input_ids"])))
    assert "800" in done.stdout
    assert "⟦" in done.stdout
    assert launch(*line, "inspect.limit=0").stdout.count("⟦") == 0
    assert lines(tmp_path / "out.jsonl") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("data=math",), "its tokenizer is not at"),
        (("data=math", "model=mini"), "source gsm8k_rft is not at .*action=prepare"),
        (("data=mini", "model=mini", "inspect.input=nowhere.jsonl"), "there is no file nowhere.jsonl"),
        (("data=mini", "model=mini", "inspect.output=no/where"), "inspect.output=no/where cannot be written"),
        (("data=mini", "model=mini", "inspect.limit=-1"), "inspect.limit=-1"),
        (("data=mini", "model=mini", "train.template=chat_template"), "has no chat_template"),
        (("data=mini", "model=mini", "data.bug_compatible=true", "train.template=alpaca"), "data.bug_compatible=true"),
    ],
)
def test_what_cannot_be_inspected(launch: Launch, line: tuple[str, ...], said: str) -> None:
    import re

    done = launch("action=inspect", *line)
    assert done.returncode == 2
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr


def test_marked_text_is_the_whole_text(tmp_path: Path) -> None:
    train_tokenizer.copy(mini.TOKENIZER, tmp_path)
    encoder = Encoder(tmp_path, "vicuna_bare", 99)
    encoded = encoder.encode(Example("s/0", (("two words", "é\U0001f600"), ("r", " b "))))
    assert encoded is not None
    assert list(inspect.marked(encoded, encoder)) == [
        ("<s>USER: two words ASSISTANT:", False),
        (" é\U0001f600</s>", True),
        ("USER: r ASSISTANT:", False),
        ("  b </s>", True),
    ]


@pytest.mark.parametrize("faithful", [True, False])
@pytest.mark.parametrize("oracle", ORACLES)
def test_the_oracle_through_the_command(oracle: Oracle, faithful: bool, launch: Launch, tmp_path: Path) -> None:
    rows = oracle.rows()
    path = write(tmp_path / "rows.jsonl", [{key: row[key] for key in ("id", "conversations")} for row in rows])
    options = [f"model.tokenizer={oracle.tokenizer}", f"train.max_length={oracle.max_length}"]
    options += ["data.bug_compatible=true"] if faithful else []
    done = launch("action=inspect", "data=math", f"inspect.input={path}", "inspect.output=out.jsonl", *options)
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    same = 0
    for got, row in zip(found, rows, strict=True):
        supervised = [n for start, stop in row["supervised_spans"] for n in range(start, stop)]
        same += (got.get("input_ids"), got.get("supervised")) == (row["input_ids"], supervised)
    # Without FastChat's faults: all but its masked rows, a typed "<s>", and a prompt that ends in "ASSISTANT:".
    assert same == (len(rows) if faithful else oracle.supervised - len(oracle.differs))


@needs_shared
def test_real_code_alpaca(launch: Launch) -> None:
    path = SHARED / "data/train/code_alpaca_20k.jsonl.gz"
    done = launch(
        *("action=inspect", "data=code", LLAMA, f"data.sources.code.path={path}", "inspect.limit=1"),
        f"inspect.benchmarks={SHARED}/data/benchmarks",
    )
    assert done.returncode == 0, done.stderr
    for text in ("20,022", "20,016", "2,734,483", "1,375,037", "6 empty_response", "0 of the 164 items of humaneval"):
        assert text in done.stdout


def test_everything_is_shown_without_a_terminal(tmp_path: Path) -> None:
    train_tokenizer.copy(mini.TOKENIZER, tmp_path)
    encoder = Encoder(tmp_path, "vicuna_bare", 9999)
    encoded = encoder.encode(Example("s/0", (("[red]q[/]", "a" * 2900),)))
    assert encoded is not None
    out = io.StringIO()
    inspect._show(encoded, "s/0", encoder, Console(file=out, width=80))
    assert "[red]q[/]" in out.getvalue()
    assert "a" * 2900 in out.getvalue()
