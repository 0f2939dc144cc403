"""Files that are made to fill the memory or to be waited for are named, in bounded memory and time."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing, rows
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.rows import read_rows

ROW = '{"a": "%s"}'


def peak(path: Path) -> int:
    """The most bytes that Python holds while a file is read."""
    tracemalloc.start()
    try:
        for _ in read_rows(path, "s"):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 30), st.integers(900, 1100), st.integers(2000, 5000)), max_size=8),
    block=st.integers(300, 2000),
    end=st.sampled_from(["", "\n"]),
)
def test_rows_beyond_the_limit_alone_are_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: list[int], block: int, end: str
) -> None:
    monkeypatch.setattr(rows, "BLOCK", block)
    monkeypatch.setattr(rows, "ROW_LIMIT", 1000)
    lines = [ROW % ("x" * length) for length in lengths]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + end)
    read = list(read_rows(path, "s"))
    assert [row.location for row in read] == [f"line {number + 1}" for number in range(len(lines))]
    for row, line in zip(read, lines, strict=True):
        if len(line) > 1000:
            assert row.broken is not None
            assert row.broken.startswith(f"{len(line):,} bytes, 1,000 are the most: {{")
        else:
            assert row.value == json.loads(line)
    monkeypatch.setattr(packing, "BLOCK", block)
    content_pin.__globals__["_hashes"].cache_clear()
    assert content_pin(path)[1] == len(lines)


def test_a_line_without_end_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    packed = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        for _ in range(200):
            file.write(packed.compress(os.urandom(2000).hex().encode() + b"y" * (1 << 20)))
        file.write(packed.flush())
    assert path.stat().st_size < 2_000_000
    assert peak(path) < 150_000_000


def test_what_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.zst"
    packed = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        for _ in range(300):
            file.write(packed.compress((ROW % ("y" * (1 << 20))).encode() + b"\n"))
        file.write(packed.flush())
    with pytest.raises(RequestError, match="unpacks to more than 1,000 times its size"):
        list(read_rows(path, "s"))


def test_an_array_with_a_row_without_end_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'[{"a": "')
        for _ in range(100):
            file.write(b"z" * (1 << 20))
    with pytest.raises(RequestError, match="a row of more than 33,554,432 bytes"):
        list(read_rows(path, "s"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="no regular file"):
        list(read_rows(tmp_path / "pipe", "s"))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_the_pin_of_a_damaged_file_is_a_message(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Benchmarks, tags, judges' texts and downloads are looked at this way alone."""
    path = tmp_path / "rows"
    path.write_bytes(pack(os.urandom(1000))[:-20])
    with pytest.raises(RequestError, match=rf"^{path} is damaged"):
        content_pin(path)
    with pytest.raises(RequestError, match=r"^evaluate\.sums\.path is damaged .*Fetch it again"):
        content_pin(path, called="evaluate.sums.path")
