"""Why a job failed is kept, also where the disk has no room for it."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from common import ROOT
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.store import failures


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@given(st.text(min_size=1) | st.text(min_size=3000, max_size=6000), st.booleans())
def test_a_reason_of_any_kind_fits_where_room_was_kept(reason: str, room: bool) -> None:
    """Its first line, cut where it is longer than the room; nothing grows, and no file is left over."""
    first = reason.strip().partition("\n")[0]
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        failures.begin(folder)
        assert failures.reason_of(folder) == ""
        if not room:
            patch.setattr(failures, "write_json", full)
        failures.write(folder, "train-1", reason)
        kept = failures.reason_of(folder)
        assert first.startswith(kept)
        assert kept == first or not room
        assert len(kept) >= min(len(first), 250)  # 12 bytes for a character that JSON escapes twice
        assert json.loads((folder / failures.FAILURE).read_text())["job"] == "train-1"
        if not room:
            assert (folder / failures.FAILURE).stat().st_size == failures.SIZE
        failures.end(folder)
        assert [path.name for path in folder.iterdir()] == [failures.FAILURE]


def test_the_first_reason_stays_unless_it_is_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures.begin(tmp_path)
    failures.write(tmp_path, "a", "first")
    failures.write(tmp_path, "a", "second")
    assert failures.reason_of(tmp_path) == "first"
    monkeypatch.setattr(failures, "write_json", full)
    failures.write(tmp_path, "a", "third", again=True)
    assert failures.reason_of(tmp_path) == "third"
    failures.write(tmp_path, "a", "fourth", again=True)  # the room is used up
    assert failures.reason_of(tmp_path) == "third"
    failures.begin(tmp_path)
    assert failures.reason_of(tmp_path) == ""


FILL = """
import sys
from pathlib import Path
from sft_sweeps.store import failures
folder = Path(sys.argv[1])
failures.begin(folder)
try:
    with (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x")
except OSError as error:
    failures.write(folder, "train-1", str(error))
print(failures.reason_of(folder))
"""


def test_on_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && exec {sys.executable} -c '{FILL}' {tmp_path}"
    command = ["unshare", "-Urm", "sh", "-c", mount]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    except FileNotFoundError:
        pytest.skip("NOT RUN: no unshare here")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip("NOT RUN: no file system can be mounted here")
    assert done.stdout == "[Errno 28] No space left on device\n", done.stderr
