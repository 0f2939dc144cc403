"""How a job has ended that is neither done nor in the queue: by its own word, Slurm's, or what it left."""

from collections.abc import Mapping
from pathlib import Path

from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.evidence import BROKEN, Evidence, JobStatus, PlannedJob
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.slurm import reasons
from sft_sweeps.slurm.queue import Past
from sft_sweeps.store import failures
from sft_sweeps.store.failures import FAILURE
from sft_sweeps.store.paths import slurm_log
from sft_sweeps.store.resume_states import resume_step


def ended(
    job: PlannedJob, evidence: Evidence, statuses: Mapping[str, JobStatus], past: Mapping[str, Past] | None
) -> JobStatus:
    """The status of a job that is neither done nor in the queue; `past`: what the accounting knows, if there is one."""
    number, entry = evidence.submitted[job.id].number, evidence.listed(job)
    known = (past or {}).get(number)
    state = entry.state if entry else known.state if known else ""
    if state in ("", "CANCELLED"):
        if cancelled := evidence.cancelled.get(number):
            return JobStatus("cancelled", f"{cancelled}{_saved(job, evidence)}", number)
        parent = statuses.get(job.parent)
        if parent and parent.state in BROKEN:
            return JobStatus("cancelled", after(job.parent, parent), number)
    left = left_reason(job, evidence)
    if left and not left.startswith(failures.PEERS):  # whoever is ended for another's sake may lose them first
        return JobStatus("failed", left, number)
    if state in ("", "FAILED", "OUT_OF_MEMORY") and (why := _killed(job, evidence, state) or left):
        return JobStatus("failed", why, number, state)
    rest = f"{_saved(job, evidence)}; {_log(job, evidence)}"
    if state:
        how = reasons.ended(state, known.exit_code if known and not entry else "")
        return JobStatus("cancelled" if state == "CANCELLED" else "failed", f"{how}{rest}", number, state)
    accounting = "this cluster keeps no accounts" if past is None else "its accounts do not know it"
    how = f"its job {number} is no longer in the queue, and {accounting}: killed, cancelled or out of time"
    return JobStatus("failed", f"{how}{rest}", number)


def left_reason(job: PlannedJob, evidence: Evidence) -> str:
    """The reason that a job of this sweep left when it failed; empty where it left none."""
    folder = evidence.subject_folder(job)
    for path in (folder / FAILURE, *folder.glob(f"*/{FAILURE}")):
        try:
            said = read_json(path) or {}
        except (ValueError, OSError):
            continue
        if said.get("job") == job.id:
            return str(said.get("reason", ""))
    return ""


def _killed(job: PlannedJob, evidence: Evidence, state: str) -> str:
    """Which rank a signal ended first, by Slurm's log of the job; empty where none is known."""
    return submissions.killed(evidence.folder, evidence.submitted[job.id], state == "OUT_OF_MEMORY")


def _saved(job: PlannedJob, evidence: Evidence) -> str:
    step = resume_step(evidence.subject_folder(job)) if job.kind == "train" else 0
    return f"; resume state at step {step:,}" if step else ""


def _log(job: PlannedJob, evidence: Evidence) -> str:
    log = log_of(job.kind, evidence.subject_folder(job), evidence.folder, evidence.submitted[job.id].number)
    return f"log: {log}" if log else "it left no log"


def log_of(kind: str, folder: Path, sweep: Path, number: str) -> Path | None:
    """The log of the worker of a job in its subject's folder, or Slurm's where it did not get as far as writing one."""
    slurms = [slurm_log(sweep, number, stream=stream) for stream in ("err", "out")] if number else []
    logs = [KINDS[kind].log(folder), *slurms]
    return next((log for log in logs if log.is_file() and log.stat().st_size), None)


def after(job: str, status: JobStatus) -> str:
    """Why a job cannot start whose parent has that status."""
    how = {"failed": "failed", "cancelled": "was cancelled"}.get(status.state, "is not done")
    return f"its parent {job} {how}"
