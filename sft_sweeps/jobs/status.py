"""The status of every job of a sweep: by its record, else by Slurm's queue, else by its own failure or the accounting.

The queue is asked before the records are read, so that a job which ends meanwhile is found done and not lost. Slurm is
asked once for each owner of jobs, its accounting once, and only about jobs that left no reason. Who looks again and
again (`status_again`) names the subjects that are worth it: the file system is asked about those alone.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from sft_sweeps.files.encoded import encoded_folder
from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs import attempts, frozen, submissions
from sft_sweeps.jobs.job import maker
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.submissions import Submitted
from sft_sweeps.plan.build import Plan, State, Subject
from sft_sweeps.slurm import queue, reasons
from sft_sweeps.slurm.queue import Entry, Past, Queue
from sft_sweeps.spec import Stage
from sft_sweeps.store import failures
from sft_sweeps.store.claims import holder
from sft_sweeps.store.failures import FAILURE
from sft_sweeps.store.paths import slurm_log
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, resume_step, survey, survey_again

QUEUED = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
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


NOTHING_KNOWN: Mapping[str, JobStatus] = MappingProxyType({})


@dataclass(frozen=True)
class SweepStatus:
    """A sweep at one moment: the states of all items of its plan, and the status of all its jobs, by id."""

    states: Mapping[str, State]
    jobs: Mapping[str, JobStatus]
    survey: Survey


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


def status_of(plan: Plan, store: Store, folder: Path, slurm: Queue | None = None) -> SweepStatus:
    """The status of the sweep in `folder` now; asks Slurm, through a `slurm` that was not asked before."""
    evidence = _gather(folder, slurm or Queue(), lambda queue: survey(plan, store, queue, thorough=False))
    planned = list(_planned(evidence, _encoding(evidence)))
    return SweepStatus(evidence.survey.states, _statuses(planned, evidence), evidence.survey)


def status_again(before: SweepStatus, folder: Path, slurm: Queue, subjects: Collection[str]) -> SweepStatus:
    """The status once more, where only the jobs of some subjects, by their ids, are looked at; `slurm` as above."""
    evidence = _gather(folder, slurm, lambda queue: survey_again(before.survey, queue, subjects))
    planned = list(_planned(evidence, _encoding_again(before, evidence, subjects)))
    kept = {job.id: before.jobs[job.id] for job in planned if job.subject.id not in subjects and job.id in before.jobs}
    return SweepStatus(evidence.survey.states, _statuses(planned, evidence, kept), evidence.survey)


def _statuses(
    planned: Sequence[PlannedJob], evidence: Evidence, known: Mapping[str, JobStatus] = NOTHING_KNOWN
) -> dict[str, JobStatus]:
    """The status of each job, in the order of the plan; of those that are not `known`."""
    statuses = dict(known)
    for job in planned:
        if job.id not in known and (status := _present(job, evidence, statuses)):
            statuses[job.id] = status
    ended = [job for job in planned if job.id not in statuses]
    past = queue.history(evidence.submitted[job.id].number for job in ended if not evidence.listed(job))
    for job in ended:
        statuses[job.id] = _ended(job, evidence, statuses, past)
    return {job.id: statuses[job.id] for job in planned}


def _gather(folder: Path, slurm: Queue, look: Callable[[Queue], Survey]) -> Evidence:
    submitted = submissions.latest(folder)
    for owner in {job.owner for job in submitted.values()}:
        slurm.reachable(owner)  # asked now: what ends after this has its record when the store is surveyed
    return Evidence(folder, slurm, look(slurm), submitted, submissions.cancelled(folder))


def _planned(evidence: Evidence, encoding: PlannedJob | None) -> Iterator[PlannedJob]:
    """Parents first; of the jobs that answer and score, those that were submitted."""
    plan, states = evidence.survey.plan, evidence.survey.states
    unfinished = _unfinished(evidence.survey)
    encodes = encoding.id if encoding else ""
    if encoding:
        yield encoding
    for subject in plan.subjects:
        if isinstance(subject, Stage):
            above = maker(subject.parent) if subject.parent.made else encodes
            yield PlannedJob("train", subject, states[subject.id], above)
        elif subject.made:
            yield PlannedJob("prepare", subject, states[subject.id], encodes)
        parent = maker(subject)
        for kind in (kind.name for kind in KINDS.values() if kind.evaluates):
            if f"{kind}-{subject.id}" in evidence.submitted:
                state = State("missing" if (kind, subject.id) in unfinished else "done")
                yield PlannedJob(kind, subject, state, parent)
                parent = f"{kind}-{subject.id}" if kind == "generate" else parent


def _unfinished(survey: Survey) -> set[tuple[str, str]]:
    """Kinds of jobs and ids of subjects for what is not yet answered, scored or looked into."""
    unfinished = set()
    for generation, score in zip(survey.plan.generations, survey.plan.scores, strict=True):
        if survey.states[score.id].state != "done":
            unfinished.add(("judge" if generation.benchmark.judge else "score", generation.subject.id))
            if survey.states[generation.id].state != "done":
                unfinished.add(("generate", generation.subject.id))
    for one in survey.plan.analyses:
        if survey.states[one.id].state != "done":
            unfinished.add(("represent", one.subject.id))
    return unfinished


def _encoding(evidence: Evidence) -> PlannedJob | None:
    """The job that encodes the sweep's sources, as it was last frozen; done when every source is encoded."""
    subject_id, found = frozen.latest(evidence.folder, "encode")
    subjects = {subject.id: subject for subject in evidence.survey.plan.subjects}
    subject = subjects.get(subject_id)
    if subject is None:
        return None
    job = PlannedJob("encode", subject, State("missing"), "")
    if all(encoded_folder(encoding["key"], evidence.survey.store.roots) for encoding in found["encodings"]):
        return replace(job, state=State("done"))
    if claim := holder(KINDS["encode"].claim_folder(evidence.subject_folder(job)), evidence.queue):
        return replace(job, state=State("running", f"by {claim.sweep}: {claim.who}"))
    failure = _failure(job, evidence)
    return replace(job, state=State("failed", failure)) if failure else job


