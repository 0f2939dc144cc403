"""`sft-sweeps dashboard`: the files it writes of a sweep, and what it says where it cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_sweeps import made
from values import request

from sft_sweeps.commands.main import main
from sft_sweeps.execution import Tracking
from sft_sweeps.plan.build import build
from sft_sweeps.tracking import remembered

pytest.importorskip("wandb_workspaces")

FILES = ("review.json", "live.json", "report.json", "verdict.vega.json", "trade_off.vega.json", "verdict.json")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    made(tmp_path / "store", build([("x=1", request())]), lambda _: [True, False], name="table1")
    return tmp_path / "store"


def test_the_files_are_written_and_named(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["dashboard", "table1", "--output-dir", str(store), "--out", str(out), "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (said["schema"], said["project"], said["pushed"]) == (1, "table1", [])
    assert said["written"] == [str(out / name) for name in FILES]
    review = json.loads((out / "review.json").read_text())
    assert review["displayName"].startswith("Review: table1-")
    assert "mini_math/score" in (out / "review.json").read_text()
    (row,) = json.loads((out / "verdict.json").read_text())
    assert (row["value"], row["fraction"], row["arm"]) == (50.0, 1.0, "multi_task")


def test_a_project_and_an_entity_of_ones_own(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--output-dir", str(store), "--project", "p", "--entity", "team"]) == 0
    assert "--push" in capsys.readouterr().out
    (folder,) = store.glob("sweeps/*/dashboard")
    report = json.loads((folder / "report.json").read_text())
    assert report["project"] == {"entityName": "team", "name": "p"}


def test_they_are_of_the_project_that_the_sweep_was_launched_with(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = store.glob("sweeps/*")
    remembered.remember(folder, Tracking("wandb", "mine", "team"))
    assert main(["dashboard", "--output-dir", str(store), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["entity"], said["project"]) == ("team", "mine")


def test_without_a_key_nothing_is_put_up_and_it_is_said_what_to_type(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", "--output-dir", str(store), "--push"]) == 2
    said = capsys.readouterr().err
    assert "wandb login" in said
    assert said.count("\n") == 1


def test_without_the_library_it_is_said_what_to_type(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces", None)
    assert main(["dashboard", "--output-dir", str(store)]) == 2
    assert "pip install 'sft-sweeps[dashboard]'" in capsys.readouterr().err


def test_a_project_that_no_tracker_takes_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--output-dir", str(store), "--project", "a/b"]) == 2
    assert "a/b" in capsys.readouterr().err
