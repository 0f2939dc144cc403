"""Folders that may not be there yet."""

from pathlib import Path

import pytest

from sft_sweeps.files.folders import nearest_existing


def test_the_nearest_existing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for path, nearest in ((".", "."), ("a/b/c", "."), ("file", "file"), ("file/a", "file")):
        assert nearest_existing(tmp_path / path) == tmp_path / nearest
    monkeypatch.chdir(tmp_path)
    assert nearest_existing(Path("a/b")) == tmp_path
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
