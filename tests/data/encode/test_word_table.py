"""The table of words: what a dictionary would find; and texts through it, which are what the tokenizer gives."""

import gzip
import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import ROOT, SHARED, needs_shared
from fixture_files import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st
from made_tokenizers import TEXT, encoders
from tokenizers import Tokenizer

from sft_sweeps.data.encode import token_cache, word_table
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.encode.text_encoder import PlainEncoder
from sft_sweeps.data.encode.token_cache import TokenCache
from sft_sweeps.data.encode.word_table import WIDTH, WordTable, lanes

PIECES = [" ", "  ", "\n", "a", "US", "</s>", "\u00e9", "\U0001f600", "7", "word" * 6, "x" * 40, "\u2581", "\0"]
TEXTS = st.lists(st.sampled_from(PIECES) | TEXT, max_size=12).map("".join)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few and short texts go through the table too."""
    with monkeypatch.context() as patch:
        patch.setattr(token_cache, "WORTH_TABLE", 0)
        yield


def keys(words: list[bytes]) -> word_table.Lanes:
    buffer = b"".join(words)
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    return lanes(buffer, np.cumsum(lengths) - lengths, lengths)


def ids_of(word: bytes) -> bytes:
    """Made-up ids of a word, as bytes of int32."""
    return np.frombuffer(word, dtype=np.uint8).astype(np.int32).tobytes()


@pytest.mark.parametrize("slots", [256, 1 << 21])
def test_the_table_finds_what_was_put_in_and_nothing_else(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of every length that begin alike; in few slots nearly every one collides with another."""
    monkeypatch.setattr(word_table, "SLOTS", slots)
    words = [b"ab" * n + end for n in range(12) for end in (b"", b"a", b"c", b" ", "\u00e9".encode()) if n or end]
    words = [word for word in dict.fromkeys(words) if len(word) <= WIDTH]
    made, first, later = WordTable(), words[::2], words[1::2]
    made.add(keys(first), [ids_of(word) for word in first])
    assert np.count_nonzero(made.find(keys(later))) == 0
    made.add(keys(later), [ids_of(word) for word in later])
    for some in (words, words[::-1], words[::3] * 2):
        found = made.find(keys(some))
        assert found.all()
        ids, ends = made.ids(found, np.zeros(0, dtype=np.int64), [])
        assert ids.tobytes() == b"".join(map(ids_of, some))
        assert ends.tolist() == np.cumsum([len(word) for word in some]).tolist()


def test_words_that_are_not_in_the_table_lie_between_those_that_are() -> None:
    made = WordTable()
    made.add(keys([b"a", b"b"]), [ids_of(b"xy"), ids_of(b"z")])
    entries = np.array([1, 0, 2, 0, 1], dtype=np.int32)
    for _ in range(2):  # what was given once leaves no trace
        ids, ends = made.ids(entries, np.array([1, 3]), [ids_of(b"long"), ids_of(b"")])
        assert ids.tobytes() == ids_of(b"xylongzxy")
        assert ends.tolist() == [2, 6, 7, 7, 9]


def expected(tokenizer: Tokenizer, sides: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    return [(ids.tolist(), first) for ids, first in PlainEncoder(tokenizer).rounds(sides)]


def rounds(words: TokenCache, sides: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    return [(ids.tolist(), first) for ids, first in words.rounds(sides)]


@pytest.mark.parametrize("made", ["prepend", "metaspace", "metaspace_5_24"])
@given(sides=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_rounds_are_encoded_as_the_tokenizer_does(made: str, sides: list[tuple[str, str]]) -> None:
    tokenizer, words = encoders(made)
    assert rounds(words, sides) == expected(tokenizer, sides)
    assert rounds(words, sides) == expected(tokenizer, sides)  # now remembered
    texts = [text for both in sides for text in both]
    assert [ids.tolist() for ids in words.batch(texts)] == [
        PlainEncoder(tokenizer).ids(text).tolist() for text in texts
    ]
    assert (
        words.counts(texts)
        == [len(PlainEncoder(tokenizer).ids(text)) for text in texts]
        == PlainEncoder(tokenizer).counts(texts)
    )


@pytest.mark.parametrize("entries", [1, 7])
def test_a_full_table_forgets_and_changes_nothing(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one batch alone has more words than it holds."""
    monkeypatch.setattr(word_table, "ENTRIES", entries)
    tokenizer, known = encoders("prepend")
    words = TokenCache(tokenizer, json.loads(known._plain._tokenizer.to_str()))
    for size in (3, 11, 2, 40):
        sides = [(f"q{n} of {n % 5}", f" is\n{n * size} x") for n in range(size)]
        assert rounds(words, sides) == expected(tokenizer, sides)


def check_spelling(folder: Path, texts: list[str]) -> None:
    """Each text with the next behind a separator, many at once."""
    words: Any = Encoder(folder, "vicuna_v1.1", 2048)._text_encoder
    assert isinstance(words, TokenCache)
    separators = cycle((" ", "\n", "  "))
    sides = [(one, next(separators) + other) for one, other in zip(texts[::2], texts[1::2], strict=False)]
    assert len(sides) > 500
    for start in range(0, len(sides), 500):
        some = sides[start : start + 500]
        assert rounds(words, some) == expected(words._plain._tokenizer, some)


def test_code_and_prose_are_spelt_as_the_tokenizer_does() -> None:
    """This project's own files: indentation, long words, German names, tables."""
    files = [*sorted((ROOT / "sft_sweeps").rglob("*.py")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "LICENSE"]
    chunks = [chunk for path in files for chunk in path.read_text(encoding="utf-8").split("\n\n")]
    check_spelling(TOKENIZER, [chunk for chunk in chunks if chunk])


@needs_shared
def test_real_text_is_spelt_as_llamas_tokenizer_does() -> None:
    with gzip.open(SHARED / "data" / "train" / "code_alpaca_20k.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(3000), strict=False)]
    texts = [text for row in rows for text in (row["instruction"] + row["input"], row["output"])]
    check_spelling(SHARED / "data" / "llama_tokenizer", texts)
