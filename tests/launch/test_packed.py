"""`plan.gpus`: what is packed is what is shown, written and submitted; what cannot be packed is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from common import Points

from sft_sweeps.errors import RequestError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.launch import launch
from sft_sweeps.launch.missing import missing_jobs, missing_work
from sft_sweeps.launch.packed import packed
from sft_sweeps.launch.points import check, planned
from sft_sweeps.launch.settings import executions_of
from sft_sweeps.launch.show import show
from sft_sweeps.launch.slurm.resources import resources
from sft_sweeps.plan import scaling
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey

SEVEN = ("study=table1", "model=llama7b", "cluster=slurm_a100", "plan.measure=false")


def test_a_launch_submits_the_gpus_that_are_chosen(points: Points, tmp_path: Path) -> None:
    """On the ids and with the jobs that it would have without; each stage fits on them."""
    line = (*SEVEN, f"output_dir={tmp_path}")
    (plain, _), (work, config) = ((missing_work(planned(p), p[0].config), p[0].config) for p in
                                  (points(*line), points(*line, "plan.gpus=16")))  # fmt: skip
    assert [job.id for job in plain.jobs] == [job.id for job in work.jobs]
    into = packed(missing_jobs(work.survey, config), work.survey, config)
    assert into is not None
    stages = [job for job in work.jobs if job.stage]
    assert {job.gpus for job in stages} != {8}
    for job in stages:
        chosen = into.shown.of[job.id].gpus
        asked = resources(job, config.cluster)
        assert job.processes == job.gpus == chosen == asked.gpus
        assert asked.tasks_per_node * asked.nodes == chosen
    assert not list(launch._too_little_gpu_memory(work))
    others = ([job for job in one.jobs if not job.stage] for one in (plain, work))
    assert [replace(job, parent="") for job in next(others)] == [replace(job, parent="") for job in next(others)]


def test_the_plan_shows_it_within_80_columns_and_writes_it(
    points: Points, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.json"
    asked = points(*SEVEN, f"output_dir={tmp_path}/out", f"plan.output={file}", "plan.gpus=16", "plan.deadline=2d")
    assert show(planned(asked), [point.config for point in asked]).status == 0
    text = capsys.readouterr().out
    bars = [line for line in text.splitlines() if line.endswith("|") and "|" in line[:-1]]
    assert len(bars) == 1 + 9 + 1, text  # a head, nine stages, the GPUs at work
    assert all(len(line) <= 80 for line in bars)
    found = json.loads(file.read_text())["packing"]
    assert found["kept"]
    assert found["hours"] <= 48
    assert found["least_gpu_hours"] <= found["gpu_hours"] <= found["configured"]["gpu_hours"]
    assert f"{found['gpu_hours']:,.0f} GPU-hours" in text
    assert sum(job["gpus"] * (job["end"] - job["start"]) for job in found["jobs"]) == pytest.approx(
        found["gpu_hours"], rel=1e-3
    )


def test_an_impossible_deadline_says_the_least_and_what_to_change(
    points: Points, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (*SEVEN, f"output_dir={tmp_path}", "plan.gpus=8")
    for deadline, said in (("24h", "or plan.gpus="), ("1h", "more GPUs do not help: the longest chain of stages")):
        asked = points(*line, f"plan.deadline={deadline}")
        plan, config = planned(asked), asked[0].config
        with pytest.raises(RequestError, match=f"plan.deadline={deadline} cannot be kept on plan.gpus=8") as caught:
            missing_work(plan, config)
        assert said in str(caught.value)
        typed = str(caught.value).partition("Type plan.deadline=")[2].partition("h")[0]
        enough = points(*line, f"plan.deadline={typed}h")
        missing_work(planned(enough), enough[0].config)
        assert show(plan, [config]).status == 0
        assert f"a launch would be refused plan.deadline={deadline}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("plan.deadline=3d", "plan.deadline=3d needs the number of GPUs that the sweep may use: type plan.gpus=32"),
        ("plan.gpus=8 plan.deadline=soon", "plan.deadline=soon is no length of time; write plan.deadline=3d"),
        ("plan.gpus=8 plan.deadline=36", "plan.deadline=36 is no length of time"),
        ("plan.gpus=8 plan.deadline=0h", "plan.deadline=0h is no length of time"),
        ("plan.gpus=-1", "plan.gpus=-1 must be a number of at least 0"),
        ("plan.network_gb=0", "plan.network_gb=0.0 must be above 0"),
    ],
)
def test_what_is_typed_wrong_is_said(points: Points, typed: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        check(points("model=llama7b", "data=math", *typed.split()))
    assert said in str(caught.value)


def test_a_model_that_fits_on_no_such_number_is_named(points: Points, tmp_path: Path) -> None:
    asked = points("model=llama33b", "data=math", "cluster=slurm_a100", f"output_dir={tmp_path}", "plan.gpus=8")
    with pytest.raises(RequestError, match=r"model=llama33b fits on no number .* type plan.gpus=16 or more"):
        missing_work(planned(asked), asked[0].config)


def test_the_answers_of_an_average_wait_for_all_of_its_stages(points: Points, tmp_path: Path) -> None:
    """Averaging itself needs no GPU."""
    line = ("model=llama7b", "data=mixed", "strategy=merge", "cluster=slurm_a100", f"output_dir={tmp_path}")
    asked = points(*line, "plan.gpus=8")
    plan, config = planned(asked), asked[0].config
    found = survey(plan, Store(config.output_dir, ()))
    into = packed(missing_jobs(found, config), found, config)
    assert into is not None
    placed = into.shown.of
    answers = placed[f"generate-{plan.merges[0].id}"]
    assert answers.start >= max(placed[f"train-{stage.id}"].end for stage in plan.stages)
    assert len(plan.stages) == 3


def test_finished_stages_correct_the_estimate(points: Points, tmp_path: Path) -> None:
    """One that took twice what the formula says makes the others of its model take twice as long."""
    asked = points(*SEVEN, f"output_dir={tmp_path}", "plan.gpus=16")
    plan, config = planned(asked), asked[0].config
    found = survey(plan, Store(config.output_dir, ()))
    jobs = missing_jobs(found, config)
    before, first = packed(jobs, found, config), plan.stages[0]
    ran = TrainExecution(processes=8, recompute=True)
    estimate = scaling.hours(
        first, replace(executions_of(config).train, processes=8, recompute=True), scaling.Cluster()
    )
    record = {"seconds": 2 * 3600 * estimate, "mfu": 0.2, "execution": {
        "processes": ran.processes, "recompute": ran.recompute, "zero_stage": ran.zero_stage}}  # fmt: skip
    after = packed(jobs, replace(found, records={first.id: record}), config)
    assert before is not None
    assert after is not None
    assert after.corrections == {"llama7b": (pytest.approx(2.0), 1)}
    assert after.packing.longest_chain == pytest.approx(2 * before.packing.longest_chain, rel=0.02)


def test_nothing_to_pack_is_no_error(points: Points, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("model=mini", "data=mini", "train=mini", "plan.measure=false", "plan.gpus=4", f"output_dir={tmp_path}")
    asked = points(*line)
    assert show(planned(asked), [point.config for point in asked]).status == 0
    assert "plan.gpus=4: no job that is missing uses GPUs" in capsys.readouterr().out
    assert executions_of(asked[0].config).train == missing_work(planned(asked), asked[0].config).jobs[1].execution
