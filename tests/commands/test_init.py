"""`sft-sweeps init` makes a folder to start from, and touches nothing that is there."""

from pathlib import Path

import pytest
from common import ROOT
from omegaconf import OmegaConf

from sft_sweeps.commands import main


def test_a_folder_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its study is planned in test_wheel; the site's settings are those of the example, once their # are removed."""
    folder = tmp_path / "deep" / "mine"
    assert main.main(["init", str(folder)]) == 0
    local = folder / "conf" / "local" / "default.yaml"
    assert not OmegaConf.load(local)
    settings = [line.removeprefix("# ") for line in local.read_text().splitlines()[3:]]
    example = OmegaConf.load(ROOT / "conf" / "local" / "default.yaml.example")
    assert OmegaConf.create("\n".join(settings)) == example
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# mine\n")
    assert readme.count("\n    sft-sweeps ") == 3
    assert "conf/local/" in (folder / ".gitignore").read_text()
    assert f"cd {folder} && sft-sweeps launch study=mine action=plan" in capsys.readouterr().out


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    for folder, said in ((tmp_path, "is not empty"), (tmp_path / "file", "cannot be written (Not a directory)")):
        assert main.main(["init", str(folder)]) == 2
        assert f"error {folder} {said}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["init", "."]) == 0
    assert (tmp_path / "README.md").read_text().startswith(f"# {tmp_path.name}\n")
