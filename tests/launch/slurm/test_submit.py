"""What submitting leaves, and two launches that submit at the same moment, each by what it knows of the queue."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import values
from pretended_slurm import Pretended, row, start

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job, claim_folder
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.launch.slurm.sbatch import LOGS, TRAP
from sft_sweeps.launch.slurm.submit import Submitter
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep


def pretended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """A Slurm whose queue the test writes, and which says how long an array may be."""
    slurm = start(folder, monkeypatch)
    (folder / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize = 10001'\n")
    (folder / "scontrol").chmod(0o755)
    return slurm


def test_a_job_submitted_after_the_queue_was_asked_is_not_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another launch submits one stage before this one looks into the queue, and a second stage afterwards."""
    slurm, store = pretended(tmp_path / "bin", monkeypatch), Store(tmp_path / "store")
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
    slurm, store = pretended(tmp_path / "bin", monkeypatch), Store(tmp_path / "store")
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


FILES_OF_A_JOB = 1  # its claim, which it takes away
FILES_OF_A_CALL = 3  # its frozen jobs, and the batch script under submitit's two names


def launch(store: Store, seeds: Iterable[int]) -> tuple[int, int]:
    """Submit stages with their answers and scores: how many jobs, and calls of sbatch."""
    jobs = []
    for stage in (values.stage(seed=seed) for seed in seeds):
        asked, parent = (values.generation(stage),), ""
        for kind in ("train", "generate", "score"):
            execution = KINDS[kind].execution()
            jobs.append(Job(kind, str(store.root), stage, execution, () if kind == "train" else asked, parent))
            parent = jobs[-1].id
    done = Submitter(jobs, store, Sweep(store.root / "sweeps" / "mine"), ClusterConfig(name="slurm"), {}).run()
    assert len(done.numbers) == len(jobs)
    return len(jobs), done.calls


def test_a_job_leaves_its_claim_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: what else is written is written once for each call of sbatch, or once for all."""
    start(tmp_path / "bin", monkeypatch)
    count = tmp_path / "count"
    answer = f'n=$(($(cat {count} 2>/dev/null || echo 0) + 1)); echo $n > {count}; echo "Submitted batch job $n"'
    for name, text in {"sbatch": answer, "srun": "true", "scontrol": "echo 'MaxArraySize = 10001'"}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    store, seeds = Store(tmp_path / "store"), iter(range(100))

    def files() -> int:
        return sum(not path.is_dir() for path in store.root.rglob("*"))

    launch(store, [next(seeds)])
    for stages in (1, 2, 40):
        before = files()
        jobs, calls = launch(store, [next(seeds) for _ in range(stages)])
        assert (jobs, calls) == (3 * stages, 3)
        assert files() - before == FILES_OF_A_JOB * jobs + FILES_OF_A_CALL * calls


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("array", ["", "7"])
def test_a_finished_job_takes_its_empty_logs_away(tmp_path: Path, code: int, array: str) -> None:
    """Its own alone, and never one that something was written to."""
    this = "7_1" if array else "8"
    empty = {f"{this}_{rank}_log.out" for rank in (0, 1, 15)}
    others = {f"{this}_2_log.out", "7_10_0_log.out", "7_11_1_log.out", "81_0_log.out", "8_submission.sh"}
    for name in empty | others:
        (tmp_path / name).write_text("OOM" if name == f"{this}_2_log.out" else "")
    environment = {"SLURM_JOB_ID": "8", LOGS: str(tmp_path), "SFT_SWEEPS_MARKS": str(tmp_path / "marks")}
    environment |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": "1"} if array else {}
    environment["PATH"] = os.environ["PATH"]
    done = subprocess.run(["bash", "-c", f"{TRAP}\nexit {code}"], env=environment, check=False)
    assert done.returncode == code
    assert {path.name for path in tmp_path.iterdir()} == (others | empty if code else others)
