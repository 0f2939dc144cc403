"""One job inside Slurm: what it checks before it works, told by its environment alone."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import values
from common import ROOT
from outcomes import finish

from sft_sweeps import PACKAGE
from sft_sweeps.errors import Interrupted
from sft_sweeps.files.json_files import write_json
from sft_sweeps.identity import plain
from sft_sweeps.jobs import attempts, submissions
from sft_sweeps.jobs.job import PROGRESS, Job, claim_folder
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.store import claims
from sft_sweeps.store.claims import holder
from sft_sweeps.store.store import Store
from sft_sweeps.worker import dispatch, process
from sft_sweeps.worker.process import Rank

CALL = "20260101-000000-sweep-abcdef.123456"
NO_SLURM = "/usr/bin:/bin"
HEAVY = ("torch", "transformers", "deepspeed", "datasets", "hydra", "wandb")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").absolute())


def frozen(store: Store, job: Job) -> tuple[Path, str]:
    path = store.root / "sweeps" / "s" / "jobs" / f"{job.id}.json"
    content = json.dumps(plain(job)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def run(path: Path, digest: str, **environment: str) -> int:
    """The job's first and only task, as submitit calls it; job 77."""
    code = (
        "from pathlib import Path; from sft_sweeps.worker import slurm_task as s; s.PATIENCE_SECONDS = 1.0; "
        f"path = Path({str(path)!r}); s.run(path.read_bytes(), {digest!r}, path)"
    )
    environment = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": CALL,
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        **environment,
    }
    return subprocess.run([sys.executable, "-c", code], env=environment, timeout=120, check=False).returncode


def reason(place: Path) -> str:
    return str(json.loads((place / "failure.json").read_text())["reason"])


def job(store: Store, kind: str = "train") -> Job:
    stage = values.stage()
    asked = (values.generation(stage),) if kind in ("generate", "score") else ()
    return Job(kind, str(store.root), stage, KINDS[kind].execution(), asked)


def test_a_job_file_that_was_changed_is_not_run(store: Store) -> None:
    wanted = job(store)
    path, digest = frozen(store, wanted)
    path.write_bytes(path.read_bytes() + b" ")
    assert run(path, digest) == 1
    assert "was changed after the job was submitted; launch again" in reason(wanted.folder)
    assert not (wanted.folder / attempts.ATTEMPTS).exists()


def test_nor_one_that_is_no_job_any_more(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    path, digest = frozen(store, job(store))
    path.write_bytes(b"\xff")
    assert run(path, digest) == 1
    said = capfd.readouterr()
    assert "was changed after the job was submitted; launch again" in said.out
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("kind", ["train", "generate", "score"])
def test_without_its_parent_a_job_fails_and_gives_its_folder_back(kind: str, store: Store) -> None:
    """Slurm starts a job at once whose dependency it does not know any more."""
    wanted = job(store, kind)
    place = claim_folder(wanted, wanted.folder)
    place.mkdir(parents=True)
    assert claims.take(place, "sweep", CALL)
    path, digest = frozen(store, wanted)
    assert run(path, digest) == 1
    says = "has not answered mini_math; launch again" if kind == "score" else "is not finished; launch the sweep again"
    assert says in reason(place)
    assert claims.files(place) == []


def test_what_is_done_already_is_not_done_again(store: Store) -> None:
    wanted = job(store)
    finish(store, wanted.subject)
    path, digest = frozen(store, wanted)
    assert run(path, digest) == 0
    assert not (wanted.folder / attempts.ATTEMPTS).exists()


def test_a_job_whose_folder_another_one_took_over_leaves_it_alone(store: Store) -> None:
    """Its number was given away, say; the other one, a process of this machine, lives."""
    wanted = job(store)
    wanted.folder.mkdir(parents=True)
    theirs = claims.take(wanted.folder, "theirs")
    assert theirs
    path, digest = frozen(store, wanted)
    assert run(path, digest) == 1
    assert "is worked on by process" in reason(wanted.folder)
    assert holder(wanted.folder) == theirs


def test_a_job_that_never_gets_ahead_is_given_up(store: Store) -> None:
    """Three starts from one step: the fourth says so in place of coming back for ever."""
    wanted = job(store)
    finish(store, wanted.subject.parent)  # type: ignore[union-attr]
    wanted.folder.mkdir(parents=True)
    for _ in range(attempts.STUCK_STARTS):
        attempts.begin(wanted.folder, "77", 0, 8)
    path, digest = frozen(store, wanted)
    assert run(path, digest) == 1
    assert "given up: job 77 was started 3 times from step 0" in reason(wanted.folder)


@pytest.mark.parametrize("kind", ["score", "prepare"])
def test_a_job_that_needs_no_torch_imports_none(kind: str, store: Store) -> None:
    """One that scores fails for want of answers; one that makes a base model from a seed makes it."""
    tokenizer = str(PACKAGE / "data" / "mini_tokenizer.json")
    made = Job("prepare", str(store.root), values.model(tokenizer_path=tokenizer))
    wanted = made if kind == "prepare" else job(store, kind)
    path, digest = frozen(store, wanted)
    code = (
        "import sys, os; from sft_sweeps.worker import process, slurm_task\n"
        f"process.leave = lambda status: os._exit(10 * bool({set(HEAVY)!r} & set(sys.modules)) + status)\n"
        f"path = __import__('pathlib').Path({str(path)!r}); slurm_task.run(path.read_bytes(), {digest!r}, path)"
    )
    environment = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": CALL, "PYTHONPATH": str(ROOT), "PATH": NO_SLURM}
    status = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False).returncode
    assert status == int(kind == "score")
    assert (wanted.folder / "record.json").is_file() is (kind == "prepare")


