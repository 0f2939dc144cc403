"""One look at a sweep: Slurm is asked once for it, anew for the next, and before the records are read.

What the states are and why: tests/commands/test_status.py.
"""

import shlex
from pathlib import Path

import pytest
from outcomes import finish
from pretended_slurm import Pretended, row, start, submit
from values import request

from sft_sweeps.jobs.status import SweepStatus, status_of
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store import claims, failures
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, freeze


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return start(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def plan() -> Plan:
    return build([("a", request(strategy="sequential"))])


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    """Its base model is there."""
    made = Store(tmp_path / "store")
    finish(made, plan.models[0])
    return made


@pytest.fixture
def sweep(plan: Plan, store: Store) -> Sweep:
    """Its stages are jobs 1_0, 2_0 ..., whose claims name them as the launcher writes them."""
    sweep = freeze(plan, store, "mine", "", [])
    for n, stage in enumerate(plan.stages, 1):
        submit(sweep, f"call{n}", {f"train-{stage.id}": f"{n}_0"})
        folder = store.folder(stage)
        folder.mkdir(parents=True)
        claim = claims.take(folder, sweep.name, f"call{n}", 0)
        assert claim
        claims.confirm(folder, claim, f"{n}_0")
    return sweep


def look(plan: Plan, store: Store, sweep: Sweep) -> SweepStatus:
    return status_of(plan, Store(store.root), sweep.folder)


def trained(status: SweepStatus, plan: Plan) -> list[str]:
    return [status.jobs[f"train-{stage.id}"].state for stage in plan.stages]


def test_slurm_is_asked_once_for_each_look_and_anew_for_the_next(
    plan: Plan, store: Store, sweep: Sweep, slurm: Pretended
) -> None:
    """Both by the jobs' numbers and by the claims in the stages' folders, whose states are of the same moment."""
    looks = (("RUNNING", "PENDING", "PENDING"), ("RUNNING", "RUNNING", "PENDING"), ("PENDING", "RUNNING", "RUNNING"))
    for asked, states in enumerate(looks, 1):
        slurm.write(*(row(f"{n}_0", f"call{n}", state) for n, state in enumerate(states, 1)))
        status = look(plan, store, sweep)
        assert trained(status, plan) == [state.lower() for state in states]
        assert [status.states[stage.id].state for stage in plan.stages] == ["running"] * 3
        assert len(slurm.calls("squeue")) == asked
    slurm.write()
    status = look(plan, store, sweep)
    assert trained(status, plan) == ["failed", "cancelled", "cancelled"]
    assert [status.states[stage.id].state for stage in plan.stages] == ["missing"] * 3
    assert len(slurm.calls("squeue")) == len(looks) + 1


def test_a_job_that_ends_while_slurm_is_asked_is_done(
    plan: Plan, store: Store, sweep: Sweep, slurm: Pretended, tmp_path: Path
) -> None:
    """It has left the queue when that answers, and its record is written before."""
    first = plan.stages[0]
    elsewhere = Store(tmp_path / "elsewhere")
    finish(elsewhere, first)
    moves = f"cp -r {shlex.quote(str(elsewhere.folder(first)))}/. {shlex.quote(str(store.folder(first)))}"
    (slurm.folder / "squeue").write_text(f"#!/bin/sh\n{moves}\n")
    assert trained(look(plan, store, sweep), plan)[0] == "done"


KILLED = "srun: error: n7: task 1: Killed\nsrun: error: n7: task 0: Exited with exit code 1\n"
LOST_PEER = f"{failures.PEERS}, and rank 0 with it"


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (("FAILED", LOST_PEER, KILLED), ("failed", "rank 1 was killed by SIGKILL", "FAILED")),
        (("FAILED", "", KILLED), ("failed", "rank 1 was killed by SIGKILL", "FAILED")),
        (("OUT_OF_MEMORY", LOST_PEER, KILLED), ("failed", "used more memory than it had asked for", "OUT_OF_MEMORY")),
        (("", LOST_PEER, KILLED), ("failed", "rank 1 was killed by SIGKILL", "")),
        (("FAILED", LOST_PEER, ""), ("failed", LOST_PEER, "FAILED")),
        (("FAILED", "the loss is no number", KILLED), ("failed", "the loss is no number", "")),
        (("PREEMPTED", LOST_PEER, KILLED), ("failed", "it was preempted", "PREEMPTED")),
        (("PREEMPTED", "", KILLED), ("failed", "it was preempted", "PREEMPTED")),
        (("PREEMPTED", "the loss is no number", KILLED), ("failed", "the loss is no number", "")),
        (("NODE_FAIL", LOST_PEER, KILLED), ("failed", "its node failed", "NODE_FAIL")),
        (("CANCELLED", LOST_PEER, KILLED), ("cancelled", "it was cancelled", "CANCELLED")),
    ],
)
def test_why_a_job_ended_whose_ranks_lost_each_other(
    ended: tuple[str, str, str], told: tuple[str, str, str], sweep: Sweep, slurm: Pretended, store: Store
) -> None:
    """Slurm knows whether it was preempted, srun which rank was killed; a reason of its own goes before both."""
    (state, reason, log), plan = ended, sweep.plan()
    job = f"train-{plan.stages[0].id}"
    slurm.write(*([row("1_0", "call1", state)] if state else []))
    (sweep.folder / "slurm").mkdir()
    (sweep.folder / "slurm" / "1_0_0_log.out").write_text(f"sft-sweeps: start 1 on n7\n{log}")
    if reason:
        failures.write(store.folder(plan.stages[0]), job, reason)
    found = look(plan, store, sweep).jobs[job]
    status, says, word = told
    assert (found.state, found.reason) == (status, word)
    assert says in found.why
