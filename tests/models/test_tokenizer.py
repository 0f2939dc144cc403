"""A tokenizer.model alone is converted as SentencePiece means it, and a wrong conversion is refused."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from common import SHARED, needs_shared
from fixture_files import TOKENIZER
from tokenizers import Tokenizer

from sft_sweeps.data import mini
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models.pins import tokenizer_pin
from sft_sweeps.models.train_tokenizer import copy

LLAMA = SHARED / "data" / "llama_tokenizer"
sentencepiece = pytest.importorskip("sentencepiece")


def model(folder: Path, **options: object) -> Path:
    """A small SentencePiece model, trained here."""
    corpus = folder / "corpus.txt"
    lines = [f"def f(x): return x + {n}  # a word, {n} times\n    indented   text\n" for n in range(300)]
    corpus.write_text("".join(lines))
    kind = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True}
    kind |= {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True, "vocab_size": 420}
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "tokenizer"),
        minloglevel=2,
        hard_vocab_limit=False,
        **kind | options,
    )
    corpus.unlink()
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("bare"))


@pytest.mark.parametrize("spaces", ["as trained", "last, as LLaMA's"])
def test_ids_are_sentencepieces(bare: Path, spaces: str) -> None:
    folder = bare if spaces == "as trained" else TOKENIZER
    tokenizer = Tokenizer.from_str(vocabulary.text(folder))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    texts = [*vocabulary.PROBES, "  two", "\n\n  x", "a     b", "é\U0001f600", "<s> </s>"]
    assert [tokenizer.encode(t, add_special_tokens=False).ids for t in texts[:-1]] == processor.encode(texts[:-1])
    assert len({i for t in texts for i in tokenizer.encode(t).ids}) > 40


def test_a_bare_model_has_its_own_special_tokens_and_an_identity(bare: Path) -> None:
    assert vocabulary.settings(bare) == {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    encoder = Encoder(bare, "vicuna_bare", 99)
    assert (encoder.bos_id, encoder.eos_id) == (1, 2)
    identity, size = tokenizer_pin(str(bare))
    assert identity.startswith("tokenizer:")
    assert size == len(vocabulary.content(bare)["model"]["vocab"])


def test_what_is_handed_on_is_converted(bare: Path, tmp_path: Path) -> None:
    copy(bare, tmp_path)
    assert {"tokenizer.json", "tokenizer_config.json"} <= {path.name for path in tmp_path.iterdir()}
    assert tokenizer_pin(str(tmp_path)) == tokenizer_pin(str(bare))
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    text = "USER: def f(x):\n    return   x ASSISTANT:"
    ours = Tokenizer.from_str(vocabulary.text(bare)).encode(text, add_special_tokens=False).ids
    assert loaded(text, add_special_tokens=False)["input_ids"] == ours


def test_a_tokenizer_beside_its_model_must_agree_with_it(bare: Path, tmp_path: Path) -> None:
    shutil.copyfile(bare / "tokenizer.model", tmp_path / "tokenizer.model")
    content = vocabulary.content(bare)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    Encoder(tmp_path, "vicuna_bare", 9)
    content["model"] = {**content["model"], "merges": content["model"]["merges"][::-1]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(RequestError, match=r"other ids than SentencePiece.*keep the tokenizer\.model"):
        Encoder(tmp_path, "vicuna_bare", 9)


@pytest.mark.parametrize("options", [{"model_type": "unigram"}, {"normalization_rule_name": "nfkc_cf"}])
def test_another_kind_of_model_is_refused_and_not_guessed(tmp_path: Path, options: dict[str, object]) -> None:
    model(tmp_path, **options)
    with pytest.raises(RequestError, match="cannot be converted here"):
        Encoder(tmp_path, "vicuna_bare", 9)
    assert tokenizer_pin(str(tmp_path))[0].startswith("provisional:")


@needs_shared
def test_llamas_conversion_is_the_published_one(tmp_path: Path) -> None:
    shutil.copyfile(LLAMA / "tokenizer.model", tmp_path / "tokenizer.model")
    assert vocabulary.content(tmp_path) == json.loads((LLAMA / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer_pin(str(tmp_path)) == tokenizer_pin(str(LLAMA))


def ordered_by_id(content: dict[str, Any], folder: Path) -> None:
    """The tokenizer.json that transformers 5.23 makes: merges by the id of what they make, and not by its score."""
    ids = content["model"]["vocab"]
    merges = sorted(content["model"]["merges"], key=lambda merge: ids[merge.replace(" ", "")])
    assert merges != content["model"]["merges"]
    made = {**content, "model": {**content["model"], "merges": merges}}
    (folder / "tokenizer.json").write_text(json.dumps(made))


def test_merges_by_id_are_refused_beside_their_model(tmp_path: Path) -> None:
    ordered_by_id(vocabulary.content(TOKENIZER), tmp_path)
    shutil.copyfile(TOKENIZER / "tokenizer.model", tmp_path / "tokenizer.model")
    with pytest.raises(RequestError, match="other ids than SentencePiece"):
        Encoder(tmp_path, "vicuna_v1.1", 2048)


@needs_shared
@pytest.mark.parametrize("with_model", [True, False])
def test_the_conversion_of_transformers_5_is_refused(tmp_path: Path, with_model: bool) -> None:
    ordered_by_id(json.loads((LLAMA / "tokenizer.json").read_text(encoding="utf-8")), tmp_path)
    shutil.copyfile(LLAMA / "tokenizer_config.json", tmp_path / "tokenizer_config.json")
    if with_model:
        shutil.copyfile(LLAMA / "tokenizer.model", tmp_path / "tokenizer.model")
    with pytest.raises(RequestError, match="other ids than SentencePiece"):
        Encoder(tmp_path, "vicuna_v1.1", 2048)


TIKTOKEN = "".join(f"{base64.b64encode(bytes([rank])).decode()} {rank}\n" for rank in range(256))


def test_a_model_of_tiktoken_is_left_alone_beside_a_tokenizer_json(tmp_path: Path) -> None:
    """Llama 3 is published with both."""
    copy(mini.TOKENIZER, tmp_path)
    before = Encoder(tmp_path, "vicuna_bare", 60).prompt_ids((), "2 + 2?")
    (tmp_path / "tokenizer.model").write_text(TIKTOKEN)
    assert Encoder(tmp_path, "vicuna_bare", 60).prompt_ids((), "2 + 2?") == before
    assert vocabulary.settings(tmp_path)["eos_token"]


def test_a_model_of_tiktoken_alone_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_text(TIKTOKEN)
    for read in (vocabulary.content, vocabulary.settings, vocabulary.complete):
        with pytest.raises(RequestError, match=r"tiktoken \(Llama 3's kind\).*Put the tokenizer\.json"):
            read(tmp_path)
