"""FastChat as the oracle: on small conversations of our own, and on the large recorded ones where they are at hand."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import SHARED, needs_shared
from fastchat_oracle import ORACLES, RECORDED, Oracle

from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import read
from sft_sweeps.spec.data import Source


def spans(supervised: Any) -> list[list[int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], supervised, [False]]).astype(int)))
    return [[int(start), int(stop)] for start, stop in edges.reshape(-1, 2)]


@pytest.mark.parametrize("oracle", ORACLES)
def test_ids_and_masks_are_fastchats_where_it_teaches_anything(oracle: Oracle, tmp_path: Path) -> None:
    rows = {row["id"]: row for row in oracle.rows()}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows.values()), encoding="utf-8")
    table = read(path, "oracle", max_bad_fraction=oracle.unreadable, format="sharegpt")
    encoded, dropped = Encoder(oracle.tokenizer, "vicuna_v1.1", oracle.max_length).encode_all(table.examples)
    expected = list(rows.values())
    got = {expected[int(e.id.rpartition("/")[2])]["id"]: e for e in encoded}
    supervised = {row_id for row_id, row in rows.items() if row["reason"] == "ok"}
    same = {
        row_id
        for row_id in supervised & got.keys()
        if got[row_id].input_ids.tolist() == rows[row_id]["input_ids"]
        and spans(got[row_id].supervised) == rows[row_id]["supervised_spans"]
    }
    assert len(supervised) == oracle.supervised
    assert sorted(supervised - same) == sorted(oracle.differs)
    assert dropped == {"no_answer_before_cut": sum(row["reason"] == "no_answer_before_cut" for row in expected)}


def rounds_of(row: dict[str, Any]) -> Example:
    """An oracle row as FastChat's trainer takes it: one leading turn that is not human's is dropped."""
    turns = [turn["value"] for turn in row["conversations"]]
    turns = turns if row["conversations"][0]["from"] == "human" else turns[1:]
    dangling = turns.pop() if len(turns) % 2 else None
    return Example(f"oracle/{row['id']}", tuple(zip(turns[::2], turns[1::2], strict=True)), dangling=dangling)


@pytest.mark.parametrize("oracle", ORACLES)
def test_bug_compatible_is_fastchat_on_every_row(oracle: Oracle) -> None:
    encoder = Encoder(oracle.tokenizer, "vicuna_v1.1", oracle.max_length, bug_compatible=True)
    rows = oracle.rows()
    for row, encoded in zip(rows, encoder.encoded(map(rounds_of, rows)), strict=True):
        assert encoded.input_ids.tolist() == row["input_ids"], row["id"]
        assert spans(encoded.supervised) == row["supervised_spans"], row["id"]
        assert (encoded.reason or "ok", encoded.truncated) == (row["reason"], row["truncated"]), row["id"]
    kept, dropped = encoder.encode_all([rounds_of(row) for row in rows])
    assert (len(kept), dropped) == (len(rows), {})


@needs_shared
@pytest.mark.parametrize(
    ("name", "file", "examples"),
    [
        ("gsm8k", "gsm8k_train", 7473),
        ("code_alpaca", "code_alpaca_20k", 20016),
    ],
)
def test_lengths_of_whole_sources_are_fastchats(name: str, file: str, examples: int) -> None:
    """Of rows as FastChat converts them, without the ones that it masks for an empty answer."""
    source = Source(name, "", "auto", "code", "specialized", 0, bug_compatible=True)
    table = read(SHARED / f"data/train/{file}.jsonl.gz", name, max_bad_fraction=0.01, source=source)
    answered = [example for example in table.examples if example.rounds[0][1]]
    encoded, dropped = Encoder(RECORDED.tokenizer, "vicuna_v1.1", 2048).encode_all(answered)
    assert (len(encoded), dropped) == (examples, {})
    rows = [int(e.id.rpartition("/")[2]) for e in encoded]
    for kind, ours in (
        ("cut2048", [len(e.input_ids) for e in encoded]),
        ("supervised", [int(e.supervised.sum()) for e in encoded]),
    ):
        with gzip.open(SHARED / f"data/oracles/lengths_{name}_{kind}.npy.gz") as stored:
            assert np.load(stored)[rows].tolist() == ours
