"""Submits jobs to Slurm as arrays with dependencies, level by level of their forest.

What a level's jobs wait for is known when the level above is submitted. For each array its folders are claimed,
`sbatch` is called, the job's number is written into the claims; a launch that dies at any point between leaves nothing
that the next one could not find. A folder that another launch has claimed is left to it: the children of a stage that
another sweep is training wait for that sweep's job. Nothing waits while it holds a claim that has no number yet, so two
launches never wait for each other.
"""

import contextlib
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import append_line
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.job import Job, claim_folder, urgency
from sft_sweeps.jobs.submissions import SUBMISSIONS
from sft_sweeps.launch.slurm import snapshot
from sft_sweeps.launch.slurm.arrays import Array, Dependency, arrays, levels, together
from sft_sweeps.launch.slurm.resources import Resources, resources
from sft_sweeps.launch.slurm.room import room
from sft_sweeps.launch.slurm.sbatch import SbatchOptions
from sft_sweeps.slurm import queue
from sft_sweeps.slurm.cluster import limits
from sft_sweeps.slurm.submit_limits import REACHED
from sft_sweeps.store import claims
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.failures import FAILURE
from sft_sweeps.store.store import Store, check_identity
from sft_sweeps.store.sweeps import Sweep

PATIENCE_SECONDS = 60.0  # for another launch that is between its claim and its job's number


@dataclass(frozen=True)
class Key:
    """What the jobs of an array have in common: resources, and seconds of warning before the time limit."""

    resources: Resources
    warning: int


@dataclass
class Submission:
    """What came of a launch, by the id of the job."""

    numbers: dict[str, str] = field(default_factory=dict)  # Slurm's, of what was submitted
    calls: int = 0  # of sbatch
    held: dict[str, Claim] = field(default_factory=dict)  # what an earlier or another launch has submitted
    blocked: dict[str, str] = field(default_factory=dict)  # why a job could not be submitted
    waiting: dict[str, str] = field(default_factory=dict)  # by whose limit, or for which job, one was not submitted yet


class LimitReached(Exception):  # noqa: N818
    """sbatch refused jobs because there are too many already; the text is Slurm's name for the limit."""


