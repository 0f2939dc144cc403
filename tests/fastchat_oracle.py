"""What FastChat makes of conversations: of small ones of our own, and of the large recorded ones of ../shared."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fixture_files
import pytest
from common import SHARED, needs_shared


@dataclass(frozen=True)
class Oracle:
    """Rows {id, conversations, input_ids, supervised_spans, truncated, reason} with one tokenizer and length."""

    tokenizer: Path
    max_length: int
    rows: Callable[[], list[dict[str, Any]]]
    supervised: int  # rows of which FastChat teaches anything
    differs: tuple[str, ...]  # rows that only FastChat's faults give these ids or this mask
    unreadable: float  # share of rows without a first question and answer


def _recorded() -> list[dict[str, Any]]:
    with gzip.open(SHARED / "data/oracles/fastchat_vicuna.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# FastChat parses a typed "<s>" as the token; and it puts the boundary of a prompt that ends in "ASSISTANT:" too early.
_MADE_DIFFERS = ("begin_token_in_text", "separator_ends_question")
_RECORDED_DIFFERS = ("awkward_bos_text_1", "awkward_sep_text_no_trailing_space_1")
MADE = Oracle(fixture_files.TOKENIZER, fixture_files.MAX_LENGTH, fixture_files.oracle_rows, 29, _MADE_DIFFERS, 0.15)
RECORDED = Oracle(SHARED / "data/llama_tokenizer", 2048, _recorded, 618, _RECORDED_DIFFERS, 0.01)
ORACLES = [pytest.param(MADE, id="made"), pytest.param(RECORDED, id="recorded", marks=needs_shared)]
