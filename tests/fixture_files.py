"""The files of tests/fixtures, read; its README.md says where each comes from."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"
TOKENIZER = FIXTURES / "tokenizer"
ENCODED = FIXTURES / "fastchat_encoded.json"
MAX_LENGTH = 192  # tokens at which ENCODED is cut, so that the longest conversations are


def conversations() -> list[dict[str, Any]]:
    """[{id, conversations: [{from, value}]}]: ShareGPT's layout, in the shapes that FastChat treats differently."""
    rows: list[dict[str, Any]] = json.loads((FIXTURES / "conversations.json").read_text(encoding="utf-8"))
    return rows


@cache
def encoded() -> dict[str, dict[str, Any]]:
    """{id of a conversation: {input_ids, supervised_spans, truncated, reason}}: FastChat's encoding of it."""
    rows: dict[str, dict[str, Any]] = json.loads(ENCODED.read_text(encoding="utf-8"))
    return rows


def oracle_rows() -> list[dict[str, Any]]:
    """The conversations with what FastChat makes of them, in the layout of the large recorded oracle."""
    return [row | encoded()[row["id"]] for row in conversations()]
