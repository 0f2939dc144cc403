"""Where every job of a sweep stands: by its record, else by Slurm's queue, else by its own last word or the accounts.

The queue is asked before the records are read, so that a job which ends meanwhile is found done and not lost. Slurm is
asked once for each owner of jobs, its accounts once, and only for jobs that have gone without a word.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sft_sweeps.files.encoded import encoded_folder
from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs import attempts, submissions
from sft_sweeps.jobs.job import maker
from sft_sweeps.plan.build import Plan, State, Subject
from sft_sweeps.slurm import queue, reasons
from sft_sweeps.slurm.queue import Entry, Past, Queue
from sft_sweeps.spec import Stage
from sft_sweeps.store.claims import holder
from sft_sweeps.store.paths import slurm_log, worker_log
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import resume_step, survey

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


class SweepStatus:
    """One look at a sweep: the states of its items (`states`) and the standing of its jobs (`jobs`), by id."""

    def __init__(self, plan: Plan, store: Store, folder: Path) -> None:
        self.plan, self.store, self.folder = plan, store, folder
        self.submitted, self.taken_back = submissions.latest(folder), submissions.cancelled(folder)
        self.queue = Queue()
        for owner in {submitted.owner for submitted in self.submitted.values()}:
            self.queue.reachable(owner)
        self.states = survey(plan, store, self.queue)
        self.jobs: dict[str, JobStatus] = {}
        works = list(self._works())
        gone = [work for work in works if not self._stands(work)]
        past = queue.history(self.submitted[work.id].number for work in gone if not self._listed(work))
        for work in gone:
            self.jobs[work.id] = self._ended(work, past)

    def _works(self) -> Iterator[PlannedJob]:
        """Parents first; of the jobs that answer and score, those that were submitted."""
        lacking, first = self._lacking(), self._encoding()
        top = first.id if first else ""
        if first:
            yield first
        for subject in self.plan.subjects:
            if isinstance(subject, Stage):
                made = isinstance(subject.parent, Stage) or subject.parent.initialised
                yield PlannedJob("train", subject, self.states[subject.id], maker(subject.parent) if made else top)
            elif subject.initialised:
                yield PlannedJob("prepare", subject, self.states[subject.id], top)
            above = maker(subject)
            for kind in ("generate", "score", "judge"):
                if f"{kind}-{subject.id}" in self.submitted:
                    state = State("missing" if (kind, subject.id) in lacking else "done")
                    yield PlannedJob(kind, subject, state, above)
                    above = f"{kind}-{subject.id}" if kind == "generate" else above

    def _encoding(self) -> PlannedJob | None:
        """The job that encodes the sweep's sources, as it was last frozen; done when all of them are on the shelf."""
        files = sorted((self.folder / "jobs").glob("encode-*.json"), key=lambda path: path.stat().st_mtime)
        subjects = {subject.id: subject for subject in self.plan.subjects}
        subject = subjects.get(files[-1].stem.split("-")[1]) if files else None
        if subject is None:
            return None
        work = PlannedJob("encode", subject, State("missing"), "")
        encodings = (read_json(files[-1]) or {})["encodings"]
        if all(encoded_folder(encoding["key"], self.store.roots) for encoding in encodings):
            return replace(work, state=State("done"))
        if claim := holder(self.store.folder(subject) / work.kind, self.queue):
            return replace(work, state=State("running", f"by {claim.sweep}: {claim.who}"))
        said = self._failure(work)
        return replace(work, state=State("failed", said)) if said else work

    def _lacking(self) -> set[tuple[str, str]]:
        """Kinds and subjects of what is not yet answered or scored."""
        found = set()
        for generation, score in zip(self.plan.generations, self.plan.scores, strict=True):
            if self.states[score.id].state != "done":
                found.add(("judge" if generation.benchmark.judge else "score", generation.subject.id))
                if self.states[generation.id].state != "done":
                    found.add(("generate", generation.subject.id))
        return found

    def _stands(self, work: PlannedJob) -> bool:
        """Whether a job's standing follows without a look at what Slurm remembers of ended jobs."""
        found = work.state.state
        if found in ("done", "corrupted"):
            self.jobs[work.id] = JobStatus(found, work.state.why)
            return True
        submitted = self.submitted.get(work.id)
        if submitted and (entry := submissions.alive(submitted, self.queue)):
            self.jobs[work.id] = self._queued(work, entry, "")
        elif found == "running":
            self.jobs[work.id] = self._claimed(work)
        elif submitted and not self.queue.reachable(submitted.owner):
            self.jobs[work.id] = JobStatus("unknown", "Slurm does not answer here", submitted.number)
        elif found in ("failed", "weights gone"):
            self.jobs[work.id] = JobStatus(found, work.state.why, submitted.number if submitted else "")
        elif submitted is None:
            unsubmitted = found == "missing" and self.submitted and not work.state.why.startswith("started")
            why = "never submitted; launch the sweep again" if unsubmitted else work.state.why
            blocked = self._unencoded(work) if found == "missing" else ""
            self.jobs[work.id] = JobStatus(found, blocked or why)
        return work.id in self.jobs

    def _unencoded(self, work: PlannedJob) -> str:
        """Why a job cannot start without the sources of its sweep; empty where they are there."""
        parent = self.jobs.get(work.parent)
        if parent is None or parent.state not in BROKEN:
            return ""
        if work.parent.startswith("encode-"):
            return f"its parent {work.parent} {_fate(parent)}"
        return parent.why if parent.why.startswith("its parent encode-") else ""

    def _queued(self, work: PlannedJob, entry: Entry, sweep: str) -> JobStatus:
        """The standing of a job that the queue lists as alive; `sweep` is named where it is another one's."""
        whose = f"for sweep {sweep}: " if sweep else ""
        if entry.state not in QUEUED:
            slow = "" if entry.state == "RUNNING" else f" ({entry.state.lower()})"
            where = f"on {entry.nodes}" if entry.nodes else "starting"
            return JobStatus("running", f"{whose}{where}{slow}", entry.job, entry.reason)
        folder, words = self.store.folder(work.subject), reasons.waiting(entry.reason)
        if work.kind not in ("train", "prepare") or not (folder / attempts.ATTEMPTS).is_file():
            return JobStatus("pending", f"{whose}{words}", entry.job, entry.reason)
        step = resume_step(folder)
        saved = f"resume state at step {step:,}" if step else "nothing saved yet"
        return JobStatus("requeued", f"{whose}{saved}; {words}", entry.job, entry.reason)

    def _claimed(self, work: PlannedJob) -> JobStatus:
        """The standing of a folder that a process of this sweep, or any of another sweep, has claimed."""
        claim = holder(self.store.folder(work.subject), self.queue)
        if claim is None or not claim.call:
            return JobStatus("running", work.state.why)
        other = "" if claim.sweep == self.folder.name else claim.sweep
        entry = self.queue.entry(claim.job, claim.owner) if claim.job else None
        if entry and entry.alive:
            return self._queued(work, entry, other)
        words = "Slurm does not answer here" if claim.job else "being submitted"
        return JobStatus("unknown" if claim.job else "pending", words, claim.job)

    def _listed(self, work: PlannedJob) -> Entry | None:
        return submissions.listed(self.submitted[work.id], self.queue)

    def _ended(self, work: PlannedJob, past: Mapping[str, Past] | None) -> JobStatus:
        """The standing of a job that is neither done nor in the queue and left no word about a failure of its own."""
        number, entry = self.submitted[work.id].number, self._listed(work)
        known = (past or {}).get(number)
        state = entry.state if entry else known.state if known else ""
        if state in ("", "CANCELLED"):
            if by := self.taken_back.get(number):
                return JobStatus("cancelled", f"{by}{self._saved(work)}", number)
            parent = self.jobs.get(work.parent)
            if parent and parent.state in BROKEN:
                return JobStatus("cancelled", f"its parent {work.parent} {_fate(parent)}", number)
        if said := self._failure(work):
            return JobStatus("failed", said, number)
        if state:
            words = reasons.ended(state, known.exit_code if known and not entry else "")
            found = "cancelled" if state == "CANCELLED" else "failed"
            return JobStatus(found, f"{words}{self._saved(work)}; {self._log(work)}", number, state)
        accounts = "this cluster keeps no accounts" if past is None else "its accounts do not know it"
        return JobStatus(
            "failed",
            f"its job {number} is no longer in the queue, and {accounts}: killed, cancelled or out of time"
            f"{self._saved(work)}; {self._log(work)}",
            number,
        )

    def _failure(self, work: PlannedJob) -> str:
        """What a job that answers or scores said when it failed (a stage's own word is among its states)."""
        folder = self.store.folder(work.subject)
        for path in (folder / "failure.json", *folder.glob("*/failure.json")):
            try:
                said = read_json(path) or {}
            except (ValueError, OSError):
                continue
            if said.get("job") == work.id:
                return str(said.get("reason", ""))
        return ""

    def _saved(self, work: PlannedJob) -> str:
        step = resume_step(self.store.folder(work.subject)) if work.kind == "train" else 0
        return f"; resume state at step {step:,}" if step else ""

    def _log(self, work: PlannedJob) -> str:
        """Where the worker's log is, or Slurm's of the job where the worker did not come to write one."""
        number = self.submitted[work.id].number
        kept = [slurm_log(self.folder, number, stream=stream) for stream in ("err", "out")]
        logs = [worker_log(self.store.folder(work.subject), work.kind), *kept]
        return next((f"log: {log}" for log in logs if log.is_file() and log.stat().st_size), "it left no log")


def _fate(parent: JobStatus) -> str:
    return {"failed": "failed", "cancelled": "was cancelled"}.get(parent.state, "is not done")
