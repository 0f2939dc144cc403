"""A stage that was stopped, killed, or left with a damaged resume state ends in the same weights, bit for bit."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from common import ROOT
from training import SHAPE, WAIT, Job, Outcome, run

from sft_sweeps.errors import RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.identity import VERSIONS
from sft_sweeps.models.init import materialise
from sft_sweeps.store import resume_states
from sft_sweeps.tracking.metrics import METRICS
from sft_sweeps.train import resume, starts

STEPS = 20
PARTITIONED = {"token_budget": 100, "whole_parameters": 0}
EXECUTIONS = {1: {"token_budget": 100}, 2: PARTITIONED}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    materialise(SHAPE, 0, [], folder / "base")
    return folder


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.slow), 2])
def unbroken(request: pytest.FixtureRequest, scratch: Path) -> tuple[int, Outcome]:
    """The process count, and a stage that nothing befell."""
    processes = int(request.param)
    outcome = run(stage(scratch, f"unbroken-{processes}", processes), processes)[0]
    assert not outcome.error, outcome.log
    return processes, outcome


def stage(scratch: Path, name: str, processes: int) -> Job:
    return Job(str(scratch / "base"), str(scratch / name), EXECUTIONS[processes])


def assert_continued(outcome: Outcome, unbroken: Outcome, after: int) -> None:
    """From the step `after` the one that was saved, in the same weights and the same metrics."""
    assert not outcome.error, outcome.log
    assert outcome.digest == unbroken.digest
    assert [step["step"] for step in outcome.metrics] == list(range(after + 1, STEPS + 1))
    for ours, theirs in zip(outcome.metrics, unbroken.metrics[after:], strict=True):
        assert (ours["loss"], ours["grad_norm"]) == (theirs["loss"], theirs["grad_norm"])


def test_stopped_on_one_rank_all_save_and_continue_bit_for_bit(scratch: Path, unbroken: tuple[int, Outcome]) -> None:
    processes, whole = unbroken
    job = stage(scratch, f"stopped-{processes}", processes)
    stopped = run(replace(job, stop_at=6), processes)
    assert [outcome.error for outcome in stopped] == ["Interrupted"] * processes, stopped[0].log
    assert "after step 6 of 20" in stopped[0].message
    assert [outcome.metrics[-1]["step"] for outcome in stopped] == [6] * processes
    # Every rank saves, so it takes time.
    assert 0 < resume_states.save_seconds(Path(job.folder)) < WAIT
    assert resume_states.processes(Path(job.folder)) == processes
    # Another token budget would add up in another order: the state brings its own.
    other = replace(job, execution=job.execution | {"token_budget": 8192})
    assert_continued(run(other, processes)[0], whole, after=6)


def test_killed_with_a_full_disk_and_a_damaged_state_continues_bit_for_bit(
    scratch: Path, unbroken: tuple[int, Outcome]
) -> None:
    """States after steps 3 and 6; the disk fills before 9; SIGKILL after 11; then the newest state loses its end."""
    processes, whole = unbroken
    job = stage(scratch, f"killed-{processes}", processes)
    saving = replace(job, execution=job.execution | {"save_every_steps": 3, "keep": 2})
    killed = run(replace(saving, full_disk_at=8, kill_at=11), processes)
    assert [outcome.status for outcome in killed] == [-signal.SIGKILL] * processes, killed[0].log
    assert [len(outcome.metrics) for outcome in killed] == [11] * processes
    assert "no resume state of step 9: training goes on" in killed[0].log
    folder = Path(job.folder) / resume_states.FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000003", "step-00000006"]
    largest = max((folder / "step-00000006").rglob("*.pt"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    continued = run(saving, processes)
    assert_continued(continued[0], whole, after=3)
    assert "passing over resume states" in continued[0].log
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000015", "step-00000018"]


def test_killed_in_the_middle_of_an_accumulation_continues_bit_for_bit(
    scratch: Path, unbroken: tuple[int, Outcome]
) -> None:
    """SIGKILL in step 9, with some of its rows accumulated; the state is that of step 6."""
    processes, whole = unbroken
    job = stage(scratch, f"accumulating-{processes}", processes)
    saving = replace(job, execution=job.execution | {"save_every_steps": 3})
    killed = run(replace(saving, kill_in=9), processes)
    assert [outcome.status for outcome in killed] == [-signal.SIGKILL] * processes, killed[0].log
    assert_continued(run(saving, processes)[0], whole, after=6)


def test_a_stage_ends_with_the_threads_that_it_began_with(tmp_path: Path) -> None:
    """Other threads add up in another order, which shows in the last bits of some sums; whatever a later start asks."""
    wide = replace(SHAPE, hidden_size=128, intermediate_size=256, vocab_size=256)
    materialise(wide, 0, [], tmp_path / "base")
    job = Job(str(tmp_path / "base"), str(tmp_path / "whole"), {"threads": 2}, {"epochs": 2})
    whole = run(job)[0]
    assert not whole.error, whole.log
    assert starts.threads(Path(job.folder), asked=9) == 2
    job = replace(job, folder=str(tmp_path / "stopped"))
    assert run(replace(job, stop_at=3))[0].error == "Interrupted"
    state = resume_states.newest(Path(job.folder))
    assert state is not None
    assert state.threads == 2
    continued = run(replace(job, execution={"threads": 1}))[0]
    assert continued.digest == whole.digest, continued.log
    assert "it began with 2 threads a process and goes on with them, not 1" in continued.log
    assert starts.threads(Path(job.folder), asked=9) == 2


def write_state(folder: Path, step: int, **changed: object) -> Path:
    """A resume state without DeepSpeed: a file and what names it."""
    path = folder / resume_states.FOLDER / f"step-{step:08d}"
    (path / resume_states.TAG).mkdir(parents=True)
    (path / resume_states.TAG / "weights.pt").write_bytes(b"12345")
    fields = {"step": step, "processes": 1, "zero_stage": 3, "token_budget": 8, "batches": 1}
    state = {**fields, "files": {f"{resume_states.TAG}/weights.pt": 5}, **changed}
    (path / resume_states.STATE).write_text(json.dumps(state))
    return path


def test_newest_passes_over_what_is_incomplete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert resume_states.newest(tmp_path) is None
    write_state(tmp_path, 2)
    write_state(tmp_path, 10)
    (write_state(tmp_path, 11) / resume_states.TAG / "weights.pt").write_bytes(b"1234")
    (write_state(tmp_path, 12) / resume_states.TAG / "weights.pt").unlink()
    (write_state(tmp_path, 13) / resume_states.STATE).unlink()
    (write_state(tmp_path, 14) / resume_states.STATE).write_text('{"step": 1')
    write_state(tmp_path, 15, unknown=1)
    (tmp_path / resume_states.FOLDER / f"{resume_states.WRITING}step-00000016").mkdir()
    with caplog.at_level(logging.WARNING):
        found = resume_states.newest(tmp_path)
    assert found is not None
    assert found.step == 10
    assert caplog.text.count("passing over the resume state") == 5


def test_what_a_state_says_is_read_without_torch(tmp_path: Path) -> None:
    """One that is whole, one of before saving was measured, and a newer and slower one that lost its end."""
    write_state(tmp_path, 2, processes=2, seconds=3.5)
    write_state(tmp_path, 4, processes=4)
    (write_state(tmp_path, 6, processes=8, seconds=9.0) / resume_states.TAG / "weights.pt").unlink()
    script = (
        "import sys; from pathlib import Path; from sft_sweeps.store import resume_states as states; "
        "places = [Path(place) for place in sys.argv[1:]]; "
        "print([(states.processes(place), states.save_seconds(place)) for place in places], 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "absent")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[(4, 3.5), (0, 0.0)] False"


def test_a_state_of_other_batches_is_refused(tmp_path: Path) -> None:
    execution = TrainExecution(zero_stage=3)
    write_state(tmp_path, 2, batches=VERSIONS["batches"])
    state = resume_states.newest(tmp_path)
    assert state is not None
    resume.check(tmp_path, state, execution)
    with pytest.raises(RunError, match=r"version 0 of the batches.* to start the stage over"):
        resume.check(tmp_path, replace(state, batches=0), execution)


def test_at_most_keep_valid_states_stay(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        write_state(tmp_path, step)
    (write_state(tmp_path, 8) / resume_states.STATE).unlink()
    resume._prune(tmp_path, 2)
    assert sorted(path.name for path in (tmp_path / resume_states.FOLDER).iterdir()) == [
        "step-00000004",
        "step-00000006",
    ]


def test_the_steps_before_a_state_are_on_the_disk_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that dies the moment after loses what was only in its memory."""
    target = write_state(tmp_path, 2)
    state, _ = resume_states.read(target)
    assert state
    writing = target.rename(target.with_name(".writing-step-00000002"))
    (tmp_path / METRICS).write_text('{"step": 2}\n')
    synced: dict[int, bool] = {}
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced[os.fstat(handle).st_ino] = target.exists()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    resume._finish(state, writing, target)
    assert target.is_dir()
    assert synced[(tmp_path / METRICS).stat().st_ino] is False
