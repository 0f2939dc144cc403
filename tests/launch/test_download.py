"""Downloading from a real server of this machine, which is cut off, changes its file, lies and refuses."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from file_server import PIN, ROWS, Server

from sft_sweeps.config.resolve_sources import hub_pin, source
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.errors import RunError
from sft_sweeps.files.content import content_pin
from sft_sweeps.launch import download


def entry(url: str = "", **changes: Any) -> SourceConfig:
    return SourceConfig(**{"name": "own", "url": url, "content": PIN, "rows": 20_000, **changes})


def kept(folder: Path) -> list[str]:
    """The files of a folder, locks left out."""
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")]


def test_a_file_comes_whole_and_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "deep" / "rows.jsonl"
    download.download_file(entry(server.url), path, lambda received, total: seen.append((received, total)))
    assert path.read_bytes() == ROWS
    assert seen[-1] == (len(ROWS), len(ROWS))
    assert kept(path.parent) == ["rows.jsonl"]
    download.download_file(entry("http://127.0.0.1:1/never"), path)  # what is there is not asked for again


def test_a_cut_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cuts = 2
    download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == ROWS
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_it_goes_on_in_another_process_too(server: Server, tmp_path: Path) -> None:
    server.cuts = 4
    with pytest.raises(RunError, match="cannot be fetched"):
        download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl.part").stat().st_size == 400_000
    server.asked.clear()
    download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    assert server.asked == ["bytes=400000-"]
    assert (tmp_path / "rows.jsonl").read_bytes() == ROWS


@pytest.mark.parametrize("changes", [{"version": '"two"'}, {"ranges": False}])
def test_halves_of_two_versions_are_never_joined(server: Server, tmp_path: Path, changes: dict[str, Any]) -> None:
    server.cuts, server.content = 4, b"x" * len(ROWS)
    with pytest.raises(RunError):
        download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    server.content = ROWS
    for key, value in changes.items():
        setattr(server, key, value)
    download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == ROWS


def test_what_is_not_the_pinned_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(RunError) as caught:
        download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    for part in ("sha256:", f"and not {PIN}", f"place it at {tmp_path / 'rows.jsonl'}", server.url):
        assert part in str(caught.value)
    assert kept(tmp_path) == []


def test_what_comes_damaged_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = gzip.compress(ROWS)[:1000]
    with pytest.raises(RunError, match="what was sent is damaged and not sha256:"):
        download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 4)])
def test_what_cannot_be_reached_names_the_file_and_its_place(
    server: Server, tmp_path: Path, status: int, tries: int
) -> None:
    server.status = status
    with pytest.raises(
        RunError, match=rf"own cannot be fetched \({status} .*place it at {tmp_path}/rows.jsonl"
    ) as caught:
        download.download_file(entry(server.url), tmp_path / "rows.jsonl")
    assert f"It must be {PIN}" in str(caught.value)
    assert len(server.asked) == tries


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://no.such.host.invalid/x", "ftp://x/y", "nonsense"])
def test_no_network_is_one_message(url: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="own cannot be fetched"):
        download.download_file(entry(url), tmp_path / "rows.jsonl")
    with pytest.raises(RunError, match="it has neither url nor hub"):
        download.download_file(entry(), tmp_path / "rows.jsonl")


def test_a_hub_data_set_becomes_parquet_with_its_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library reads a folder as it reads the hub."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_bytes(b"".join(ROWS.splitlines(keepends=True)[:50]))
    made = entry(hub=str(tmp_path / "set"), revision="0123456789abcdef", content="", file="own.parquet", rows=0)
    made.ability, made.role = "math", "specialized"
    before, _ = source(made, tmp_path, "math")
    assert (before.content, before.provisional) == (hub_pin(made), False)
    download.download_file(made, tmp_path / "own.parquet")
    found, _ = source(made, tmp_path, "math")
    assert found.content == before.content
    assert content_pin(tmp_path / "own.parquet", hub_pin(made)) == (hub_pin(made), 50)
    other = entry(**{**vars(made), "revision": "fedcba9876543210"})
    assert content_pin(tmp_path / "own.parquet", hub_pin(other))[0].startswith("sha256:")
    made.hub = str(tmp_path / "absent")
    with pytest.raises(RunError, match=r"own cannot be fetched .*hub data set"):
        download.download_file(made, tmp_path / "other.parquet")