def test_claims_of_jobs_that_read_a_model_lie_beside_it(store: Store) -> None:
    """So a model is answered with while its answers to other questions are scored."""
    places = [claim_folder(job(store, kind), Path("f")) for kind in ("train", "generate", "score")]
    assert places == [Path("f"), Path("f/generate"), Path("f/score")]
    for place in places[1:]:
        write_json(store.folder(values.stage()) / place.name / "claim-0001.json", {})
    folder = store.folder(values.stage())
    assert submissions.claimed_folders(folder) == [folder, folder / "generate", folder / "score"]


@pytest.mark.parametrize("kind", ["train", "generate", "score"])
def test_a_log_that_cannot_be_written_costs_neither_reason_nor_status(kind: str, store: Store) -> None:
    """/dev/full stands for a disk that filled while the job ran."""
    wanted = job(store, kind)
    log = KINDS[kind].log(wanted.folder)
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    path, digest = frozen(store, wanted)
    assert run(path, digest) == 1
    assert "launch" in reason(claim_folder(wanted, wanted.folder))


def test_a_log_that_cannot_be_opened_is_said_in_a_line(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = job(store)
    wanted.folder.mkdir(parents=True)
    (wanted.folder / "logs").touch()
    path, digest = frozen(store, wanted)
    assert run(path, digest) == 1
    assert [line.partition(": ")[0] for line in capfd.readouterr().err.splitlines()] == [f"{wanted.id}, rank 0"]


def test_of_what_is_done_the_first_log_is_kept_and_of_what_failed_all(store: Store) -> None:
    wanted = job(store)
    logs = [KINDS[wanted.kind].log(wanted.folder, rank) for rank in range(8)]
    logs[0].parent.mkdir(parents=True)
    for status, kept in ((1, logs), (Interrupted.exit_status, logs), (0, logs[:1])):
        for rank, log in enumerate(logs):
            log.touch()
            process.drop_log(wanted, Rank(rank, 8), status)
        assert sorted(wanted.folder.glob("logs/*")) == kept


def test_nobody_watches_the_progress_of_what_is_done(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = job(store, "generate")
    path = claim_folder(wanted, wanted.folder) / PROGRESS
    monkeypatch.setitem(dispatch.WORK, "generate", lambda *_: write_json(path, {"what": "mini_math"}))
    dispatch.do(wanted, lambda: False)
    assert not path.exists()
