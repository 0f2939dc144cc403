"""What a study's views are of is what its page says: sentences, numbers, the run that others are compared with."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_sweeps import claim, made
from values import RECIPE, benchmark, mixed, request

from sft_sweeps.analysis.cells import finals
from sft_sweeps.execution import Tracking
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import board as boards
from sft_sweeps.report import tracked
from sft_sweeps.report.page import evidence, findings, text
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.tracking import layout
from sft_sweeps.tracking.dashboard import charts, panels, views
from sft_sweeps.tracking.dashboard.board import Board

CLAIM = claim("Mixing keeps more", "strategy=multi_task", "strategy=sequential")
ABSENT = claim("Replay keeps more", "strategy=dmt", "strategy=sequential")
BENCHMARKS = (benchmark(ability="math"), benchmark("mini_general", ability="general"))


def plan(*claims: Any) -> Plan:
    points = [
        (
            f"strategy={name} train.seed={n}",
            request(mixed(), name, recipe=replace(RECIPE, seed=n), benchmarks=BENCHMARKS),
        )
        for name in ("sequential", "multi_task")
        for n in range(2)
    ]
    return build(points, claims)


def right(of: Score) -> list[bool]:
    """Mixing keeps 30 of 40, anything else 10."""
    count = 10 if len(of.generation.subject.chain) > 1 else 30
    return [index < count for index in range(40)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> evidence.Evidence:
    root = tmp_path_factory.mktemp("store")
    return evidence.read(made(root, plan(CLAIM, ABSENT), right), root)


@pytest.fixture(scope="module")
def board(sweep: evidence.Evidence) -> Board:
    return boards.board(sweep, "somebody", "table1")


def test_its_words_are_the_pages(sweep: evidence.Evidence, board: Board) -> None:
    found = findings.findings([sweep])
    assert board.words.headline == found.headline
    assert board.words.basis == found.basis
    assert [outcome for outcome, _ in board.words.claims] == [claim.outcome for claim in found.claims]
    assert board.words.claims[0][1] == board.words.headline
    outcome, said = board.words.claims[1]
    why = "no run here is strategy=dmt beside one that is strategy=sequential"
    assert (outcome, said) == ("not tested", f"Not tested: “Replay keeps more”; {why}.")
    assert board.words.costs[0][0] == "model"
    assert "strategy=sequential,multi_task" in board.words.commands[0]


def test_benchmarks_know_their_ability_and_what_they_are_weighed_against(board: Board) -> None:
    assert [(one.name, one.ability, one.unit, one.specialized) for one in board.asked] == [
        ("mini_math", "math", "%", True),
        ("mini_general", "general", "%", False),
    ]
    assert [(x.name, y.name) for x, y in board.pairs] == [("mini_math", "mini_general")]


def test_the_baseline_is_the_score_run_of_a_multi_task_run(sweep: evidence.Evidence, board: Board) -> None:
    of = [run.id for run in sweep.plan.runs if run.strategy == "multi_task"]
    assert board.reference in [layout.run_id("score", one, board.sweep) for one in of]
    others = tuple(run for run in sweep.plan.runs if run.strategy != "multi_task")
    assert boards._baseline(replace(sweep.plan, runs=others), "sweep") == ""


def test_what_the_views_draw_is_what_the_sweeps_runs_have(
    sweep: evidence.Evidence, board: Board, tmp_path: Path
) -> None:
    runs = tracked.Shown(sweep, tmp_path, Tracking("wandb", "table1")).all()
    by_type = {kind: [run for run in runs if run.job_type == kind] for kind in layout.JOB_TYPES}
    assert board.reference in {run.identity for run in by_type["score"]}
    (report,) = by_type["report"]
    assert report.tables[charts.TABLE] == boards.verdict(sweep)
    assert {run.tracking.group for run in runs} == {board.sweep}
    spec = json.dumps(panels.spec(views.review(board)))
    axes = {f"study.value.{name}" for run in runs for name, _ in run.tracking.axes}
    assert set(re.findall(r"study\.value\.\w+", spec)) <= axes
    has = {name for run in by_type["score"] for name in run.summary}
    asked = {name for name in re.findall(r'"summary:([^"]+)"', spec) if not name.endswith("/forgetting")}
    assert asked <= has, "forgetting is there where stages on the way are scored"
    assert any(name.endswith("/difference") for name in asked)
    shown = {name for run in by_type["score"] for name in run.tables}
    assert set(re.findall(r"samples/\w+", spec)) <= shown


def test_the_verdict_has_a_row_for_each_cell_with_its_interval(sweep: evidence.Evidence) -> None:
    table = boards.verdict(sweep)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    cells = finals(sweep.observations)
    assert len(rows) == len(cells) == 4
    for row, cell in zip(rows, cells, strict=True):
        shown = [row[name] for name in ("value", "low", "high")]
        assert shown == pytest.approx(
            [text.scaled(cell.first, end) for end in (cell.value, cell.low, cell.high)], abs=1e-4
        )
        assert (row["label"], row["arm"]) == (cell.label, cell.setting.strategy)
    beyond = {(row["benchmark"], row["arm"]): row["beyond"] for row in rows}
    assert beyond["mini_math", "multi_task"] == boards.REFERENCE
    assert beyond["mini_math", "sequential"] == boards.BEYOND
    (different,) = [row for row in rows if row["benchmark"] == "mini_math" and row["arm"] == "sequential"]
    assert different["difference"] == -50.0
    json.dumps(rows)


def test_a_sweep_without_a_score_has_views_too(tmp_path: Path) -> None:
    found = evidence.read(made(tmp_path, plan(), lambda _: []), tmp_path)
    board = boards.board(found, "", "p")
    assert board.words.headline.startswith("Nothing is scored yet")
    assert {one.unit for one in board.asked} == {"score"}
    assert len(board.words.missing) == len(found.plan.scores)
    assert boards.verdict(found).rows == ()