def _encoding_again(before: SweepStatus, evidence: Evidence, subjects: Collection[str]) -> PlannedJob | None:
    """The job that encodes, as it was found before where its subject is not looked at."""
    for subject in before.survey.plan.subjects:
        status = before.jobs.get(f"encode-{subject.id}")
        if status and subject.id not in subjects:
            return PlannedJob("encode", subject, State(status.state, status.why), "")
    return _encoding(evidence)


def _present(job: PlannedJob, evidence: Evidence, statuses: Mapping[str, JobStatus]) -> JobStatus | None:
    """The status of a job by its record, the queue or its claim; None for one that was submitted and has ended."""
    state, why = job.state.state, job.state.why
    if state in ("done", "corrupted"):
        return JobStatus(state, why)
    submitted = evidence.submitted.get(job.id)
    if submitted and (entry := submissions.alive(submitted, evidence.queue)):
        return _queued(job, evidence, entry)
    if state == "running":
        return _claimed(job, evidence)
    if submitted and not evidence.queue.reachable(submitted.owner):
        return JobStatus("unknown", "Slurm does not answer here", submitted.number)
    if state in ("failed", "weights gone"):
        failure = _failure(job, evidence) if state == "failed" else ""
        if submitted and failure.startswith(failures.PEERS):
            return None  # Slurm knows more
        why = failure or why
        return JobStatus(state, why, submitted.number if submitted else "")
    return None if submitted else _unsubmitted(job, evidence, statuses)


def _unsubmitted(job: PlannedJob, evidence: Evidence, statuses: Mapping[str, JobStatus]) -> JobStatus:
    """The status of a job that nobody submitted."""
    state, why = job.state.state, job.state.why
    if state == "missing":
        if evidence.submitted and not why.startswith("started"):
            why = "never submitted; launch the sweep again"
        why = _unencoded(job, statuses) or why
    return JobStatus(state, why)


