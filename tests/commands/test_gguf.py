"""What is no GGUF file is refused; the conversion itself is tested on the real file (test_smollm2)."""

import zipfile
from pathlib import Path

import pytest

from sft_sweeps.commands import main


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
