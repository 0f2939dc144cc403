"""Whatever a source's rows say, each of their turns is accounted for: used, cut or dropped; never a traceback.

Rows of every format, in every kind of file and encoding, read under rules at random, by the reader alone and by what
encodes them.
"""

import contextlib
import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard
from fuzzing import answer, hunt, told, wrong
from mutations import BYTES, ODD, odd_value, spoilt

from sft_sweeps.commands.main import main
from sft_sweeps.config import resolve_sources
from sft_sweeps.config.source_schema import CleanConfig, SourceConfig
from sft_sweeps.data import mini
from sft_sweeps.data.encode import prepare
from sft_sweeps.data.formats import FORMATS
from sft_sweeps.data.read import stream
from sft_sweeps.data.row_filter import RowFilter
from sft_sweeps.errors import SweepError
from sft_sweeps.files import rows as files
from sft_sweeps.files.content import content_pin
from sft_sweeps.models import train_tokenizer

pytestmark = pytest.mark.fuzz

TEXTS = (
    *("Q", "What is 2 + 3?", "def f(x):\n    return x", "```python\nx = 1\n```", "1. a\n2. b\n1. c", "数学", "é"),
    *("", " ", "\n", "\0", "\ud800", "\u2028", "</s>", "<s>[INST]", "<b>a</b> &amp; <code>b</code>", "x " * 400),
    *("ASSISTANT: 7", "USER:", "true", "null", "[]", '[{"role": "user", "content": "x"}]', '"', "a,b\tc;d", "1111111"),
)
ROLES = ("human", "gpt", "user", "assistant", "system", "tool", "function_call", "Ann", "", "GPT ", None, 3)
BESIDE = (
    *("history", "system", "system_prompt", "context", "input", "passage", "weight", "train", "label", "rejected"),
    *("chosen", "id", "plugins", "choices", "tools", "images", "reasoning", "mask", "skip", "accepted", "tags", "odd"),
    *("lang", "messages", "conversations", "prompt", "text", "group", "deleted", "train_detail"),
)
LISTS = ("conversations", "messages", "conversation", "dialog", "prompt", "completion", "chosen", "rejected")


def _text(chance: Random) -> Any:
    kind = chance.random()
    if kind < 0.9:
        return chance.choice(TEXTS)
    return chance.choice(([{"type": "text", "text": "a"}], [{"type": "image"}], ["a"], {"text": "a"}, *ODD))


def _turn(chance: Random, role: Any = None) -> Any:
    if chance.random() < 0.04:
        return chance.choice((None, "said", [], ["user", "said"], 3))
    role = chance.choice(ROLES) if role is None or chance.random() < 0.15 else role
    who = chance.choice(("from", "role", "role", "speaker"))
    turn = {who: role, chance.choice(("value", "content", "content", "text")): _text(chance)}
    if chance.random() < 0.15:
        turn[chance.choice(BESIDE)] = chance.choice((0, 1, True, False, 0.5, "x", "no", [], {}, None))
    return turn


def _turns(chance: Random) -> Any:
    turns = [_turn(chance, ("user", "assistant")[place % 2]) for place in range(chance.randint(0, 6))]
    if chance.random() < 0.2:
        turns.insert(0, _turn(chance, "system"))
    return json.dumps(turns) if chance.random() < 0.05 else turns


def row(chance: Random) -> Any:
    """A row of some format, or none."""
    kind = chance.random()
    if kind < 0.05:
        return chance.choice(ODD)
    if kind < 0.5:
        made = {key: _turns(chance) for key in chance.sample(LISTS, chance.choice((1, 1, 1, 2)))}
    else:
        made = {key: _text(chance) for key in chance.choice(list(FORMATS.all.values())).fields}
    while chance.random() < 0.3:
        value = chance.choice((0, 1, "x", "no", "", None, [], [["a", "b"]], [["a"]], {"a": "b"}, [{"role": "user"}]))
        made[chance.choice(BESIDE)] = _text(chance) if chance.random() < 0.4 else value
    return odd_value(made, chance) if chance.random() < 0.1 else made


def plain(chance: Random) -> tuple[Any, int]:
    """A row of which nothing is in doubt, and how many turns it has."""
    texts = [chance.choice(("Q", "What is 2 + 3?", "数学", "x\ny", "a, b")) for _ in range(2 * chance.randint(1, 3))]
    if chance.random() < 0.5:
        pair, system = chance.choice((("question", "answer"), ("prompt", "response"), ("query", "response"))), {}
        if chance.random() < 0.3:
            system = {"system": "Be brief."}
        return {pair[0]: texts[0], pair[1]: texts[1], **system}, 2 + len(system)
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]
    return {chance.choice(("messages", "conversations")): turns}, len(turns)


