"""Encoding: what is given and what is learnt, for tokenizers of both families."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokenizers import TEXT, encoders, llama_like
from tokenizers import Tokenizer, models, normalizers, processors

from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.encode.text_encoder import PlainEncoder
from sft_sweeps.data.encode.token_cache import TokenCache, text_encoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.template import segments
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models import train_tokenizer as bpe

CORPUS = ["USER: Tom has 3 apples. ASSISTANT: 3 and 4 is 7.", "USER: def f(x): ASSISTANT: \n    return x\n"] * 20
ROUNDS = (("What is 2 + 2?", "4 apples"), ("And </s> now?", "\n  the end</s> "), ("?", "x"))
# U+2581 is how a SentencePiece vocabulary writes a space: it alone cannot come back from one.
ROUND_LISTS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4).map(tuple)


def byte_level() -> Tokenizer:
    made = bpe.train(CORPUS, 400)
    made.post_processor = processors.ByteLevel(trim_offsets=True)  # as GPT-2's: a space is in no token's offsets
    return made


MADE: dict[str, Callable[[], Tokenizer]] = {"byte_level": byte_level, "llama_like": llama_like}


@pytest.fixture(scope="module", params=list(MADE))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    bpe.save(MADE[request.param](), path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder(folder, "vicuna_bare", 10_000)


def encode(encoder: Encoder, rounds: tuple[tuple[str, str], ...]) -> Encoded:
    encoded = encoder.encode(Example("s/0", rounds))
    assert encoded is not None
    return encoded


def spans(supervised: Any) -> list[list[int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], supervised, [False]]).astype(int)))
    return [[int(start), int(stop)] for start, stop in edges.reshape(-1, 2)]


@settings(max_examples=150, deadline=None)
@given(rounds=ROUND_LISTS)
def test_round_trip(encoder: Encoder, rounds: tuple[tuple[str, str], ...]) -> None:
    encoded = encode(encoder, rounds)
    ids = encoded.input_ids.tolist()
    learnt = spans(encoded.supervised)
    assert len(learnt) == len(rounds)
    assert [encoder.decode(ids[start:stop]) for start, stop in learnt] == [response for _, response in rounds]
    assert all(ids[stop - 1] == encoder.eos_id for _, stop in learnt)
    assert ids.count(encoder.eos_id) == len(rounds)
    assert [ids[0], ids.count(encoder.bos_id)] == [encoder.bos_id, 1]


@settings(max_examples=150, deadline=None)
@given(rounds=ROUND_LISTS)
def test_generation_is_given_what_training_gives(encoder: Encoder, rounds: tuple[tuple[str, str], ...]) -> None:
    encoded = encode(encoder, rounds)
    starts = [start for start, _ in spans(encoded.supervised)]
    assert len(starts) == len(rounds)
    for place, start in enumerate(starts):
        assert encoder.prompt_ids(rounds[:place], rounds[place][0]) == encoded.input_ids[:start].tolist()


def test_a_token_over_the_boundary_is_cut_there(tmp_path: Path) -> None:
    bpe.save(byte_level(), tmp_path)
    encoder = Encoder(tmp_path, "vicuna_bare", 100)
    plain = bpe.train(CORPUS, 400)
    joined = plain.encode("USER: q ASSISTANT: 7").offsets
    assert any(start < len("USER: q ASSISTANT:") < end for start, end in joined), "this tokenizer no longer joins them"
    encoded = encode(encoder, (("q", "7"),))
    assert encoder.prompt_ids((), "q") == encoded.input_ids[: spans(encoded.supervised)[0][0]].tolist()
    assert [plain.id_to_token(token) for token in encoded.input_ids[encoded.supervised]] == ["\u0120", "7", "</s>"]


def test_ids_are_those_of_the_segments(folder: Path, encoder: Encoder) -> None:
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.no_truncation()
    plain.no_padding()
    rounds = (("Tom has", "a b"), ("def f", "\n    return"))
    expected = [1]
    for given_text, learnt in segments("vicuna_bare", rounds):
        expected += [*plain.encode(given_text + learnt, add_special_tokens=False).ids, 2]
    assert encode(encoder, rounds).input_ids.tolist() == expected
    assert encode(encoder, rounds).input_ids.dtype == np.int32


def test_decode_stops_at_eos_and_takes_one_space(encoder: Encoder) -> None:
    ids = encode(encoder, (("q", "  two"),)).input_ids
    answer = ids[len(encoder.prompt_ids((), "q")) :].tolist()
    assert answer[-1] == encoder.eos_id
    for tail in ([], [encoder.eos_id], [0, 0], answer):
        assert encoder.decode(answer + tail) == "  two"
    assert encoder.decode([]) == encoder.decode([encoder.eos_id, *answer]) == ""


def test_cut_keeps_what_stands_before(folder: Path, encoder: Encoder) -> None:
    whole = encode(encoder, ROUNDS)
    lengths = range(1, len(whole.input_ids) + 2)
    for length in lengths:
        encoded = Encoder(folder, "vicuna_bare", length).encode(Example("s/0", ROUNDS))
        if not whole.supervised[:length].any():
            assert encoded is None
        else:
            assert encoded is not None
            assert encoded.input_ids.tolist() == whole.input_ids[:length].tolist()
            assert encoded.supervised.tolist() == whole.supervised[:length].tolist()
    assert spans(whole.supervised)[0][0] in lengths


@settings(max_examples=12, deadline=None)
@given(many=st.lists(ROUND_LISTS, min_size=1, max_size=4), cut=st.integers(1, 60))
def test_rounds_behind_the_cut_need_no_encoding(folder: Path, many: list[Any], cut: int) -> None:
    examples = [Example(f"s/{n}", rounds) for n, rounds in enumerate(many)]
    short, whole = (list(Encoder(folder, "vicuna_bare", length).encoded(examples)) for length in (cut, 100_000))
    for one, other in zip(short, whole, strict=True):
        assert one.input_ids.tolist() == other.input_ids[:cut].tolist()
        assert one.supervised.tolist() == other.supervised[:cut].tolist()
        assert one.truncated == (len(other.input_ids) > cut)
        assert sum(one.turns) == sum(other.turns)


def test_all_at_once_is_each_alone(folder: Path) -> None:
    encoder = Encoder(folder, "vicuna_bare", 40)
    examples = [Example(f"a/b/{n}", (("q" * (n % 50), f"{n}"), ("r", "s" * (n % 7)))) for n in range(600)]
    kept, dropped = encoder.encode_all(examples)
    alone = [encoded for example in examples if (encoded := encoder.encode(example)) is not None]
    assert [(e.id, e.input_ids.tolist(), e.supervised.tolist()) for e in kept] == [
        (e.id, e.input_ids.tolist(), e.supervised.tolist()) for e in alone
    ]
    assert {encoded.source for encoded in kept} == {"a/b"}
    assert dropped == {"no_answer_before_cut": 600 - len(kept)}
    assert 0 < len(kept) < 600
    assert encoder.encode_all(examples[:1])[1] == {}
    assert encoder.encode_all([]) == ([], {})


def broken(path: Path, made: Tokenizer | None = None, **config: Any) -> Path:
    bpe.save(made or bpe.train(CORPUS, 300), path)
    old = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**old, **config}))
    return path


def test_tokens_may_be_written_as_objects(tmp_path: Path) -> None:
    assert Encoder(broken(tmp_path, bos_token={"content": "<s>"}), "vicuna_bare", 9).bos_id == 1


@pytest.mark.parametrize("key", ["bos_token", "eos_token"])
def test_missing_or_unknown_token_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(RequestError, match=f"has no {key}") if key == "eos_token" else nullcontext():
        encoder = Encoder(broken(tmp_path, **{key: None}), "vicuna_bare", 99)
        first = next(encoder.encoded([Example("t/0", (("a", "b"),))]))
        assert encoder.bos_id is None  # as Qwen's
        assert encoder.text(first.input_ids.tolist()).startswith("USER: a")
    with pytest.raises(RequestError, match=rf"{key} '<nope>' .* not in the vocabulary"):
        Encoder(broken(tmp_path, **{key: "<nope>"}), "vicuna_bare", 9)
    with pytest.raises(RequestError, match=f"{key} 'e' .* inside plain text"):
        Encoder(broken(tmp_path, **{key: "e"}), "vicuna_bare", 9)


def test_the_end_is_learnt_where_it_is_the_padding_too(tmp_path: Path) -> None:
    """As many tokenizers have it: GPT-2's, Qwen's, SmolLM's."""
    example = Example("t/0", (("a", "b"), ("c", "d e")))
    for pad in ("<unk>", "</s>"):
        encoder = Encoder(broken(tmp_path, pad_token=pad), "vicuna_bare", 99)
        one = next(encoder.encoded([example]))
        ends = [n for n, token in enumerate(one.input_ids) if token == encoder.eos_id]
        assert len(ends) == 2
        assert one.supervised[ends].all()


