"""What the status of a sweep's jobs is judged by, and what is said of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.submissions import Submitted
from sft_sweeps.plan.build import State, Subject
from sft_sweeps.slurm.queue import Entry, Queue
from sft_sweeps.store.survey import Survey

ACTIVE = ("running", "pending", "requeued", "unknown")
BROKEN = ("failed", "cancelled", "interrupted", "missing", "corrupted")  # a child of it cannot start


@dataclass(frozen=True)
class JobStatus:
    """A job's state and why, in words; its number in Slurm and Slurm's own reason, as far as it has them.

    done, running, pending, requeued (pending, but it has run before), unknown (Slurm does not answer), failed,
    cancelled, interrupted, weights gone, corrupted, missing.
    """

    state: str
    why: str = ""
    job: str = ""
    reason: str = ""

    @property
    def active(self) -> bool:
        """It may still change by itself."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class PlannedJob:
    """A job that a plan may need, whether it was submitted or not; `parent` is a job's id."""

    kind: str
    subject: Subject
    state: State
    parent: str

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.subject.id}"


@dataclass(frozen=True)
class Evidence:
    """What the status of jobs is judged by: the queue, the records, and what the sweep in `folder` submitted."""

    folder: Path
    queue: Queue
    survey: Survey
    submitted: Mapping[str, Submitted]  # by the job's id
    cancelled: Mapping[str, str]  # who cancelled a job and when, by its number

    def subject_folder(self, job: PlannedJob) -> Path:
        return self.survey.store.folder(job.subject)

    def listed(self, job: PlannedJob) -> Entry | None:
        """The entry of a submitted job in the queue, ended or not."""
        return submissions.listed(self.submitted[job.id], self.queue)
