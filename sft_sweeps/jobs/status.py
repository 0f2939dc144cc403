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
from sft_sweeps.jobs import attempts, frozen, submissions
from sft_sweeps.jobs.ended import after, ended, left_reason
from sft_sweeps.jobs.evidence import BROKEN, Evidence, JobStatus, PlannedJob
from sft_sweeps.jobs.job import maker
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.slurm import queue, reasons
from sft_sweeps.slurm.queue import Entry, Queue
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import failures
from sft_sweeps.store.claims import holder
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.store.seen import Seen
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, survey, survey_again

QUEUED = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")


NOTHING_KNOWN: Mapping[str, JobStatus] = MappingProxyType({})


@dataclass(frozen=True)
class SweepStatus:
    """A sweep at one moment: the states of all items of its plan, and the status of all its jobs, by id."""

    states: Mapping[str, State]
    jobs: Mapping[str, JobStatus]
    survey: Survey


def status_of(plan: Plan, store: Store, folder: Path, slurm: Queue | None = None) -> SweepStatus:
    """The status of the sweep in `folder` now; asks Slurm, through a `slurm` that was not asked before."""
    seen = Seen(folder)
    evidence = _gather(folder, slurm or Queue(), lambda queue: survey(plan, store, queue, thorough=False, seen=seen))
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
    gone = [job for job in planned if job.id not in statuses]
    past = queue.history(evidence.submitted[job.id].number for job in gone if not evidence.listed(job))
    for job in gone:
        statuses[job.id] = ended(job, evidence, statuses, past)
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
        elif isinstance(subject, Merge):
            awaited = [stage for stage in subject.parents if not states[stage.id].trained] or subject.parents
            yield PlannedJob("merge", subject, states[subject.id], maker(awaited[0]))
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
    try:
        keys = [str(encoding["key"]) for encoding in found["encodings"]]
    except (KeyError, TypeError):  # not what was frozen: damaged since
        return None
    if all(encoded_folder(key, evidence.survey.store.roots) for key in keys):
        return replace(job, state=State("done"))
    if claim := holder(KINDS["encode"].claim_folder(evidence.subject_folder(job)), evidence.queue):
        return replace(job, state=State("running", f"by {claim.sweep}: {claim.who}"))
    failure = left_reason(job, evidence)
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
        failure = left_reason(job, evidence) if state == "failed" else ""
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
        return after(job.parent, parent)
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