def test_a_tokenizer_that_cannot_encode_a_template_is_refused(tmp_path: Path) -> None:
    empty = Tokenizer(models.BPE())
    empty.add_special_tokens(["<unk>", "<s>", "</s>"])
    lower = byte_level()
    lower.normalizer = normalizers.Lowercase()
    for name, made in (("empty", empty), ("lower", lower)):
        with pytest.raises(RequestError, match="cannot encode 'USER"):
            Encoder(broken(tmp_path / name, made), "vicuna_bare", 9)


def test_unusable_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no tokenizer\.json .*model\.tokenizer=FOLDER"):
        Encoder(tmp_path, "vicuna_bare", 9)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(RequestError, match=r"tokenizer\.model is no SentencePiece model"):
        Encoder(tmp_path, "vicuna_bare", 9)
    (tmp_path / "tokenizer.model").unlink()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RequestError, match="cannot be loaded"):
        Encoder(tmp_path, "vicuna_bare", 9)
    bpe.save(bpe.train(CORPUS, 300), tmp_path)
    for text in ("[]", "{"):
        (tmp_path / "tokenizer_config.json").write_text(text)
        with pytest.raises(RequestError, match="names bos_token and eos_token"):
            Encoder(tmp_path, "vicuna_bare", 9)
    with pytest.raises(RequestError, match=r"vicuna_v1\.1, vicuna_bare"):
        Encoder(broken(tmp_path), "llama3", 9)