class Submitter:
    """Submits jobs, parents before children."""

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Store,
        sweep: Sweep,
        cluster: ClusterConfig,
        warnings: Mapping[str, int],
        *,
        only: Collection[str] | None = None,
        slurm: queue.Queue | None = None,
    ) -> None:
        """`only`: the ids of the jobs that may be submitted; the others are looked at, for their children's sake.
        `slurm`: the queue, where it was asked just before.
        """
        self.jobs, self.store, self.sweep, self.cluster = list(jobs), store, sweep, cluster
        self.warnings, self.urgency = warnings, urgency(list(jobs))
        allowed = limits()
        self.largest = min(allowed.max_array_size, allowed.max_array_tasks)
        self.queue, self.only = slurm or queue.Queue(), only
        self.room = room({resources(job, cluster) for job in jobs}, cluster, allowed, self.queue)
        self.after: dict[str, Dependency | None] = {}  # what a child of each job waits for
        self.done = Submission()

    def run(self) -> Submission:
        """Submit everything; RunError when `sbatch` fails half-way, with what to do."""
        self.batch = SbatchOptions(self.sweep.folder, snapshot.take(self.sweep.folder), self.cluster)
        for level in levels(self.jobs):
            ready = sorted(self._ready(level), key=lambda job: -self.urgency[job.id])
            held = [job for array in self._arrays(ready) for job in self._submit(array)]
            self._wait_for_holders(held)
        others = [job for job, claim in self.done.held.items() if claim.sweep != self.sweep.name]
        submissions.note_waits(self.sweep.folder, [*others, *self.done.waiting])
        return self.done

    def _ready(self, level: Sequence[Job]) -> Iterator[Job]:
        """Jobs whose parents are done, or submitted by this launch or another; the others are blocked."""
        for job in level:
            if blocked := [parent for parent in job.needs if parent in self.done.blocked]:
                self.done.blocked[job.id] = f"its parent {blocked[0]} cannot be submitted"
            elif waiting := [parent for parent in job.needs if parent in self.done.waiting]:
                self.done.waiting[job.id] = self.done.waiting[waiting[0]]
            else:
                yield job

    def _arrays(self, jobs: Sequence[Job]) -> list[Array[Key]]:
        single = [(job, self._key(job), self.after.get(job.parent)) for job in jobs if not job.besides]
        several = [(job, self._key(job), self._all_after(job)) for job in jobs if job.besides]
        return [*arrays(single, self.largest), *together(several, self.largest)]

    def _all_after(self, job: Job) -> list[Dependency]:
        """What a job of several parents waits for."""
        return [after for parent in job.needs if (after := self.after.get(parent))]

    def _key(self, job: Job) -> Key:
        return Key(resources(job, self.cluster), self.warnings.get(job.id, self.cluster.signal_seconds))

    def _submit(self, array: Array[Key]) -> list[Job]:
        """Submit those of its jobs that nobody else has claimed and that fit into the queue; the claimed are returned.

        Where sbatch says that a limit is reached, half as many are tried: not every limit can be read.
        """
        held, left = self._sorted(array)
        size, tried = len(left), False
        while left and (size := int(min(size, len(left), self.room.left))) > 0:
            try:
                held += self._call_claimed(array.part(left[:size]))
                left = left[size:]
            except LimitReached as limit:
                size, tried, self.room.why = size // 2, True, str(limit)
        if tried:
            self.room.left = 0
        self.done.waiting |= {job.id: self.room.why for _, job in left}
        return held

    def _sorted(self, array: Array[Key]) -> tuple[list[Job], list[tuple[int, Job]]]:
        """The jobs that somebody has claimed, and those to submit, with their indices."""
        held, left = [], []
        for index, job in array.pairs:
            if claims.certain_holder(self._claim_folder(job), self.queue):
                held.append(job)
            elif self.only is not None and job.id not in self.only:
                self.done.blocked[job.id] = "it has ended without success; launch again"
            else:
                left.append((index, job))
        return held, left

    def _call_claimed(self, array: Array[Key]) -> list[Job]:
        """One `sbatch` call for those of its jobs that nobody else claims; the others are returned."""
        call, held = self._new_call(), []
        claimed: dict[int, tuple[Job, Claim | None]] = {}
        for index, job in _by_index(array).items():
            claim = self._claim(job, call, index)
            if claim:
                claimed[index] = (job, claim)
            else:
                held.append(job)
        if claimed:
            self._call(call, array, claimed)
        return held

    def _new_call(self) -> str:
        """A name for an `sbatch` call, by which its jobs are found in the queue."""
        return f"{self.sweep.name}.{uuid.uuid4().hex[:6]}"

    def _claim(self, job: Job, call: str, index: int) -> Claim | None:
        folder, claimed = self.store.folder(job.subject), self._claim_folder(job)
        claimed.mkdir(parents=True, exist_ok=True)
        if job.makes_model:
            check_identity(folder, job.subject.payload, write=False)  # the job writes it when it starts
        claim = claims.take(claimed, self.sweep.name, call, index, self.queue)
        if claim:
            (claimed / FAILURE).unlink(missing_ok=True)
        return claim

    def _claim_folder(self, job: Job) -> Path:
        return claim_folder(job, self.store.folder(job.subject))

    def _call(self, call: str, array: Array[Key], claimed: Mapping[int, tuple[Job, Claim | None]]) -> None:
        """Submit jobs by index, with the claims that they have."""
        jobs = {index: job for index, (job, _) in claimed.items()}
        try:
            key = array.key
            number = self.batch.submit(call, jobs, key.resources, key.warning, array.dependency)
        except BaseException as error:
            self._withdraw(call)
            for job, claim in claimed.values():
                if claim:
                    claims.release(self._claim_folder(job), claim)
            if isinstance(error, FailedJobError) and (reached := REACHED.search(str(error))):
                raise LimitReached(_word_with(reached[0], str(error))) from error
            if isinstance(error, FailedJobError | FailedSubmissionError | OSError):
                raise RunError(self._refused(error, array)) from error
            raise
        for index, (job, claim) in claimed.items():
            self.done.numbers[job.id] = number if index < 0 else f"{number}_{index}"
            self.after[job.id] = Dependency.of(self.done.numbers[job.id])
            if claim:
                claims.confirm(self._claim_folder(job), claim, self.done.numbers[job.id])
        self.done.calls += 1
        self.room.fill(len(jobs))
        self._note(call, array, list(jobs.values()))

    def _withdraw(self, call: str) -> None:
        """An sbatch that failed may have reached the controller all the same: its jobs must not run unclaimed."""
        with contextlib.suppress(RunError):
            if orphans := queue.Queue().named(call, claims.user()):
                queue.cancel({job.partition("_")[0] for job in orphans})

    def _refused(self, error: BaseException, array: Array[Key]) -> str:
        lines = str(error).strip().splitlines()
        reason = next((line for line in reversed(lines) if "sbatch" in line or "error" in line.lower()), lines[-1])
        return (
            f"sbatch refused {len(array.jobs)} jobs ({array.key.resources}): {reason.strip()}. "
            f"{len(self.done.numbers) + self._queued_before()} of {len(self.jobs)} jobs are submitted and stay so; "
            "correct cluster.*, then launch again: it submits the rest"
        )

    def _queued_before(self) -> int:
        """How many of the jobs earlier launches submitted that are still in the queue."""
        others = [job for job in self.jobs if job.id not in self.done.numbers]
        return sum(claims.holder(self._claim_folder(job), self.queue) is not None for job in others)

    def _wait_for_holders(self, held: Sequence[Job]) -> None:
        """Let the children of jobs that other launches hold wait for those launches' jobs.

        Another sweep may ask a model other questions: its answering and scoring are waited for, and then ours is done.
        A stage is the same whoever trains it.
        """
        later = []
        for job in held:
            claim = self._holder(self._claim_folder(job))
            if claim is None:  # ended meanwhile
                self.after[job.id] = None
                if job.makes_model and self.store.record(job.subject) is None:
                    self.done.blocked[job.id] = "another launch worked on it and stopped; launch again"
            elif not claim.call or not claim.job:
                self.done.blocked[job.id] = f"{claim.who} works on it (sweep {claim.sweep}); launch again afterwards"
            elif job.makes_model or claim.sweep == self.sweep.name:
                self.done.held[job.id] = claim
                self.after[job.id] = Dependency.of(claim.job)
            else:
                later.append((job, self._key(job), Dependency.of(claim.job, ok=False)))
        for array in arrays(later, self.largest):
            if len(array.jobs) > self.room.left:
                self.done.waiting |= {job.id: self.room.why for job in array.jobs}
            else:
                self._call(self._new_call(), array, {index: (job, None) for index, job in _by_index(array).items()})

    def _holder(self, folder: Path) -> Claim | None:
        """Who has claimed a folder; a launch that is just submitting is given time to learn its job's number."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            claim = claims.certain_holder(folder, self.queue)
            if not claim or not claim.call or claim.job or time.monotonic() > deadline:
                return claim
            time.sleep(0.2)

    def _note(self, call: str, array: Array[Key], jobs: Sequence[Job]) -> None:
        """What was submitted, for `status`, `cancel` and people."""
        line = {
            "call": call,
            "owner": claims.user(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "jobs": {job.id: self.done.numbers[job.id] for job in jobs},
            "dependency": array.dependency,
            "gpus": array.key.resources.nodes * array.key.resources.gpus_per_node,
        }
        append_line(self.sweep.folder / SUBMISSIONS, line)


def _word_with(found: str, message: str) -> str:
    """The word of Slurm's message that holds what was found: AssocMaxSubmitJobLimit."""
    return next((word.strip(":;,.") for word in message.split() if found in word), found)


def _by_index(array: Array[Key]) -> dict[int, Job]:
    """The jobs of a call by their index; -1 for one that is submitted without an array."""
    indices = array.indices if len(array.jobs) > 1 else (-1,)
    return dict(zip(indices, array.jobs, strict=True))
