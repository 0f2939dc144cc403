"""Encoding once: what lies in the store is what the encoder gives, whoever makes it, however many at once."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_files import chats
from common import ROOT
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sft_sweeps.config import resolve_sources
from sft_sweeps.data import mini
from sft_sweeps.data.encode import prepare
from sft_sweeps.data.encode.encoded_source import EncodedSource
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.read import stream
from sft_sweeps.data.row_filter import RowFilter
from sft_sweeps.data.select import order
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.encoded import ENCODED
from sft_sweeps.identity import VERSIONS, plain
from sft_sweeps.models import train_tokenizer
from sft_sweeps.spec.data import Cleaning, Source

TEMPLATE, LENGTH = "vicuna_bare", 60


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer.copy(mini.TOKENIZER, folder)
    return folder


def get(source: Source, words: Path, root: Path, **options: Any) -> EncodedSource:
    return prepare.get(prepare.encoded_key(source, words, TEMPLATE, LENGTH), words, [root], **options)


def contents(found: EncodedSource) -> list[tuple[Any, ...]]:
    encoded = [found.encoded(place) for place in range(len(found))]
    return [(e.id, e.input_ids.tolist(), e.supervised.tolist(), e.truncated, e.reason) for e in encoded]


def test_the_store_holds_what_the_encoder_gives(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 700)
    found = get(source, words, tmp_path)
    row_filter = RowFilter()
    examples = list(stream(Path(source.path), source, row_filter))
    encoder = Encoder(words, TEMPLATE, LENGTH)
    expected = [
        (e.id, e.input_ids.tolist(), e.supervised.tolist(), e.truncated, e.reason) for e in encoder.encoded(examples)
    ]
    assert contents(found) == expected
    assert found.order(3) == order(examples, 3, "chat")
    account = found.account
    assert account["dropped"] == dict(row_filter.tally.dropped) == {"unknown_fields": 100}
    assert (account["rows"], account["examples"]) == (700, len(expected))
    assert account["tokens"] == sum(len(ids) for _, ids, *_ in expected) == sum(found.offsets[-1:])
    assert account["supervised_tokens"] == sum(sum(learnt) for _, _, learnt, *_ in expected)
    assert account["truncated"] == sum(truncated for *_, truncated, _ in expected) > 0
    assert sum(account["histogram"].values()) == len(expected)


def test_splitting_and_duplicates(words: Path, tmp_path: Path) -> None:
    rules = Cleaning(split_tokens=60, drop_duplicates=True)
    source = chats(tmp_path / "a.jsonl", 60, cleaning=rules)
    path = Path(source.path)
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[1])
    source = replace(source, content=content_pin(path)[0])
    found = get(source, words, tmp_path)
    assert found.dropped["duplicate_id"] == 1
    ids = [found.example_id(place) for place in range(len(found))]
    parts = [example_id for example_id in ids if "_" in example_id]
    assert parts
    assert len(set(ids)) == len(ids)
    whole = get(replace(source, cleaning=Cleaning(drop_duplicates=True)), words, tmp_path)
    assert whole.folder != found.folder
    ends = [sum(row[1].count(train_tokenizer.END) for row in contents(one)) for one in (found, whole)]
    assert ends[0] > ends[1]  # nothing lost, less cut off


@pytest.mark.parametrize(("processes", "changes"), [(2, {"cleaning": Cleaning(split_tokens=60)}), (3, {})])
def test_helpers_give_the_same_bytes(words: Path, tmp_path: Path, processes: int, changes: dict[str, Any]) -> None:
    source = chats(tmp_path / "a.jsonl", 1500, **changes)
    alone, helped = (get(source, words, tmp_path / str(n), processes=n) for n in (1, processes))
    assert alone.folder.name == helped.folder.name
    for path in sorted(alone.folder.iterdir()):
        assert path.read_bytes() == (helped.folder / path.name).read_bytes(), path.name


def test_a_killed_helper_is_told_and_leaves_nothing(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 3000)  # more blocks than helpers have in hand

    def kill(_: int) -> None:
        for helper in multiprocessing.active_children():
            helper.kill()

    with pytest.raises(RunError, match="a process that encoded chat was killed"):
        get(source, words, tmp_path, processes=2, progress=kill)
    assert [path.name[0] for path in (tmp_path / ENCODED).iterdir()] == ["."]  # the lock


def test_the_second_use_reads_no_source_and_any_store_serves(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 50)
    first = get(source, words, tmp_path / "one")
    Path(source.path).unlink()
    assert contents(get(source, words, tmp_path / "one")) == contents(first)
    key = prepare.encoded_key(source, words, TEMPLATE, LENGTH)
    assert prepare.get(key, words, [tmp_path / "new", tmp_path / "one"]).folder == first.folder
    assert not (tmp_path / "new").exists()


def test_the_key_is_content_and_not_names(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = chats(tmp_path / "a.jsonl", 5)
    key = prepare.encoded_key(source, words, TEMPLATE, LENGTH).key
    same = [replace(source, name="other"), replace(source, path="/elsewhere"), replace(source, ability="law")]
    assert {prepare.encoded_key(one, words, TEMPLATE, LENGTH).key for one in same} == {key}
    others = [replace(source, **change) for change in ({"content": "sha256:1"}, {"bug_compatible": True})]
    keys = {prepare.encoded_key(one, words, TEMPLATE, LENGTH).key for one in others}
    keys |= {
        prepare.encoded_key(source, words, "alpaca", LENGTH).key,
        prepare.encoded_key(source, words, TEMPLATE, 61).key,
    }
    monkeypatch.setitem(VERSIONS, "cleaning", 99)
    keys.add(prepare.encoded_key(source, words, TEMPLATE, LENGTH).key)
    assert len(keys | {key}) == 6


PROGRAM = """
import sys
from pathlib import Path
from sft_sweeps.data.encode import prepare
from sft_sweeps.identity import revive
from sft_sweeps.spec.data import Source
import json
source = revive(Source, json.loads(Path(sys.argv[1]).read_text()))
words, store = map(Path, sys.argv[2:])
found = prepare.get(prepare.encoded_key(source, words, "vicuna_bare", 60), words, [store])
print(len(found), int(found.offsets[-1]))
"""


def test_many_processes_at_once_make_one(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 3000)
    (tmp_path / "source.json").write_text(json.dumps(plain(source)))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "source.json"), str(words), str(tmp_path / "store")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=120)[0] for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(said) == 1
    left = sorted(path.name for path in (tmp_path / "store" / ENCODED).iterdir())
    assert [name.startswith(".") for name in left] == [True, False]  # the lock, and what was made


def test_a_killed_process_leaves_nothing_that_counts(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 50)
    key = prepare.encoded_key(source, words, TEMPLATE, LENGTH)
    half = tmp_path / ENCODED / ".writing-dead"
    half.mkdir(parents=True)
    (half / "ids.bin").write_bytes(b"123")
    assert key.find([tmp_path]) is None
    assert len(get(source, words, tmp_path)) > 0
    os.utime(half, (0, 0))
    get(replace(source, bug_compatible=True), words, tmp_path)
    assert not half.exists()


def test_a_file_that_changed_or_went_is_refused(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 50)
    Path(source.path).write_text('{"question": "q", "answer": "a"}\n')
    with pytest.raises(RunError, match="changed since it was planned"):
        get(source, words, tmp_path)
    Path(source.path).unlink()
    with pytest.raises(RunError, match=r"is not at .*action=prepare"):
        get(source, words, tmp_path)


def test_a_file_that_changes_while_it_is_read_is_refused(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 2000)

    def touch(_: int) -> None:
        os.utime(source.path, (1, 1))

    with pytest.raises(RunError, match="changed while it was read"):
        get(source, words, tmp_path, progress=touch)
    assert [path.name[0] for path in (tmp_path / ENCODED).iterdir()] == ["."]


def test_too_many_bad_rows_stop_with_examples(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 70, max_bad_fraction=0.1)
    with pytest.raises(RequestError, match=r"10 of the 70 rows (?s:.*) 10 unknown_fields, e\.g\. line 1"):
        get(source, words, tmp_path)
    assert [path.name[0] for path in (tmp_path / ENCODED).iterdir()] == ["."]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    good=st.integers(0, 9),
    bad=st.integers(0, 9),
    asked=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]), st.sampled_from([None, 0, 1])),
        min_size=2,
        max_size=5,
    ),
)
def test_what_is_asked_of_a_file_is_asked_whatever_the_store_has(
    good: int,
    bad: int,
    asked: list[tuple[float, int | None]],
    words: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In one store, whatever was asked before, a limit and a declared number of rows give what they give in another."""
    assume(good + bad)
    folder = tmp_path_factory.mktemp("limits")
    lines = [json.dumps({"question": f"{n}?", "answer": str(n)}) for n in range(good)] + ['{"x": 0}'] * bad
    (folder / "a.jsonl").write_text("".join(line + "\n" for line in lines))
    content, rows = content_pin(folder / "a.jsonl")
    source = Source("own", content, "auto", "math", "specialized", rows, "counted", str(folder / "a.jsonl"))

    def outcome(limit: float, more: int | None, store: Path) -> Any:
        declared = 0 if more is None else rows + more
        try:
            return contents(get(replace(source, max_bad_fraction=limit, declared_rows=declared), words, store))
        except RequestError as error:
            return str(error)

    for index, (limit, more) in enumerate(asked):
        found = outcome(limit, more, folder / "one")
        assert found == outcome(limit, more, folder / str(index))
        assert ("declares" in found) == bool(more)