@pytest.mark.parametrize("made", ["prepend", "metaspace", "metaspace_5_24"])
@settings(max_examples=150, deadline=None)
@given(text=TEXT, again=TEXT)
def test_remembered_words_are_encoded_as_the_tokenizer_does(made: str, text: str, again: str) -> None:
    tokenizer, words = encoders(made)
    plain = PlainEncoder(tokenizer)
    for one in (text, again, f"{text} {again}", f"{text}\n{again}", f"  {text}"):
        assert words.ids(one).tolist() == plain.ids(one).tolist()
    sides = [(f"USER: {text} ASSISTANT:", f" {again}"), ("a:", again), (text, again)]
    for (ids, first), (other, place) in zip(words.rounds(sides), plain.rounds(sides), strict=True):
        assert (ids.tolist(), first) == (other.tolist(), place)


def test_a_vocabulary_with_a_piece_over_a_cut_is_left_to_the_tokenizer() -> None:
    for piece in ("a\u2581", "a\u2581b", "\nx", "\n\n"):
        content = json.loads(llama_like().to_str())
        content["model"]["vocab"][piece] = len(content["model"]["vocab"])
        assert isinstance(text_encoder(Tokenizer.from_str(json.dumps(content))), PlainEncoder)
    assert not isinstance(text_encoder(byte_level()), TokenCache)


def test_forgetting_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, words = encoders("prepend")
    monkeypatch.setattr("sft_sweeps.data.encode.token_cache.REMEMBERED", 3)
    text = " ".join(f"w{n}" for n in range(50))
    assert words.ids(text).tolist() == PlainEncoder(tokenizer).ids(text).tolist()
    assert len(words.rounds([(f"{text}:", f" {text}")])[0][0]) > 300
    assert len(words) <= 3


CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


ROLES = ("user", "assistant")
TRIMMED = "message['content'] | trim if message['role'] == 'system' else message['content']"
INSTRUCTION = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<' + messages[0]['content'] + '>>' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST]' + (system if loop.first else '') + message['content'] + '[/INST]' }}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
)