def _lines(rows: list[Any], chance: Random) -> str:
    between = chance.choice(("\n", "\n", "\n", "\r\n", "\r", "\n\n", " "))
    return between.join(json.dumps(one, ensure_ascii=chance.random() < 0.5) for one in rows) + between


def _table(rows: list[Any], chance: Random) -> str:
    kept = [one for one in rows if isinstance(one, dict)] or [{"prompt": "a", "response": "b"}]
    names = list(dict.fromkeys(str(key) for one in kept for key in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=chance.choice(",,\t;"), extrasaction="ignore")
    writer.writeheader()
    for one in kept:
        writer.writerow(
            {key: one.get(key) if isinstance(one.get(key), str) else json.dumps(one.get(key)) for key in names}
        )
    return text.getvalue()


def _columns(rows: list[Any], _: Random) -> str:
    kept = [one for one in rows if isinstance(one, dict)]
    names = list(dict.fromkeys(key for one in kept for key in one))
    return json.dumps({name: [one.get(name) for one in kept] for name in names})


KINDS: tuple[tuple[str, Callable[[list[Any], Random], str]], ...] = (
    *((".jsonl", _lines),) * 4,
    (".json", lambda rows, _: json.dumps(rows)),
    (".json", lambda rows, _: json.dumps(rows, indent=2, ensure_ascii=False)),
    (".json", lambda rows, chance: chance.choice(("\n", ",\n", "")).join(json.dumps(one, indent=1) for one in rows)),
    (".json", lambda rows, chance: json.dumps({chance.choice(("data", "rows", "x")): rows, "version": 1})),
    (".json", _columns),
    (".csv", _table),
    (".tsv", _table),
)
ENCODINGS = (*("utf-8",) * 6, "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "shift_jis")


def written(folder: Path, rows: list[Any], chance: Random) -> Path:
    """A file of rows, of any kind."""
    suffix, write = chance.choice(KINDS)
    content = write(rows, chance).encode(chance.choice(ENCODINGS), "replace")
    if chance.random() < 0.25:
        content = spoilt(content, chance, BYTES)
    packed, pack = chance.choice((*(("", bytes),) * 8, (".gz", gzip.compress), (".zst", zstandard.compress)))
    content = pack(content)
    if packed and chance.random() < 0.2:
        content = spoilt(content, chance, BYTES)
    path = folder / f"rows{suffix}{packed}"
    path.write_bytes(content)
    return path


def _entry(path: Path, chance: Random) -> SourceConfig:
    """A source of a file, read by some rules."""
    entry = SourceConfig(name="general", ability="general", role="general", path=str(path), max_bad_fraction=1.0)
    entry.system_turns = chance.choice(("render", "render", "drop", "refuse"))
    entry.tool_turns = chance.choice(("refuse", "drop", "cut", "render"))
    if chance.random() < 0.5:
        entry.clean = CleanConfig(
            html_to_markdown=chance.random() < 0.3,
            role_break=chance.choice(("cut", "drop", "join")),
            min_characters=chance.choice((0, 0, 3)),
            drop_words=chance.choice(([], ["python"])),
            drop_duplicates=chance.random() < 0.3,
            drop_plugins=chance.random() < 0.3,
            drop_repeated_digits=chance.random() < 0.3,
            split_tokens=chance.choice((0, 0, 8)),
            drop_wrong_lists=chance.random() < 0.3,
            drop_tags=chance.choice(([], [], ["math"])),
        )
    if chance.random() < 0.1:
        entry.roles = chance.choice(({"human": ["Ann"]}, {"Ann": "assistant"}, {"human": ["gpt"]}))
    if chance.random() < 0.15:
        names = chance.choice((("prompt", "response"), ("messages",), ("prompt", "response", "system")))
        entry.columns = dict(zip(names, chance.sample(("question", "answer", "text", *names), len(names)), strict=True))
        entry.columns |= chance.choice(({}, {"weight": None}))
    if chance.random() < 0.1:
        entry.group_by = chance.choice(("id", "group", "tags"))
    entry.pre_split = chance.random() < 0.2
    entry.format = chance.choice((*("auto",) * 9, "chosen", "messages", "alpaca", "question_answer"))
    return entry


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer.copy(mini.TOKENIZER, folder)
    return folder


def _counted(source: Any, path: Path) -> RowFilter:
    """The tally of a source's rows, of which every turn is found again."""
    row_filter = RowFilter()
    examples = list(stream(path, source, row_filter))
    tally = row_filter.tally
    used, dropped = sum(one.turns for one in examples), sum(tally.dropped_turns.values())
    assert tally.turns == used + dropped, f"turns read {tally.turns}, used {used}, dropped {dict(tally.dropped_turns)}"
    assert tally.rows == sum(1 for _ in files.read_rows(path, "rows"))
    return row_filter


def test_every_turn_is_accounted_for(words: Path, tmp_path: Path) -> None:
    """By the reader and, some cut, by what encodes; both read as many, and of plain rows as many as were written."""

    def case(chance: Random) -> Iterator[str]:
        (folder := tmp_path / str(chance.getrandbits(64))).mkdir()
        pairs = [plain(chance) if chance.random() < 0.5 else (row(chance), 0) for _ in range(chance.randint(1, 12))]
        path = written(folder, [one for one, _ in pairs], chance)
        with contextlib.suppress(SweepError):
            source, _ = resolve_sources.source(_entry(path, chance), folder, "general", chance.random() < 0.2)
            tally = _counted(source, path).tally
            if chance.random() < 0.3:
                yield from _encoded(source, words, folder, tally.turns, chance)
        shutil.rmtree(folder)

    hunt(case)


def _encoded(source: Any, words: Path, folder: Path, read: int, chance: Random) -> Iterator[str]:
    template, length = chance.choice((("vicuna_bare", 24), ("vicuna_v1.1", 2048), ("vicuna_bare", 2)))
    key = prepare.encoded_key(source, words, template, length)
    turns = prepare.get(key, words, [folder]).account["turns"]
    parts = turns["trained"] + turns["prompt"] + sum(turns["cut"].values()) + sum(turns["dropped"].values())
    if turns["read"] != parts:
        yield f"turns read are not what became of them: {turns}"
    if turns["read"] != read:
        yield f"the encoder reads {turns['read']} turns, the reader {read}"


def test_plain_rows_are_read_whole(tmp_path: Path) -> None:
    """Whatever file holds them: as many rows and turns as were written."""

    def case(chance: Random) -> Iterator[str]:
        pairs = [plain(chance) for _ in range(chance.randint(1, 9))]
        suffix, write = chance.choice(KINDS[:7])
        rows = [one for one, _ in pairs]
        path = tmp_path / f"{chance.getrandbits(64)}{suffix}"
        path.write_bytes(write(rows, chance).encode(chance.choice(ENCODINGS[:10])))
        tally = _counted(_source(path, tmp_path), path).tally
        expected, read = (len(rows), sum(turns for _, turns in pairs)), (tally.rows, tally.turns)
        if read != expected:
            yield f"{read} read, {expected} written: {path.read_bytes()!r:.400}"
        if (counted := content_pin(path)[1]) != len(rows):
            yield f"{counted} rows counted, {len(rows)} written: {path.read_bytes()!r:.400}"
        path.unlink()

    hunt(case, 0.5)


def _source(path: Path, folder: Path) -> Any:
    entry = SourceConfig(name="general", ability="general", role="general", path=str(path), max_bad_fraction=1.0)
    return resolve_sources.source(entry, folder, "general")[0]


def test_inspecting_and_adding_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the command line: as a source, as rows to look at, and as a source to add."""
    monkeypatch.chdir(tmp_path)
    common = ["model=mini", "train=mini", "evaluate=none", "data=mini_general", "action=inspect", "inspect.limit=2"]

    def case(chance: Random) -> Iterator[str]:
        path = written(tmp_path, [row(chance) for _ in range(chance.randint(1, 6))], chance)
        what = f"{path.name} {path.read_bytes()[:600]!r}"
        kind = chance.randrange(3)
        if kind == 0:
            more = ["+data.sources.extra.path=" + str(path), "+data.sources.extra.max_bad_fraction=1"]
            yield from wrong(answer([*common, *more], tmp_path / "store"), what)
        elif kind == 1:
            yield from wrong(answer([*common, f"inspect.input={path}"], tmp_path / "store"), what)
        else:
            arguments = ["source", "add", str(path), "--dry-run", "--max-bad-fraction", "1"]
            yield from wrong(told(lambda: main(arguments)), what)
        path.unlink()

    hunt(case, 0.05)
