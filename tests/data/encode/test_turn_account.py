"""No turn of a row vanishes: each is learnt, given to be read, or cut or dropped for a reason that is counted."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from common import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.data import clean, mini
from sft_sweeps.data.encode import blocks, prepare
from sft_sweeps.data.encode.encoded_source import EncodedKey
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.encode.mixture import mixture_examples
from sft_sweeps.data.encode.writer import Writer
from sft_sweeps.data.example import Example
from sft_sweeps.data.formats import FORMATS
from sft_sweeps.data.read import reader_of
from sft_sweeps.data.row_reader import Reader, unsplit
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.file_row import FileRow
from sft_sweeps.files.rows import read_rows
from sft_sweeps.models import train_tokenizer
from sft_sweeps.spec.data import Cleaning, Component, Mixture, Source, TurnRules

TEXT = st.text("ab \n1.", max_size=12)
ROLES = ("human", "gpt", "user", "Assistant", "system", "tool", "bot", "somebody")
TURNS = st.lists(st.tuples(st.sampled_from(ROLES), TEXT), max_size=6)
CHATS = st.lists(st.tuples(st.text("ab", min_size=1, max_size=9), st.text("ab", min_size=1, max_size=9)), max_size=4)
LISTED = ("sharegpt", "messages", "conversation", "prompt_completion")
PAIRS = sorted({*FORMATS.names} - {"sharegpt", "messages", "conversation"})


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer.copy(mini.TOKENIZER, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "Encoder", lru_cache(Encoder))
        yield folder


def listed(name: str, turns: list[tuple[str, str]]) -> dict[str, Any]:
    if name == "sharegpt":
        return {"conversations": [{"from": role, "value": text} for role, text in turns]}
    messages = [{"role": role, "content": text} for role, text in turns]
    if name in ("messages", "conversation"):
        return {name: messages}
    return {"prompt": messages[:1], "completion": messages[1:]}


@st.composite
def rows(draw: st.DrawFn, name: str) -> tuple[Any, int]:
    """A row of a format, or a broken one, and how many turns it has."""
    system = draw(st.sampled_from([{}, {"system": "b"}, {"weight": 0}, {"unheard_of": 1}]))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([({"x": 1}, 0), (7, 0)]))
    if name in LISTED and (name != "prompt_completion" or draw(st.booleans())):
        turns = draw(TURNS | CHATS.map(lambda chat: [turn for a, b in chat for turn in (("human", a), ("gpt", b))]))
        return {**listed(name, turns), **system}, len(turns) + ("system" in system)
    prompt, response = sorted(FORMATS.get(name).fields, key=ORDER.index)
    history = draw(st.lists(st.tuples(TEXT, TEXT).map(list), max_size=2))
    row = {prompt: draw(TEXT), response: draw(TEXT), "history": history, **system}
    return row, 2 + 2 * len(history) + ("system" in system)


ORDER = ("question", "query", "instruction", "prompt", "problem", "inputs", "input", "answer", "response", "completion")
ORDER += ("solution", "output", "targets")
CLEANINGS = st.builds(
    Cleaning,
    role_break=st.sampled_from(["cut", "drop", "join"]),
    min_characters=st.sampled_from([0, 4]),
    drop_duplicates=st.booleans(),
    split_tokens=st.sampled_from([0, 20, 30]),
    drop_wrong_lists=st.booleans(),
)
RULES = st.builds(
    TurnRules,
    system=st.sampled_from(["render", "drop", "refuse"]),
    tools=st.sampled_from(["refuse", "drop", "cut", "render"]),
    roles=st.sampled_from([(), (("somebody", "human"),)]),
)


@dataclass(frozen=True)
class Setting:
    template: str
    length: int
    faithful: bool
    cleaning: Cleaning | None
    rules: TurnRules

    def source(self, name: str) -> Source:
        return Source(
            *("s", "sha256:x", name, "general", "general", 0),
            max_bad_fraction=1,
            cleaning=self.cleaning,
            bug_compatible=self.faithful and self.template != "alpaca",
            turns=self.rules,
        )


SETTINGS = st.builds(
    Setting,
    st.sampled_from(["vicuna_v1.1", "vicuna_bare", "alpaca"]),
    st.sampled_from([4, 9, 15, 24, 40, 70, 120]),
    st.booleans(),
    st.none() | CLEANINGS,
    RULES,
)


def account(source: Source, setting: Setting, made: list[Any], words: Path) -> Any:
    """What an encoded source says of the turns of these rows."""
    reader = Reader(source.name, source.format, source.cleaning, source.bug_compatible, source.turns)
    worker = blocks.Worker(str(words), setting.template, setting.length, reader)
    with TemporaryDirectory() as folder:
        with Writer(Path(folder), EncodedKey(source, "t", setting.template, setting.length)) as writer:
            for chunk in blocks.chunks_of(FileRow(row, f"row {index}") for index, row in enumerate(made)):
                writer.add(worker.block(chunk))
            plain = blocks.Worker(str(words), setting.template, setting.length, replace(reader, cleaning=None))
            writer.add(plain.block((0, [FileRow(GOOD[source.format], "row 0")])))  # it stays: the source is not refused
        return json.loads((Path(folder) / "account.json").read_text())


GOOD = {name: listed(name, [("human", "a"), ("gpt", "b")]) for name in LISTED}
GOOD |= {name: dict.fromkeys(FORMATS.get(name).fields, "a") for name in PAIRS if name not in LISTED}


@settings(max_examples=150)
@given(data=st.data(), name=st.sampled_from(FORMATS.names), setting=SETTINGS)
def test_every_turn_is_accounted_for(data: st.DataObject, name: str, setting: Setting, words: Path) -> None:
    made = data.draw(st.lists(rows(name), max_size=5))
    source = setting.source(name)
    turns = account(source, setting, [row for row, _ in made], words)["turns"]
    gone = sum(turns["cut"].values()) + sum(turns["dropped"].values())
    assert turns["read"] == turns["trained"] + turns["prompt"] + gone
    beside = 0
    if source.bug_compatible:  # FastChat does not read what stands beside a pair or the turns
        known = [row for row, _ in made if isinstance(row, dict)]
        beside = sum(("system" in row) + 2 * len(row.get("history", ())) for row in known)
    assert turns["read"] == 2 + sum(count for _, count in made) - beside


@settings(max_examples=80)
@given(turns=TURNS, role_break=st.sampled_from(["drop", "join"]), more=st.sampled_from([{}, {"system": "Z"}]))
def test_what_is_trained_without_a_word_said_holds_all_that_the_row_says(
    turns: list[tuple[str, str]], role_break: Any, more: dict[str, Any]
) -> None:
    """By default. What is counted as left out is an opening answer, a last prompt, or what follows an empty turn."""
    reader = Reader("s", "sharegpt", Cleaning(role_break=role_break), turns=TurnRules(system="render", tools="refuse"))
    example = reader.cleaned(FileRow({**listed("sharegpt", turns), **more}, "line 1"), 0)
    if isinstance(example, Example):
        assert set(dict(example.left_out)) <= {"before_first_prompt", "unanswered_prompt", "empty_turn"}
        held = [example.system, *example.messages]
        said = [*more.values(), *(text for _, text in turns)]
        left = len(said) - sum(any(text in one for one in held) for text in said)
        assert left <= sum(dict(example.left_out).values())
        assert example.turns + sum(dict(example.left_out).values()) == len(said)


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    joined=st.booleans(),
    limit=st.integers(15, 60),
    faithful=st.booleans(),
)
def test_the_parts_of_a_split_conversation_hold_its_turns_once(
    counts: list[int], joined: bool, limit: int, faithful: bool
) -> None:
    rounds = tuple((" ".join("w" * count), "a") for count in counts)
    weights = tuple((2, 1) for _ in counts) if joined else ()
    whole = Example("s/0", rounds, system="x", system_turns=1, joined=weights)
    found = list(clean.split(whole, Cleaning(split_tokens=limit), faithful, lambda text: len(text.split())))
    lost = whole.turns - sum(part.turns for part in found)
    assert lost >= 0
    assert faithful or (lost == 0 and all(part.system == "x" for part in found))


@needs_shared
@pytest.mark.parametrize(
    ("name", "format_name", "turns"),
    [("gsm8k_train", "question_answer", 2 * 7473), ("code_alpaca_20k", "alpaca", 2 * 20022)],
)
def test_the_turns_of_real_sources(name: str, format_name: str, turns: int) -> None:
    source = Source(name, "", format_name, "math", "specialized", 0)
    path = SHARED / f"data/train/{name}.jsonl.gz"
    reader, found = reader_of(read_rows(path, name), source, path)
    results = [reader.result(row, index, unsplit).count for index, row in enumerate(found)]
    assert not any(result.ignored for result in results)
    assert sum(result.turns + sum(part.turns for part in result.dropped) for result in results) == turns


def test_the_fates_of_a_block_are_those_of_its_tokens(words: Path) -> None:
    """A response is learnt in part at least where one of its tokens is before the cut."""
    row = listed("sharegpt", [("system", "x"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")])
    reader = Reader("s", "sharegpt", turns=TurnRules(system="render"))
    for length in range(1, 60):
        block = blocks.Worker(str(words), "vicuna_bare", length, reader).block((0, [FileRow(row, "line 1")]))
        starts = np.flatnonzero(np.diff(np.concatenate([[False], block.mask])) & block.mask)
        trained, prompt, cut = block.fates[0].tolist()
        assert (trained, trained + prompt + cut) == (len(starts), 5)
    assert (trained, prompt, cut) == (2, 3, 0)


def test_a_stages_account_says_what_became_of_the_turns(words: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**listed("sharegpt", [("gpt", "x"), ("human", "a"), ("gpt", "b")]), "odd": 1}))
    content, count = content_pin(path)
    source = Source("s", content, "auto", "general", "general", count, path=str(path))
    stored = prepare.get(prepare.encoded_key(source, words, "vicuna_bare", 60), words, [tmp_path])
    _, said = mixture_examples(Mixture((Component(source, Fraction(1), 0),)), lambda _: stored)
    expected = {"read": 3, "trained": 1, "prompt": 1, "cut": {}, "dropped": {"before_first_prompt": 1}}
    assert (said["s"]["turns"], said["s"]["ignored_keys"]) == (expected, {"odd": 1})
