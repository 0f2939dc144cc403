"""Commands find the store and the cluster that a launch from the same folder would use."""

from pathlib import Path

import pytest

from sft_sweeps.commands import main
from sft_sweeps.config import site

LOCAL = """# @package _global_
output_dir: {store}
cluster:
  partition: gpu
  modules: [cuda/12.4]
  kinds:
    score: {{partition: cpu}}
"""


def write(folder: Path, store: str) -> None:
    (folder / "conf" / "local").mkdir(parents=True)
    (folder / "conf" / "local" / "default.yaml").write_text(LOCAL.format(store=store))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site, "CONF", tmp_path / "no")
    return tmp_path


def test_without_a_local_file_it_is_the_default() -> None:
    assert site.output_dir() == "multirun_outputs"
    assert site.cluster().partition is None


def test_the_local_file_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", str(here))
    write(here, "${oc.env:SCRATCH}/sweeps")
    assert site.output_dir() == f"{here}/sweeps"
    cluster = site.cluster()
    assert (cluster.name, cluster.partition, cluster.modules) == ("slurm", "gpu", ["cuda/12.4"])
    assert cluster.kinds["score"].partition == "cpu"


@pytest.mark.parametrize("text", ["[", "- a", "", "output_dir: ${oc.env:NOT_SET}", "cluster: {partitoin: x}", "\0"])
def test_one_that_is_wrong_is_a_launchs_to_complain_about(here: Path, text: str) -> None:
    write(here, "x")
    (here / "conf" / "local" / "default.yaml").write_text(text)
    assert site.output_dir() == "multirun_outputs"
    assert site.cluster().partition is None


@pytest.mark.parametrize("command", [["status"], ["report"], ["logs", "x"], ["cancel", "x"]])
def test_commands_look_there(here: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write(here, f"{here}/elsewhere")
    assert main.main(command) == 2
    assert f"{here}/elsewhere" in capsys.readouterr().err
