"""Where the jobs of a sweep on Slurm stand, as its queue, its accounts and the records tell; in one question each."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from outcomes import accuracy, finish
from pretended_slurm import Pretended, row, start, submit
from rich.console import Console
from values import request

from sft_sweeps.commands.status import rows as status
from sft_sweeps.commands.status import tables as status_tables
from sft_sweeps.files.json_files import write_json
from sft_sweeps.jobs import attempts
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.slurm import reasons
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, freeze


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return start(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def plan() -> Plan:
    """Two runs: code, then math, then general; and all at once."""
    return build([("a", request(strategy="sequential")), ("b", request())])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def sweep(plan: Plan, store: Store) -> Sweep:
    """Its base model is there."""
    finish(store, plan.models[0])
    return freeze(plan, store, "mine", "", [])


def submit_all(sweep: Sweep, plan: Plan) -> list[str]:
    """The stages as jobs 1, 2_0, 3_0 ...; the ids of the jobs."""
    jobs = [f"train-{stage.id}" for stage in plan.stages]
    for n, job in enumerate(jobs):
        submit(sweep, f"{sweep.name}.c{n}", {job: f"{n + 1}_0" if n else "1"})
    return jobs


@pytest.fixture
def submitted(plan: Plan, sweep: Sweep) -> Sweep:
    submit_all(sweep, plan)
    return sweep


def look(plan: Plan, store: Store, sweep: Sweep) -> dict[str, Any]:
    return status.status(plan, Store(store.root), sweep.name)


def states(found: dict[str, Any]) -> list[str]:
    return [stage["state"] for stage in found["stages"]]


def name(sweep: Sweep, n: int) -> str:
    return f"{sweep.name}.c{n}"


def started(store: Store, stage: Stage, number: str, steps: int, seconds: float = 3.0) -> Path:
    folder = store.folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    attempts.begin(folder, number, 0, 8)
    metrics = [{"step": n, "steps": 120, "loss": 1.5, "seconds": seconds} for n in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    return folder


def test_the_queue_and_the_records_tell(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended) -> None:
    submit_all(sweep, plan)
    finish(store, plan.stages[0])
    folder = started(store, plan.stages[1], "2_0", 40)
    slurm.write(
        row("2_0", name(sweep, 1), "RUNNING"),
        row("3_0", name(sweep, 2), reason="Dependency"),
        row("4_0", name(sweep, 3), reason="QOSMaxJobsPerUserLimit"),
    )
    found = look(plan, store, sweep)
    assert states(found) == ["done", "running", "pending", "pending"]
    assert [stage["job"] for stage in found["stages"]] == ["", "2_0", "3_0", "4_0"]
    assert [stage["reason"] for stage in found["stages"]] == ["", "", "Dependency", "QOSMaxJobsPerUserLimit"]
    why = [stage["why"] for stage in found["stages"]]
    assert why[1:3] == ["on n7", "after its parent (Dependency)"]
    assert why[3] == "a limit of its quality of service is reached (QOSMaxJobsPerUserLimit)"
    assert found["stages"][1]["seconds_left"] == 240.0
    first, second = found["runs"]
    assert (first["state"], first["why"], first["stages_done"], first["stages"]) == ("training", "step 40 of 120", 1, 3)
    assert second["state"] == "pending"
    assert found["totals"]["states"] == {"done": 1, "running": 1, "pending": 2}
    assert (len(slurm.calls("squeue")), slurm.calls("sacct")) == (1, [])
    (folder / "resume" / "step-30").mkdir(parents=True)
    slurm.write(row("2_0", name(sweep, 1), reason="BeginTime"))
    requeued = look(plan, store, sweep)["stages"][1]
    assert requeued["state"] == "requeued"
    assert requeued["why"] == "resume state at step 30; starts again in a moment (BeginTime)"
    text = io.StringIO()
    status_tables.show(found, Console(file=text, width=200))
    assert "1 of 4 stages and 0 of 2 scores are done" in text.getvalue()
    assert "the other stages: 2 pending, 1 running" in text.getvalue()


def test_hours_spent_and_lost(
    plan: Plan, store: Store, sweep: Sweep, slurm: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_all(sweep, plan)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 7200)
    folder = started(store, plan.stages[0], "1", 100, seconds=36.0)
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    attempts.end(folder, "requeued")
    attempts.begin(folder, "1", 50, 8)
    monkeypatch.setattr(time, "time", lambda: now)
    slurm.write(row("1", name(sweep, 0), "RUNNING"))
    found = look(plan, store, sweep)
    stage = found["stages"][0]
    assert (stage["starts"], stage["gpu_hours"], stage["gpu_hours_lost"]) == (2, 16.0, 4.0)
    assert (found["totals"]["gpu_hours"], found["totals"]["gpu_hours_lost"]) == (16.0, 4.0)
    assert "16.0 GPU-hours spent on its stages, 4.0 of them lost to requeues" in " ".join(status_tables.summary(found))


def test_gone_without_a_word_and_without_accounts(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended) -> None:
    """The children were cancelled because of it; the stage of another run was never submitted."""
    ids = [stage.id for stage in plan.stages]
    submit(sweep, "c", {f"train-{key}": str(n) for n, key in enumerate(ids[:3], 1)})
    (started(store, plan.stages[0], "1", 9) / "resume" / "step-8").mkdir(parents=True)
    found = look(plan, store, sweep)
    assert states(found) == ["failed", "cancelled", "cancelled", "missing"]
    why = [stage["why"] for stage in found["stages"]]
    assert why[0] == (
        "its job 1 is no longer in the queue, and this cluster keeps no accounts: killed, cancelled or out of time; "
        "resume state at step 8; it left no log"
    )
    assert why[1:] == [
        f"its parent train-{ids[0]} failed",
        f"its parent train-{ids[1]} was cancelled",
        "never submitted; launch the sweep again",
    ]
    assert (len(slurm.calls("squeue")), len(slurm.calls("sacct"))) == (1, 1)
    (sweep.folder / "slurm").mkdir()
    for log in (sweep.folder / "slurm" / "1_0_log.out", store.folder(plan.stages[0]) / "logs" / "train-0.log"):
        log.parent.mkdir(exist_ok=True)
        log.write_text("step 1")
        assert look(plan, store, sweep)["stages"][0]["why"].endswith(f"; log: {log}")
    write_json(store.folder(plan.stages[0]) / "failure.json", {"reason": "loss is nan", "job": f"train-{ids[0]}"})
    first = look(plan, store, sweep)["stages"][0]
    assert (first["state"], first["why"], first["job"]) == ("failed", "loss is nan", "1")


@pytest.mark.parametrize(
    ("line", "state", "says"),
    [
        ("1|TIMEOUT|0:0|60|n1\n", "failed", "its time limit came before it had saved and left (TIMEOUT)"),
        ("1|OUT_OF_MEMORY|0:125|60|n1\n", "failed", "used more memory than it had asked for (OUT_OF_MEMORY, exit code"),
        ("1|CANCELLED by 0|0:0|0|None assigned\n", "cancelled", "it was cancelled (CANCELLED)"),
        ("", "failed", "no longer in the queue, and its accounts do not know it"),
    ],
)
def test_accounts(line: str, state: str, says: str, submitted: Sweep, slurm: Pretended) -> None:
    (slurm.folder / "accounts").write_text(line)
    slurm.write(*(row(f"{n + 1}_0", name(submitted, n), reason="Dependency") for n in (1, 2, 3)))
    found = look(submitted.plan(), Store(submitted.folder.parents[1]), submitted)["stages"][0]
    assert (found["state"], says in found["why"]) == (state, True), found["why"]
    assert len(slurm.calls("sacct")) == 1
    assert "1" in slurm.calls("sacct")[0]


def test_an_ended_job_that_the_queue_still_lists_needs_no_accounts(
    plan: Plan, store: Store, sweep: Sweep, slurm: Pretended
) -> None:
    submit_all(sweep, plan)
    slurm.write(
        row("1", name(sweep, 0), "NODE_FAIL"),
        row("2_0", name(sweep, 1), "CANCELLED", "Dependency"),
        row("3_0", name(sweep, 2), "CANCELLED", "Dependency"),
        row("4_0", "another job with a number that Slurm gave away again", "RUNNING"),
    )
    found = look(plan, store, sweep)
    assert states(found) == ["failed", "cancelled", "cancelled", "failed"]
    assert "its node failed (NODE_FAIL)" in found["stages"][0]["why"]
    assert "its job 4_0 is no longer in the queue" in found["stages"][3]["why"]
    assert [call[call.index("--jobs") + 1] for call in slurm.calls("sacct")] == ["4"]


def test_a_stage_that_another_sweep_trains(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended) -> None:
    folder = store.folder(plan.stages[0])
    folder.mkdir(parents=True)
    claim = claims.take(folder, "theirs", "theirs.1", 4)
    assert claim
    claims.confirm(folder, claim, "77_4")
    slurm.write(row("77_4", "theirs.1", reason="Priority"))
    submit(sweep, "c", {f"train-{stage.id}": str(n) for n, stage in enumerate(plan.stages) if n})
    stage = look(plan, store, sweep)["stages"][0]
    assert (stage["state"], stage["why"]) == ("pending", "for sweep theirs: others come first (Priority)")
    slurm.write(row("77_4", "theirs.1", "RUNNING"))
    stage = look(plan, store, sweep)["stages"][0]
    assert (stage["state"], stage["why"], stage["job"]) == ("running", "for sweep theirs: on n7", "77_4")


def test_a_controller_that_does_not_answer(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended) -> None:
    submit_all(sweep, plan)
    finish(store, plan.stages[0])
    (slurm.folder / "controller").unlink()
    found = look(plan, store, sweep)
    assert states(found) == ["done", "unknown", "unknown", "unknown"]
    assert {stage["why"] for stage in found["stages"][1:]} == {"Slurm does not answer here"}
    assert len(slurm.calls("squeue")) == 1


def test_jobs_that_answer_and_score(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended) -> None:
    for stage in plan.stages:
        finish(store, stage)
    first, second = (run.id for run in plan.runs)
    submit(sweep, "c", {f"generate-{first}": "5_0", f"generate-{second}": "5_1"})
    submit(sweep, "d", {f"score-{first}": "6_0", f"score-{second}": "6_1"})
    slurm.write(row("5_0", "c", "RUNNING"), row("6_0", "d", reason="Dependency"), row("6_1", "d", "COMPLETED"))
    accuracy(store, plan.scores[1], 1, 4)
    found = look(plan, store, sweep)
    assert [(run["state"], run["scores_done"], run["scores"]) for run in found["runs"]] == [
        ("scoring", 0, 1),
        ("scored", 1, 1),
    ]
    assert [(job["kind"], job["state"]) for job in found["jobs"]] == [("generate", "running"), ("score", "pending")]
    assert found["scores"] == {"done": 1, "total": 2}
    place = store.folder(plan.runs[0].subject) / "generations"
    write_json(place / "failure.json", {"reason": "out of memory", "job": f"generate-{first}"})
    slurm.write()
    found = look(plan, store, sweep)
    assert [(job["state"], job["why"]) for job in found["jobs"]] == [
        ("failed", "out of memory"),
        ("cancelled", f"its parent generate-{first} failed"),
    ]
    assert found["runs"][0]["why"] == "generate: out of memory"
    text = io.StringIO()
    status_tables.show(found, Console(file=text, width=200))
    assert f"({first}): failed out of memory" in text.getvalue()
    assert "other jobs: 1 to score cancelled" in text.getvalue()


def test_every_reason_is_told_with_slurm_s_own_word() -> None:
    assert reasons.waiting("AssocGrpGRES") == "a limit of your account is reached (AssocGrpGRES)"
    assert reasons.waiting("ReqNodeNotAvail, UnavailableNodes:n7").startswith("nodes that it needs are down or")
    assert reasons.waiting("SomethingNew") == "waits (SomethingNew)"
    assert reasons.waiting("") == "just submitted"
    assert reasons.ended("SOMETHING") == "it ended (SOMETHING)"