def test_a_pinned_file_keeps_its_declared_rows_when_it_was_prepared(words: Path, tmp_path: Path) -> None:
    source = replace(chats(tmp_path / "a.jsonl", 50), rows_from="declared", declared_rows=50)
    account = get(source, words, tmp_path / "out").account
    prepared, _ = resolve_sources._as_prepared(source, account)
    assert (prepared.rows_from, prepared.declared_rows) == ("prepared", 50)


def test_a_full_disk_is_said_and_leaves_nothing(words: Path, tmp_path: Path) -> None:
    source = chats(tmp_path / "a.jsonl", 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(RunError, match=r"cannot be written .*Make room|cannot be written"):
            get(source, words, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / ENCODED).iterdir() if not path.name.endswith(".lock")] == []
    assert len(get(source, words, tmp_path)) > 0


def test_generated_sources_lie_there_too(words: Path, tmp_path: Path) -> None:
    source = Source("mini_math", "generated:m", "auto", "math", "specialized", 40, "generated", seed=5)
    found = get(source, words, tmp_path)
    examples = list(mini.generate("mini_math", 40, 5))
    assert [found.example_id(place) for place in range(40)] == [example.id for example in examples]
    assert found.order(1) == order(examples, 1, "mini_math")


def test_an_empty_result_can_be_opened(words: Path, tmp_path: Path) -> None:
    """Every response lies behind the cut: there are examples, and nothing is learnt of any."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "word " * 80, "answer": "a"}) + "\n")
    source = Source("own", content_pin(path)[0], "auto", "math", "specialized", 1, "counted", str(path))
    found = get(source, words, tmp_path)
    assert (len(found), found.encoded(0).reason, found.account["masked"]) == (
        1,
        "no_answer_before_cut",
        {"no_answer_before_cut": 1},
    )


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="NOT RUN: no /proc to ask for memory")
def test_memory_does_not_grow_with_the_file(words: Path, tmp_path: Path) -> None:
    """Three times the rows and more, hardly more resident memory: fewer rows do not fill the blocks under way.

    What is encoded in helper processes, as a larger file would be, does not count here.
    """
    peaks = []
    for times in (3, 10):
        source = chats(tmp_path / f"{times}.jsonl", 3_000)
        path = Path(source.path)
        path.write_text(path.read_text() * times)
        source = replace(source, content=content_pin(path)[0], rows=3_000 * times)
        (tmp_path / "source.json").write_text(json.dumps(plain(source)))
        program = PROGRAM + "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
        command = [sys.executable, "-c", program, str(tmp_path / "source.json"), str(words), str(tmp_path / "store")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=200)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.07 * peaks[0]
