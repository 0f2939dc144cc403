"""A folder is tried for what a store relies on, and left as it was."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sft_sweeps.commands.doctor import folder


def levels(root: Path) -> dict[str, str]:
    return {one.about: one.level for one in folder.findings(root)}


def test_a_good_one_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("1")
    found = levels(tmp_path)
    assert found.keys() >= {"folder", "rename", "locks", "clock", "space", "speed"}
    assert "problem" not in found.values()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert levels(tmp_path / "not" / "there").keys() == found.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def without_links(*_: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def without_locks(*_: Any) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("call", "broken", "about", "level"),
    [
        ("os.link", without_links, "rename", "problem"),
        ("os.link", lambda *_: None, "rename", "problem"),
        ("fcntl.flock", without_locks, "locks", "warning"),
        ("fcntl.flock", lambda *_: None, "locks", "warning"),
    ],
)
def test_what_a_file_system_lacks(  # noqa: PLR0917
    call: str, broken: Any, about: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, broken)
    found = levels(tmp_path)
    assert found.pop(about) == level
    assert "problem" not in found.values()
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("off", "level"), [(0.0, "ok"), (-30.0, "warning"), (90.0, "problem")])
def test_clocks_that_differ(off: float, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = folder.time.time
    monkeypatch.setattr(folder.time, "time", lambda: real() + off)
    assert levels(tmp_path)["clock"] == level


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT RUN: root may write anywhere")
def test_one_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert levels(tmp_path) == {"folder": "problem"}
