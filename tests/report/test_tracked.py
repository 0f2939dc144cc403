"""A sweep's runs at a tracker say what its report says: scores, differences, forgetting; and which is made of which."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_sweeps import made
from values import RECIPE, benchmark, mixed, request

from sft_sweeps.execution import Tracking
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report.page import evidence
from sft_sweeps.report.tracked import Shown
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.tracking import layout, remembered
from sft_sweeps.tracking.base import Attempt

BENCHMARKS = (benchmark(ability="math"), benchmark("mini_code", ability="code"))
TRACKING = Tracking("wandb", "table1", tags=("table1",))


def plan() -> Plan:
    asked = [
        request(mixed(), name, recipe=replace(RECIPE, seed=0), benchmarks=BENCHMARKS, every_stage=True)
        for name in ("sequential", "multi_task")
    ]
    return build([(f"strategy={one.strategy}", one) for one in asked])


def right(of: Score) -> list[bool]:
    """After the stage on math 30 of 40 are right, after a later one 10; else 20."""
    chain = of.generation.subject.chain
    abilities = [{c.source.ability for c in stage.mixture.components} for stage in chain]
    count = 20 if len(chain) == 1 and len(abilities[0]) == 3 else 30 if "math" in abilities[-1] else 10
    return [index < count for index in range(40)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Attempt]:
    root = tmp_path_factory.mktemp("store")
    sweep = made(root, plan(), right)
    return Shown(evidence.read(sweep, root), sweep.folder, TRACKING).all()


def of_type(runs: list[Attempt], kind: str) -> list[Attempt]:
    return [run for run in runs if run.job_type == kind]


def test_there_is_a_run_for_each_thing_that_was_made(runs: list[Attempt]) -> None:
    counts = {kind: len(of_type(runs, kind)) for kind in layout.JOB_TYPES}
    assert counts == {"prepare": 1, "train": 4, "generate": 4, "score": 2, "report": 1}
    assert len({run.identity for run in runs}) == len(runs)
    assert {run.identity for run in of_type(runs, "train")} == {stage.id for stage in plan().stages}
    axes = {tuple(dict(run.tracking.axes)) for run in runs}
    assert len(axes) == 1, "a run lacks axes that others have"
    assert {run.tracking.group for run in runs} == {of_type(runs, "score")[0].folder.name}


def test_a_score_run_says_what_the_table_says(runs: list[Attempt]) -> None:
    by_strategy = {dict(run.tracking.axes)["strategy"]: run for run in of_type(runs, "score")}
    sequential, multi = by_strategy["sequential"], by_strategy["multi_task"]
    assert sequential.summary["mini_math/score"] == 25.0
    assert float(sequential.summary["mini_math/low"]) < 25 < float(sequential.summary["mini_math/high"])
    assert sequential.summary["mini_math/n"] == 40
    assert sequential.summary["mini_math/difference"] == -25.0, "20 of 40 became 10"
    assert sequential.summary["mini_math/forgetting"] == -50.0, "30 of 40 after math, 10 at the end"
    assert float(sequential.summary["mini_math/p"]) < 0.05
    assert "mini_math/difference" not in multi.summary
    assert layout.REFERENCE in multi.tracking.tags
    assert layout.REFERENCE not in sequential.tracking.tags
    assert {layout.GPU_HOURS, layout.GPU_HOURS_PLANNED} <= sequential.summary.keys()


def test_samples_begin_with_wrong_ones(runs: list[Attempt]) -> None:
    for run in of_type(runs, "score"):
        table = run.tables["samples/mini_math"]
        assert next(row[table.columns.index("right")] for row in table.rows) is False
        assert len(table.rows) == 40


def test_every_thing_that_is_used_was_made_by_a_run_or_is_a_source(runs: list[Attempt]) -> None:
    so_far: set[str] = set()
    for run in runs:
        used = {one.name for one in run.uses if not one.name.startswith("source-")}
        assert used <= so_far, run.label
        so_far |= {one.name for one in run.makes}
    kinds = [{one.kind for one in run.uses} for run in runs]
    assert {"data", "model", "answers"} == set().union(*kinds)
    assert len([one for run in of_type(runs, "score") for one in run.makes]) == 8, (
        "a score on the way belongs to its run"
    )


def test_the_report_run_has_the_tables_and_says_that_all_is_done(runs: list[Attempt]) -> None:
    (report,) = of_type(runs, "report")
    assert {layout.SCORES, layout.DIFFERENCES, "verdict"} == set(report.tables)
    assert len(report.tables[layout.DIFFERENCES].rows) == 2
    assert [alert.title.endswith("is finished") for alert in report.alerts] == [True]


def test_an_unfinished_sweep_raises_no_alert(tmp_path: Path) -> None:
    sweep = made(tmp_path, plan(), lambda one: right(one) if one.generation.benchmark.name == "mini_math" else [])
    (report,) = of_type(Shown(evidence.read(sweep, tmp_path), sweep.folder, TRACKING).all(), "report")
    assert report.alerts == ()


def test_where_a_sweep_is_shown_is_remembered(tmp_path: Path) -> None:
    assert remembered.remembered(tmp_path) is None
    remembered.remember(tmp_path, TRACKING)
    assert remembered.remembered(tmp_path) == TRACKING
    (tmp_path / remembered.FILE).write_text("[]")
    assert remembered.remembered(tmp_path) is None