def _unencoded(job: PlannedJob, statuses: Mapping[str, JobStatus]) -> str:
    """Why a job cannot start without the encoded sources of its sweep; empty where they are there."""
    parent = statuses.get(job.parent)
    if parent is None or parent.state not in BROKEN:
        return ""
    if job.parent.startswith("encode-"):
        return _after(job.parent, parent)
    return parent.why if parent.why.startswith("its parent encode-") else ""


def _queued(job: PlannedJob, evidence: Evidence, entry: Entry, other: str = "") -> JobStatus:
    """The status of a job that the queue lists as alive; `other` names the sweep where it is not this one."""
    whose = f"for sweep {other}: " if other else ""
    if entry.state not in QUEUED:
        ending = "" if entry.state == "RUNNING" else f" ({entry.state.lower()})"
        where = f"on {entry.nodes}" if entry.nodes else "starting"
        return JobStatus("running", f"{whose}{where}{ending}", entry.job, entry.reason)
    folder, waits = evidence.subject_folder(job), reasons.waiting(entry.reason)
    if not KINDS[job.kind].makes_model or attempts.ATTEMPTS not in evidence.survey.held[job.subject.id]:
        return JobStatus("pending", f"{whose}{waits}", entry.job, entry.reason)
    step = resume_step(folder)
    saved = f"resume state at step {step:,}" if step else "nothing saved yet"
    return JobStatus("requeued", f"{whose}{saved}; {waits}", entry.job, entry.reason)


def _claimed(job: PlannedJob, evidence: Evidence) -> JobStatus:
    """The status of a job whose folder a process of this sweep, or any job of another sweep, has claimed."""
    claim = holder(evidence.subject_folder(job), evidence.queue)
    if claim is None or not claim.call:
        return JobStatus("running", job.state.why)
    entry = evidence.queue.entry(claim.job, claim.owner) if claim.job else None
    if entry and entry.alive:
        return _queued(job, evidence, entry, "" if claim.sweep == evidence.folder.name else claim.sweep)
    why = "Slurm does not answer here" if claim.job else "being submitted"
    return JobStatus("unknown" if claim.job else "pending", why, claim.job)


def _ended(
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
            return JobStatus("cancelled", _after(job.parent, parent), number)
    failure = _failure(job, evidence)
    if failure and not failure.startswith(failures.PEERS):  # whoever is ended for another's sake may lose them first
        return JobStatus("failed", failure, number)
    if state in ("", "FAILED", "OUT_OF_MEMORY") and (why := _killed(job, evidence, state) or failure):
        return JobStatus("failed", why, number, state)
    rest = f"{_saved(job, evidence)}; {_log(job, evidence)}"
    if state:
        how = reasons.ended(state, known.exit_code if known and not entry else "")
        return JobStatus("cancelled" if state == "CANCELLED" else "failed", f"{how}{rest}", number, state)
    accounting = "this cluster keeps no accounts" if past is None else "its accounts do not know it"
    how = f"its job {number} is no longer in the queue, and {accounting}: killed, cancelled or out of time"
    return JobStatus("failed", f"{how}{rest}", number)


def _failure(job: PlannedJob, evidence: Evidence) -> str:
    """The reason that a job of this sweep left when it failed; empty where it left none."""
    folder = evidence.subject_folder(job)
    for path in (folder / FAILURE, *folder.glob(f"*/{FAILURE}")):
        try:
            failure = read_json(path) or {}
        except (ValueError, OSError):
            continue
        if failure.get("job") == job.id:
            return str(failure.get("reason", ""))
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


def _after(job: str, status: JobStatus) -> str:
    """Why a job cannot start whose parent has that status."""
    how = {"failed": "failed", "cancelled": "was cancelled"}.get(status.state, "is not done")
    return f"its parent {job} {how}"
