"""`sft-sweeps export` and `import`: what they say, and that they overwrite nothing."""

from pathlib import Path

import made_sweeps
import pytest
from values import component, request

from sft_sweeps.commands.main import main
from sft_sweeps.plan.build import build
from sft_sweeps.store.sweeps import Sweep

PLAN = build([("x", request((component("math"),), every_stage=True))])


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return made_sweeps.made(tmp_path / "store", PLAN, lambda _: [True, False, True])


def test_there_and_back(sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, there, file = (str(tmp_path / name) for name in ("store", "there", "it.tar.zst"))
    assert main(["export", "made", "--out", file, "--output-dir", store]) == 0
    said = capsys.readouterr().out
    assert f"written: {file} (" in said
    assert "at the other site: sft-sweeps import it.tar.zst" in said
    assert main(["import", file, "--dry-run", "--output-dir", there]) == 0
    assert "would be imported" in capsys.readouterr().out
    assert not Path(there).exists()
    assert main(["import", file, "--output-dir", there]) == 0
    said = capsys.readouterr().out
    scores = len(PLAN.scores)
    assert f"1 x base model, {len(PLAN.stages)} x stage, {scores} x generation, {scores} x score" in said
    assert f"its page: sft-sweeps report {sweep.name} --output-dir {there}" in said
    for where in (there, store):
        assert main(["import", file, "--output-dir", where]) == 0
        assert capsys.readouterr().out == f"nothing to import: all of {sweep.name} is in {where}\n"


def test_nothing_is_overwritten(sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.tar.zst"
    file.write_text("mine")
    assert main(["export", sweep.name, "--out", str(file), "--output-dir", str(tmp_path / "store")]) == 2
    assert "is not overwritten; choose another: --out FILE" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("name", ["none.tar.zst", "store", "text"])
def test_what_is_no_export(name: str, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text(sweep.name)
    assert main(["import", str(tmp_path / name), "--output-dir", str(tmp_path / "there")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error ")
    assert said.count("\n") == 1
    assert not (tmp_path / "there").exists()
