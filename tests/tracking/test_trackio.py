"""trackio as a mirror: the real one, whose files are read back with SQLite alone."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import layout, process, trackio
from sft_sweeps.tracking.base import Attempt, Ending, Table
from sft_sweeps.tracking.metrics import Metrics
from sft_sweeps.tracking.process import log_file
from sft_sweeps.tracking.trackers import TRACKERS

pytest.importorskip("trackio")

AXES = (("model", "mini"), ("k", "1/4"))
ID = "0123456789ab"


@pytest.fixture(autouse=True)
def _nobodys_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TRACKIO_")]:
        monkeypatch.delenv(name)


def stage(store: Path) -> Path:
    made = store / "stages" / f"mini--math-{ID}"
    made.mkdir(parents=True, exist_ok=True)
    return made


def attempt(folder: Path, **changes: Any) -> Attempt:
    tracking = Tracking("trackio", "table 1", group="sweep-1", axes=AXES)
    return Attempt(folder, tracking, ID, "mini--math", {"recipe": {"epochs": 3}}, **changes)


def take(folder: Path, first: int, last: int, loss: float) -> None:
    """One attempt at training, mirrored to its end."""
    mirror, metrics = TRACKERS.get("trackio").open(attempt(folder)), Metrics(folder)
    for step in range(first, last + 1):
        metrics.write({"step": step, "steps": 9, "loss": loss, "supervised_tokens": 10, "mfu": None})
    metrics.close()
    mirror.close(60, Ending())


def place(of: Path) -> Path:
    return process.place(of, trackio.NAME, trackio.FOLDER)


def rows(database: Path, what: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(database) as connection:
        return connection.execute(what).fetchall()


def test_a_resumed_stage_is_one_run_with_every_step_once_as_metrics_jsonl_has_it(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    take(folder, 1, 6, loss=2.0)
    take(folder, 5, 9, loss=1.0)
    database = tmp_path / "trackio" / "table1.db"
    found = rows(database, "select step, run_id, run_name, metrics from metrics order by step")
    assert [row[0] for row in found] == list(range(1, 10)), log_file(folder, "trackio").read_text()
    assert {row[1:3] for row in found} == {(ID, f"mini--math {ID}")}
    shown = [json.loads(row[3]) for row in found]
    assert [one["train/loss"] for one in shown] == [2.0] * 4 + [1.0] * 5
    assert [one[layout.SUPERVISED_SEEN] for one in shown] == [10.0 * step for step in range(1, 10)]
    ((config,),) = rows(database, "select config from configs")
    of = json.loads(config)
    assert (of["study.k"], of["study.model"], of["recipe.epochs"], of["_Group"]) == ("1/4", "mini", 3, "sweep-1")


def test_trackio_itself_finds_the_run(tmp_path: Path) -> None:
    take(stage(tmp_path), 1, 3, loss=2.0)
    command = [str(Path(sys.executable).parent / "trackio"), "list", "runs", "--project", "table 1", "--json"]
    code = f"import sys; sys.argv = {command}; from trackio.cli import main; main()"
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert f"mini--math {ID}" in done.stdout, done.stderr


def test_on_a_networks_file_system_lines_go_into_an_inbox_that_gives_each_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_STORAGE_MODE", "jsonl")
    folder = stage(tmp_path)
    take(folder, 1, 6, loss=2.0)
    take(folder, 5, 9, loss=1.0)
    place = tmp_path / "trackio"
    assert not list(place.glob("*.db"))
    written = [json.loads(line) for path in place.glob("inbox/*/*.jsonl") for line in path.read_text().splitlines()]
    assert {one["run_id"] for one in written} == {ID}
    assert {one["log_id"]: one["step"] for one in written} == {f"{ID}-{step}": step for step in range(1, 10)}


def test_a_finished_run_has_its_numbers_and_its_tables(tmp_path: Path) -> None:
    table = Table(("question", "right"), (("1 + 1?", False),))
    folder = stage(tmp_path)
    run = attempt(folder, job_type="score", summary={"gsm8k/score": 41.5}, tables={"samples/gsm8k": table})
    TRACKERS.get("trackio").open(run).close(60, Ending())
    ((step, metrics),) = rows(tmp_path / "trackio" / "table1.db", "select step, metrics from metrics")
    shown = json.loads(metrics)
    assert (step, shown["gsm8k/score"]) == (0, 41.5), log_file(folder, "trackio").read_text()
    assert shown["samples/gsm8k"]["_value"] == [{"question": "1 + 1?", "right": False}]


def test_a_folder_of_the_users_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place(tmp_path / "stages" / "x" / "scores" / "y") == tmp_path / "trackio"
    assert place(tmp_path / "nowhere") == tmp_path / "nowhere" / "trackio"
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "mine"))
    assert place(tmp_path / "stages" / "x") == tmp_path / "mine"


def test_without_trackio_it_is_said_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(trackio.problems(Tracking("trackio")))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (problem,) = trackio.problems(Tracking("trackio"))
    assert "pip install 'sft-sweeps[trackio]'" in problem


def test_a_folder_that_cannot_be_written_is_a_line_in_status_and_no_delay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "taken"))
    folder, started = stage(tmp_path), time.monotonic()
    take(folder, 1, 3, loss=2.0)
    assert time.monotonic() - started < 30
    noted = json.loads((folder / "mirror.json").read_text())
    assert noted["tracker"] == "trackio"
    assert "taken" in noted["problem"]
