"""`sft-sweeps next` on a store: what it says, what it launches, and what it refuses."""

import json
from pathlib import Path

import pytest
from common import Points
from outcomes import accuracy, finish

from sft_sweeps.commands.main import main
from sft_sweeps.config.grid import Point
from sft_sweeps.launch import run as launching
from sft_sweeps.launch.points import planned
from sft_sweeps.plan.build import Plan
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import freeze

LATER = ("dmt", "mixed_sequential")


@pytest.fixture
def plan(points: Points) -> Plan:
    return planned(points("study=quickstart"))


@pytest.fixture
def store(tmp_path: Path, plan: Plan) -> Store:
    """The quickstart, of which the runs with two stages are still to come; code+math is trained."""
    store = Store(tmp_path)
    freeze(plan, store, "quickstart", "", [])
    first = next(run for run in plan.runs if run.strategy in LATER)
    finish(store, first.stages[0])
    here = {run.id for run in plan.runs if run.strategy not in LATER}
    for number, score in enumerate(plan.scores):
        if score.generation.subject.id in here:
            accuracy(store, score, 300 + 7 * number, 1000)
    return store


def said(store: Store, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:  # type: ignore[type-arg]
    assert main(["next", "--output-dir", str(store.root), "--json", *arguments]) == 0
    found: dict = json.loads(capsys.readouterr().out)  # type: ignore[type-arg]
    return found


def test_missing_runs_are_weighed_by_what_they_cost(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = said(store, capsys)
    chosen = [one for choice in made["choices"] for one in choice["runs"]]
    missing = {run.id for run in plan.runs if run.strategy in LATER}
    assert {one["id"] for one in chosen} <= missing
    assert len(chosen) >= 2
    assert all(len(one["stages"]) == 1 for one in chosen), "code+math is trained"
    assert made["unit"] == "% of the sweep's training"
    stages = {stage["id"]: stage["hours"] for one in chosen for stage in one["stages"]}
    assert made["hours"] == pytest.approx(sum(stages.values()))
    assert {one["state"] for one in made["conclusions"]} >= {"settled", "open"}


def test_nothing_is_affordable_without_a_budget(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made = said(store, capsys, "--budget", "0")
    assert made["choices"] == []
    assert made["stopped"].startswith("nothing unsettled is affordable")
    assert main(["next", "--output-dir", str(store.root)]) == 0
    shown = capsys.readouterr().out
    assert "to run next, at most 100" in shown
    assert "conclusions as they stand now" in shown


def test_launching_composes_the_runs_that_were_chosen(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Point] = []

    def launch(points: list[Point]) -> int:
        launched.extend(points)
        return 0

    monkeypatch.setattr(launching, "run", launch)
    made = said(store, capsys)
    assert main(["next", "--output-dir", str(store.root), "--launch"]) == 0
    chosen = {one["id"] for choice in made["choices"] for one in choice["runs"]}
    assert {run.id for run in planned(launched).runs} == chosen


def test_a_budget_that_is_none_is_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("-1", "nan", "inf"):
        assert main(["next", "--output-dir", str(store.root), "--budget", text]) == 2
        assert "is no cost" in capsys.readouterr().err


def test_nothing_scored_is_refused(tmp_path: Path, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    freeze(plan, Store(tmp_path), "quickstart", "", [])
    assert main(["next", "--output-dir", str(tmp_path)]) == 2
    assert "is scored yet, so nothing is known" in capsys.readouterr().err
