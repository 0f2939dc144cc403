"""Words that are remembered give exactly the ids, counts and boundaries of the tokenizer alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sft_sweeps.data import mini
from sft_sweeps.data.encode import split_words
from sft_sweeps.data.encode.split_words import GPT2, SplitEncoder, splitting
from sft_sweeps.data.encode.text_encoder import PlainEncoder
from sft_sweeps.data.encode.token_cache import text_encoder

MINI = json.loads(Path(mini.TOKENIZER).read_text(encoding="utf-8"))
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def with_words(before: dict[str, Any]) -> dict[str, Any]:
    return {**MINI, "pre_tokenizer": before}


def split_by(expression: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTES]}


CONTENTS = [MINI, with_words({**BYTES, "use_regex": True}), with_words(split_by(LLAMA3)), with_words(split_by(GPT2))]


def tokenizer_of(content: dict[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.encode_special_tokens = True
    return tokenizer


PAIRS = [(tokenizer_of(content), text_encoder(tokenizer_of(content))) for content in CONTENTS]
TEXT = st.one_of(
    st.text("ab AB 12 .,'\n\t\r\"é—’ st", max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(
        st.sampled_from(
            [
                "shell",
                " lamp",
                "  ",
                "\n\n",
                "'s",
                "12345",
                " </s>",
                "\x1c",
                "\x85",
                "\u3000",
                "ª",
                "²",
                "'ſ",
                "'S",
                "Ж",
                "漢字",
                "か",
            ]
        ),
        max_size=9,
    ).map("".join),
)


@settings(max_examples=60, deadline=None)
@given(sides=st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_it_is_the_tokenizer_alone(sides: list[tuple[str, str]]) -> None:
    for tokenizer, encoder in PAIRS:
        assert isinstance(encoder, SplitEncoder)
        plain, texts = PlainEncoder(tokenizer), [text for both in sides for text in both]
        assert encoder.counts(texts) == plain.counts(texts)
        expected_ids = [plain.ids(text).tolist() for text in texts]
        assert [encoder.ids(text).tolist() for text in texts] == expected_ids
        assert [[ids.tolist() for ids in one.batch(texts)] for one in (encoder, plain)] == [expected_ids, expected_ids]
        found, expected = encoder.rounds(sides), plain.rounds(sides)
        assert [(ids.tolist(), first) for ids, first in found] == [(ids.tolist(), first) for ids, first in expected]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_words, "REMEMBERED", 10)
    tokenizer = tokenizer_of(MINI)
    encoder = text_encoder(tokenizer)
    assert isinstance(encoder, SplitEncoder)
    for n in range(50):
        text = f"word{'x' * n} and {'y' * 2 * n}"
        assert encoder.ids(text).tolist() == PlainEncoder(tokenizer).ids(text).tolist()
        assert len(encoder) <= 10


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {**BYTES, "add_prefix_space": True, "use_regex": True}},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES],
            }
        },
        {"added_tokens": [{"id": 3, "content": "!", "special": False}]},
    ],
)
def test_a_tokenizer_that_does_more_encodes_by_itself(change: dict[str, Any]) -> None:
    assert not splitting({**MINI, **change})
