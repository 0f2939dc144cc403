"""The tokenizer of the miniature models: lossless, digit by digit, reproducible, loadable."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sft_sweeps.data import mini
from sft_sweeps.models import train_tokenizer


@pytest.fixture(scope="module")
def shipped():
    return Tokenizer.from_file(str(mini.TOKENIZER))


def test_shipped_file_is_what_train_makes():
    made = train_tokenizer.train(mini.texts(), mini.VOCABULARY)
    assert json.loads(made.to_str()) == json.loads(mini.TOKENIZER.read_text(encoding="utf-8"))
    assert made.get_vocab_size() == mini.VOCABULARY


def test_training_is_the_same_in_another_process():
    program = (
        "from sft_sweeps.data import mini; from sft_sweeps.models import train_tokenizer as t; "
        "print(t.train(list(mini.texts())[:500], 400).to_str())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(other) == json.loads(train_tokenizer.train(list(mini.texts())[:500], 400).to_str())


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_round_trip_is_exact(text):
    loaded = Tokenizer.from_file(str(mini.TOKENIZER))
    ids = loaded.encode(text).ids
    assert loaded.decode(ids, skip_special_tokens=False) == text
    assert train_tokenizer.UNKNOWN not in ids or "<unk>" in text


AWKWARD = ("", " ", "  a  b ", "\n\n\t x", "a12 3.5,007", "é日本🙂", " 8 + 5 = 13\n#### 13", "\r\n")


@pytest.mark.parametrize("text", AWKWARD)
def test_round_trip_of_awkward_texts(shipped, text):
    assert shipped.decode(shipped.encode(text).ids) == text


def test_special_tokens_have_the_first_ids(shipped):
    assert [shipped.token_to_id(token) for token in train_tokenizer.SPECIAL_TOKENS] == [0, 1, 2]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["{}", "has {} eggs", "x+{}", "a\n{}"]))
def test_digits_are_tokens_of_their_own(number, frame):
    tokens = Tokenizer.from_file(str(mini.TOKENIZER)).encode(frame.format(number)).tokens
    assert [token for token in tokens if any(c.isdigit() for c in token)] == list(str(number))


def test_words_of_the_miniature_abilities_are_single_tokens(shipped):
    words = [*mini.PEOPLE, *mini.THINGS, *mini.WORDS, *mini.FUNCTIONS, "function", "return"]
    assert [word for word in words if len(shipped.encode(f" {word}").ids) > 1] == []


def test_size_below_the_alphabet_is_refused():
    with pytest.raises(ValueError, match="vocab_size=100"):
        train_tokenizer.train(["a"], 100)


def test_transformers_loads_the_same_ids(shipped, tmp_path):
    transformers = pytest.importorskip("transformers")
    train_tokenizer.save(shipped, tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text in [*list(mini.texts())[::97], *AWKWARD, " USER: <s>"]:
        ids = loaded(text, add_special_tokens=False)["input_ids"]
        assert ids == shipped.encode(text, add_special_tokens=False).ids
        assert loaded(text)["input_ids"] == ids
        assert loaded.decode(ids) == text
    assert (loaded.unk_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 1, 2, 0)
    assert len(loaded) == shipped.get_vocab_size()