def chatml(folder: Path, template: str = CHATML) -> Path:
    made = bpe.train(CORPUS, 400)
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    bpe.save(made, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chatml(tmp_path_factory.mktemp("chatml"))


@settings(max_examples=40, deadline=None)
@given(rounds=ROUND_LISTS)
def test_chat_template_is_what_transformers_writes(chat_folder: Path, rounds: tuple[tuple[str, str], ...]) -> None:
    loaded = transformers_tokenizer(chat_folder)
    encoder = Encoder(chat_folder, "chat_template", 10_000)
    encoded = encode(encoder, rounds)
    ids = encoded.input_ids.tolist()
    messages = [
        {"role": role, "content": text}
        for both in rounds
        for role, text in zip(("user", "assistant"), both, strict=True)
    ]
    sound = not any(token in text for both in rounds for text in both for token in ("<s>", "</s>", "<unk>", "<|"))
    if sound:
        whole = loaded.apply_chat_template(messages, tokenize=True, return_dict=False)
        assert whole[: len(ids)] == ids
        assert loaded.decode(whole[len(ids) :]) == "\n"
    learnt = spans(encoded.supervised)
    assert [encoder.decode(ids[start:stop]) for start, stop in learnt] == [response for _, response in rounds]
    assert all(ids[stop - 1] == encoder.eos_id for _, stop in learnt)
    assert ids.count(encoder.eos_id) == 2 * len(rounds) + 1  # a "<|im_end|>" that a user typed is text
    for place, (start, _) in enumerate(learnt):
        assert encoder.prompt_ids(rounds[:place], rounds[place][0]) == ids[:start]


@settings(max_examples=20, deadline=None)
@given(conversations=st.lists(ROUND_LISTS, min_size=1, max_size=5))
def test_many_conversations_at_once_are_each_as_alone(
    chat_folder: Path, conversations: list[tuple[tuple[str, str], ...]]
) -> None:
    """So many that words are looked up in the table, and so few that they are not."""
    encoder = Encoder(chat_folder, "chat_template", 10_000)
    many = conversations * 60
    examples = [Example(f"chat/{n}", rounds) for n, rounds in enumerate(many)]
    alone = [next(iter(encoder.encoded([example]))) for example in examples]
    for one, together in zip(alone, encoder.encoded(examples), strict=True):
        assert (one.id, one.input_ids.tolist()) == (together.id, together.input_ids.tolist())
        assert one.supervised.tolist() == together.supervised.tolist()


@settings(max_examples=25, deadline=None)
@given(rounds=ROUND_LISTS, system=st.text("ab \n.", min_size=1))
def test_a_system_text_stands_where_the_chat_template_has_it(
    chat_folder: Path, rounds: tuple[tuple[str, str], ...], system: str
) -> None:
    encoder = Encoder(chat_folder, "chat_template", 10_000)
    (encoded,) = encoder.encoded([Example("s/0", rounds, system=system, system_turns=1)])
    ids = encoded.input_ids.tolist()
    messages = [{"role": "system", "content": system}]
    messages += [{"role": role, "content": text} for both in rounds for role, text in zip(ROLES, both, strict=True)]
    if not any(token in text for both in rounds for text in both for token in ("<s>", "</s>", "<unk>", "<|")):
        loaded = transformers_tokenizer(chat_folder)
        assert loaded.apply_chat_template(messages, tokenize=True, return_dict=False)[: len(ids)] == ids
    learnt = [encoder.decode(ids[start:stop]) for start, stop in spans(encoded.supervised)]
    assert learnt == [response for _, response in rounds]
    assert encoded.turns == (len(rounds), len(rounds) + 1, 0)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        (CHATML, "system\n  Be terse. <|im_end|>"),
        (CHATML.replace("+ message['content'] +", f"+ ({TRIMMED}) +"), "system\nBe terse.<|im_end|>"),
        ("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML, ""),
        (INSTRUCTION, "[INST]<<  Be terse. >>q[/INST]"),
    ],
)
def test_whether_a_chat_template_takes_a_system_text_is_tried(tmp_path: Path, template: str, written: str) -> None:
    encoder = Encoder(chatml(tmp_path, template), "chat_template", 10_000)
    assert encoder.takes_system == bool(written)
    if written:
        (encoded,) = encoder.encoded([Example("s/0", (("q", "a"),), system="  Be terse. ")])
        assert written in encoder.text(encoded.input_ids.tolist())


@pytest.mark.parametrize(("template", "takes"), [("vicuna_v1.1", True), ("vicuna_bare", True), ("alpaca", False)])
def test_a_system_text_takes_the_place_of_vicunas(folder: Path, template: str, takes: bool) -> None:
    encoder = Encoder(folder, template, 999)
    assert encoder.takes_system == takes
    example = Example("s/0", (("q", "a"), ("r", "b")), system="Be terse.")
    if not takes:
        with pytest.raises(ValueError, match="no place for a system text"):
            list(encoder.encoded([example]))
        return
    (encoded,) = encoder.encoded([example])
    text = encoder.text(encoded.input_ids.tolist())
    assert text.count("Be terse. USER: q ASSISTANT: a") == 1
    assert "curious user" not in text


@cache
def transformers_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (CHATML.replace("message['content']", "message['content'] | upper"), "changes the messages"),
        (CHATML.replace("+ '<|im_end|>' + '\\n' }}", "+ '\\n' }}"), "does not end a response with a special token"),
        (CHATML.replace("'<|im_start|>assistant\\n'", "'Answer:'"), "asks for an answer in another way"),
        ("{{ raise_exception('no') }}", "fails: no"),
        ("{% nonsense %}", "cannot be read"),
        ("", "no chat_template"),
    ],
)
def test_a_chat_template_that_cannot_be_followed_is_refused(tmp_path: Path, template: str, message: str) -> None:
    chatml(tmp_path, template)
    if not template:
        (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(RequestError, match=message):
        Encoder(tmp_path, "chat_template", 99)


def test_a_chat_template_is_pinned(chat_folder: Path, tmp_path: Path) -> None:
    pinned = vocabulary.chat_template_pin(CHATML)
    assert Encoder(chat_folder, pinned, 99).eos_id == Encoder(chat_folder, "chat_template", 99).eos_id
    with pytest.raises(RequestError, match="is not the planned one"):
        Encoder(chatml(tmp_path, CHATML + " "), pinned, 99)
