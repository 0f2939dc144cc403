"""What a user's own file makes of a source, and what its fraction takes of it."""

import copy
import gzip
import hashlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from common import Points

from sft_sweeps.config.resolve import request
from sft_sweeps.config.resolve_sources import source
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import read_rows
from sft_sweeps.identity import VERSIONS, canonical
from sft_sweeps.spec.data import Source

ROWS = b'{"question": "1+1?", "answer": "2"}\n' * 3
SHA256 = f"sha256:{hashlib.sha256(ROWS).hexdigest()}"
BLOB = "git-blob:" + hashlib.sha1(b"blob %d\0" % len(ROWS) + ROWS).hexdigest()


def entry(**changes: Any) -> SourceConfig:
    return SourceConfig(**{"name": "own", "ability": "math", "role": "specialized", "rows": 1000, **changes})


def resolved(folder: Path, **changes: Any) -> tuple[Source, str]:
    return source(entry(**changes), folder, "math")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The same rows plain and packed, and others."""
    contents = {"own.jsonl": ROWS, "own.jsonl.gz": gzip.compress(ROWS), "other.jsonl": ROWS[:-1] + b"x\n"}
    contents["packed.jsonl"] = gzip.compress(ROWS)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


@pytest.mark.parametrize("pin", [SHA256, BLOB])
@pytest.mark.parametrize("name", ["own.jsonl", "own.jsonl.gz", "packed.jsonl"])
def test_an_own_file_that_matches_the_pin_is_the_pinned_source(
    pin: str, name: str, files: dict[str, str], tmp_path: Path
) -> None:
    pinned, _ = resolved(tmp_path, content=pin, file="absent.jsonl")
    own, note = resolved(tmp_path, content=pin, path=files[name])
    assert (own.content, own.rows, own.rows_from, note) == (pin, 1000, "declared", "")
    assert own.path == files[name]
    assert (own.content, own.name, own.format) == (pinned.content, pinned.name, pinned.format)


def test_another_file_replaces_the_pinned_source_under_its_own_hash(files: dict[str, str], tmp_path: Path) -> None:
    own, note = resolved(tmp_path, content=SHA256, path=files["other.jsonl"])
    assert own.content.startswith("sha256:")
    assert own.content != SHA256
    assert (own.name, own.rows, own.rows_from) == (
        "other",
        3,
        "counted",
    )  # it would be a lie to call it by the pin's name
    assert "other.jsonl with 3 rows" in note
    assert "1,000 rows" in note


def test_a_licence_is_the_pinned_file_s_and_part_of_no_id(files: dict[str, str], tmp_path: Path) -> None:
    said = {"licence": "mit", "origin": "somewhere"}
    for path, licence in ((files["own.jsonl"], "mit"), (files["other.jsonl"], "")):
        own, _ = resolved(tmp_path, content=SHA256, path=path, **said)
        without, _ = resolved(tmp_path, content=SHA256, path=path)
        assert (own.licence, bool(own.origin)) == (licence, bool(licence))
        assert canonical(own) == canonical(without)
    own, _ = resolved(tmp_path, path=files["other.jsonl"], **said)  # no pin, so it is said of this file
    assert own.licence == "mit"


def test_without_a_pin_the_content_counts_and_not_the_path(files: dict[str, str], tmp_path: Path) -> None:
    ways = [{"path": files["own.jsonl"]}, {"path": files["packed.jsonl"]}, {"file": "own.jsonl"}]
    sources = [resolved(tmp_path, **way)[0] for way in ways]
    assert {(s.content, s.rows) for s in sources} == {(SHA256, 3)}
    assert not any(s.provisional for s in sources)


def test_neither_pinned_nor_present_is_provisional(tmp_path: Path) -> None:
    missing = [resolved(tmp_path, file="a.jsonl")[0], resolved(tmp_path, file="b.jsonl")[0]]
    missing += [resolved(tmp_path, path="c.jsonl")[0], resolved(tmp_path, path="d.jsonl", content=SHA256)[0]]
    assert all(s.provisional for s in missing)
    assert len({s.content for s in missing}) == 4
    assert not resolved(tmp_path, file="a.jsonl", content=SHA256)[0].provisional
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", 0),
        (b"{}\n{}\n", 2),
        (b"{}\n{}", 2),
        (b'[{"a": 1}, {"a": 2},\n\n {"a": 3}]', 3),
        (b' \n [{"a": 1}]\n', 1),
        (b"{}\n\n  \n{}\n\n", 2),
        (b"\xef\xbb\xbf[\n{},\n{}\n]", 2),
        (b'[{"from": "human"}]\n[{"from": "gpt"}]\n', 2),
        (b"[broken", 1),
    ],
)
def test_rows_are_counted(content: bytes, rows: int, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(content)
    assert resolved(tmp_path, path=str(path))[0].rows == rows
    if content and content != b"[broken":
        assert len(list(read_rows(path, "own"))) == rows  # the reader's own count


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    contents = set()
    for n, text in enumerate(("{}\n", "{ }", "[1]")):
        path.write_text(text)
        os.utime(path, ns=(n, n))
        contents.add(resolved(tmp_path, path=str(path))[0].content)
    assert len(contents) == 3


@pytest.mark.parametrize(
    "content", [gzip.compress(ROWS)[:-9], gzip.compress(ROWS)[:20] + b"x" * 20], ids=["cut", "damaged"]
)
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"source own: .*own\.jsonl\.gz is damaged"):
        resolved(tmp_path, path=str(path))


def test_a_generated_source_is_name_rows_seed_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[dict[str, Any]] = [{}, {"name": "mini_code"}, {"rows": 7}, {"seed": 1}]
    made = [resolved(tmp_path, generated=True, **way)[0] for way in ways]
    assert len({s.content for s in made}) == len(ways)
    assert {(s.rows_from, s.path) for s in made} == {("generated", "")}
    monkeypatch.setitem(VERSIONS, "mini", 2)
    assert resolved(tmp_path, generated=True)[0].content != made[0].content


@pytest.fixture
def config(points: Points) -> Config:
    return copy.deepcopy(points("model=llama7b", "data=math")[0].config)


def test_a_fraction_of_an_own_file_must_take_an_example(config: Config, files: dict[str, str]) -> None:
    """The declared rows would give 430 examples, the file's own 3 give none."""
    config.data.fraction, config.data.sources["math"].path = "1/256", files["own.jsonl"]
    with pytest.raises(RequestError, match=r"data\.fraction=1/256 takes no example of .*own\.jsonl, which has 3 rows"):
        request(config)


def test_fractions_of_one_source_override_the_common_one(points: Points) -> None:
    line = ("data=mixed", "data.fraction=1/4", "data.fractions.math=0.0625")
    parts = request(points(*line)[0].config).components
    assert {c.source.ability: c.fraction for c in parts} == {
        "code": Fraction(1, 4),
        "math": Fraction(1, 16),
        "general": Fraction(1, 4),
    }
