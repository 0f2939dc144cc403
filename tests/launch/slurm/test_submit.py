"""Two launches that submit at the same moment, each by what it knows of the queue."""

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
