"""The restatements of others' programs give what those programs gave, and the golden files are theirs."""

import gzip
import json
from pathlib import Path
from typing import Any

import fixture_files
import goldens
import pytest
import references
from common import SHARED, needs_shared

sentencepiece = pytest.importorskip("sentencepiece")
ORACLES = SHARED / "data" / "oracles"


def processor(folder: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def test_the_encoded_fixture_is_fastchats() -> None:
    spell = processor(fixture_files.TOKENIZER)
    encoded = {
        row["id"]: references.fastchat_encode(spell, row["conversations"], fixture_files.MAX_LENGTH)
        for row in fixture_files.conversations()
    }
    goldens.compare(fixture_files.ENCODED, goldens.entries(encoded))
    reasons = [row["reason"] for row in encoded.values()]
    assert (len(reasons), reasons.count("mismatch"), reasons.count("no_answer_before_cut")) == (41, 11, 1)


@needs_shared
def test_fastchat_recorded_what_the_restatement_gives() -> None:
    spell, rows = processor(SHARED / "data" / "llama_tokenizer"), 0
    with gzip.open(ORACLES / "fastchat_vicuna.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            encoded = references.fastchat_encode(spell, row["conversations"], 2048)
            assert encoded == {key: row[key] for key in encoded}, row["id"]
            rows += 1
    assert rows == 633


@needs_shared
def test_the_recorded_verdicts_are_the_restatements() -> None:
    lines = (ORACLES / "gsm8k_scorer_tricky.jsonl").read_text(encoding="utf-8").splitlines()
    with gzip.open(ORACLES / "gsm8k_scorer.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in (*lines, *file)]
    assert len(rows) == 5976
    for row in rows:
        for rule in (references.screl, references.lm_eval_strict, references.lm_eval_flexible):
            assert rule(row["output"], row["gold"]) == row["verdict"][rule.__name__], (row["id"], rule.__name__)
