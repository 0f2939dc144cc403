"""What is no GGUF file is refused; the conversion itself is tested on the real file (test_smollm2)."""

import os
import zipfile
from pathlib import Path

import pytest

from sft_sweeps.commands import gguf, main


def test_what_is_no_gguf_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGML....")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("readme", "x")
    (tmp_path / "there").mkdir()
    for name, out, said in (
        ("absent", "new", "there is no file"),
        ("a.gguf", "new", "is no GGUF file"),
        ("b.whl", "new", "holds 0 GGUF files"),
        ("a.gguf", "there", "is there already"),
    ):
        assert main.main(["gguf", str(tmp_path / name), "--out", str(tmp_path / out)]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_folder_is_for_everybody_and_nothing_else_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors writes files that their owner alone can read."""

    def convert(_: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").touch(0o600)

    monkeypatch.setattr(gguf, "_convert", convert)
    (tmp_path / "a.gguf").write_bytes(b"GGUF....")
    mask = os.umask(0o022)
    try:
        assert main.main(["gguf", str(tmp_path / "a.gguf"), "--out", str(tmp_path / "new")]) == 0
    finally:
        os.umask(mask)
    assert (tmp_path / "new" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (1, "")
