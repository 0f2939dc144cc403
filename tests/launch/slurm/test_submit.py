"""Two launches that submit at the same moment, each by what it knows of the queue."""

import os
import time
from pathlib import Path

import pytest
import values
from pretended_slurm import row, start

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job, claim_folder
from sft_sweeps.launch.slurm.submit import Submitter
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep


def test_a_job_submitted_after_the_queue_was_asked_is_not_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another launch submits one stage before this one looks into the queue, and a second stage afterwards."""
    slurm = start(tmp_path / "bin", monkeypatch)
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize = 10001'\n")
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    store = Store(tmp_path / "store")
    stages = [values.stage(seed=seed) for seed in (0, 1)]
    jobs = [Job("train", str(store.root), stage, TrainExecution()) for stage in stages]
    submitter = Submitter(jobs, store, Sweep(store.root / "sweeps" / "mine"), ClusterConfig(name="slurm"), {})
    queued = []
    for number, job in enumerate(jobs, 101):
        folder = claim_folder(job, store.folder(job.subject))
        folder.mkdir(parents=True)
        claim = claims.take(folder, "theirs", call=f"theirs.{number}")
        assert claim is not None
        claims.confirm(folder, claim, str(number))
        queued.append(row(str(number), f"theirs.{number}"))
        slurm.write(*queued)
        assert submitter._claim(job, "mine.1", -1) is None
        assert claims.holder(folder) is not None


def test_the_queue_is_asked_once_for_all_that_was_submitted_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending sweep that is launched again: one squeue, however many of its jobs there are, dead ones among them."""
    slurm = start(tmp_path / "bin", monkeypatch)
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize = 10001'\n")
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    store = Store(tmp_path / "store")
    jobs = [Job("train", str(store.root), values.stage(seed=seed), TrainExecution()) for seed in range(6)]
    submitter = Submitter(jobs, store, Sweep(store.root / "sweeps" / "mine"), ClusterConfig(name="slurm"), {})
    slurm.write(*(row(str(number), f"mine.{number}") for number in range(4)))
    for number, job in enumerate(jobs):
        folder = claim_folder(job, store.folder(job.subject))
        folder.mkdir(parents=True)
        claim = claims.take(folder, "mine", call=f"mine.{number}")
        assert claim is not None
        claims.confirm(folder, claim, str(number))
        hour_ago = time.time() - 3600
        os.utime(claims.files(folder)[-1], (hour_ago, hour_ago))
    taken = [submitter._claim(job, "mine.again", -1) is not None for job in jobs]
    assert taken == [False] * 4 + [True] * 2
    assert [submitter._holder(submitter._claim_folder(job)) is not None for job in jobs[:4]] == [True] * 4
    assert len(slurm.calls("squeue")) == 1
