"""`action=plan` on a machine whose cores train: how long it takes, from one tried step."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT, Launch, Points

from sft_sweeps.identity import plain
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch import cpu_time
from sft_sweeps.launch.cpu_time import STEP_FLOPS, WEIGHTS, line, step_of, trial_of
from sft_sweeps.launch.missing import missing_work
from sft_sweeps.launch.points import planned
from sft_sweeps.plan import cost

QUICKSTART = ("study=quickstart", "cluster.jobs=2")


@pytest.fixture
def tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was tried; each step took 20 ms."""
    tried: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu_time, "_tried", lambda order: tried.append(order) or 0.02)
    return tried


def told(points: Points, tmp_path: Path, *overrides: str) -> tuple[str, list[Job]]:
    swept = points(*overrides, f"output_dir={tmp_path / 'store'}")
    plan, config = planned(swept), swept[0].config
    work = missing_work(plan, config)
    return line(work.jobs, plan, work.store, config), [job for job in work.jobs if job.stage]


def test_one_step_is_tried_and_kept(points: Points, tmp_path: Path, tries: list[str]) -> None:
    text, jobs = told(points, tmp_path, *QUICKSTART)
    heaviest = max(jobs, key=lambda job: job.steps * step_of(job).flops)
    least = 0.02 * sum(job.steps * step_of(job).flops for job in jobs) / step_of(heaviest).flops / 2
    found = re.search(
        r"2 at once\): about (\d+) s for 10 stages to train; a step of mini takes 0.02 s \(measured\)", text
    )
    assert found, text
    assert int(found[1]) >= round(least)
    assert told(points, tmp_path, *QUICKSTART)[0] == text
    assert len(tries) == 1
    assert not (tmp_path / "store").exists()


def test_a_large_model_is_estimated_and_says_so(points: Points, tmp_path: Path, tries: list[str]) -> None:
    """What is tried is small, whatever is asked."""
    large = ("model.shape.hidden_size=4096", "model.shape.layers=32", "model.shape.intermediate_size=11008")
    text, jobs = told(points, tmp_path, *QUICKSTART, *large)
    assert "(an estimate, from the operations of a smaller one that was measured)" in text
    assert " h for " in text
    for job in jobs:
        trial = trial_of(step_of(job))
        assert trial.flops <= STEP_FLOPS
        assert cost.parameters(trial.shape) <= WEIGHTS
        assert trial_of(trial) == trial
    assert len(tries) == 1


@pytest.mark.parametrize("override", ["plan.measure=false", "cluster.name=slurm", "cluster.name=debug"])
def test_nothing_is_tried(override: str, points: Points, tmp_path: Path, tries: list[str]) -> None:
    assert told(points, tmp_path, "study=quickstart", override)[0] == ""
    assert tries == []


def test_a_step_that_cannot_be_tried(
    points: Points, tmp_path: Path, tries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_time, "_tried", lambda _: None)
    assert "could not be tried here" in told(points, tmp_path, *QUICKSTART)[0]
    assert tries == []


def test_the_plans_json_says_nothing_of_this_machine(launch: Launch, tmp_path: Path, tries: list[str]) -> None:
    assert tries == []
    texts = []
    for measure in ("true", "false"):
        cached = tmp_path / "cache" / "sft-sweeps"
        cached.mkdir(parents=True, exist_ok=True)
        done = launch(
            "study=quickstart", "strategy=multi_task", "data=mini_math", "action=plan", "plan.output=p.json",
            f"plan.measure={measure}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("a step of mini takes" in done.stdout or "could not be tried" in done.stdout) == (measure == "true")
        texts.append((tmp_path / "p.json").read_text())
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_a_real_step(points: Points, tmp_path: Path) -> None:
    _, jobs = told(points, tmp_path, *QUICKSTART, "plan.measure=false")
    order = json.dumps(plain(trial_of(step_of(jobs[0]))))
    command = [sys.executable, "-m", "sft_sweeps.train.step_time"]
    done = subprocess.run(command, input=order, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert 0 < json.loads(done.stdout.splitlines()[-1])["seconds"] < 60
