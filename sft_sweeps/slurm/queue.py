"""What Slurm says of jobs: its queue, and what its accounting knows of ended ones. (What the cluster has: cluster.py.)

A job is named as users see it: `123`, or `123_4` for an element of an array. Nothing here decides whether work is done
(a record does); the queue only tells whether a job may still run.
"""

import os
import pwd
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from sft_sweeps.errors import RunError
from sft_sweeps.slurm.cluster import ask, duration, limits

# A job's name may hold anything but these two; it stands last, so that even the second does no harm in it.
RECORD, FIELD = "\x1e", "\x1f"
CLOCK_SECONDS = 60.0  # by which the clocks of a file server and of this machine may differ
ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)


@dataclass(frozen=True)
class Entry:
    """One job or array element, as squeue shows it. Ended jobs stay listed for minutes."""

    job: str
    name: str
    owner: str
    state: str  # Slurm's long form: PENDING, RUNNING, COMPLETING, FAILED ...
    reason: str  # why it is pending or has ended: "Priority", "DependencyNeverSatisfied", "NonZeroExitCode", ""
    nodes: str
    partition: str
    seconds_left: int | None  # until its time limit; None: unlimited or unknown

    @property
    def alive(self) -> bool:
        """It runs or may still run. COMPLETING counts: its processes may still write, or it is being requeued."""
        return self.state not in ENDED


@dataclass(frozen=True)
class Past:
    """One job or array element, as the accounting remembers it; seconds behind the queue."""

    job: str
    state: str
    exit_code: str  # "status:signal"
    elapsed_seconds: int  # of the last start alone, where it was requeued
    nodes: str


@dataclass
class Queue:
    """The queue of each owner: asked on first need with one squeue, then remembered. Never raises.

    An owner is a user's name or number.
    """

    _owners: dict[str, dict[str, Entry] | None] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)  # when, by owner

    def entry(self, job: str, owner: str) -> Entry | None:
        """None: not listed any more, or not `reachable`."""
        return (self._of(owner) or {}).get(job)

    def named(self, name: str, owner: str) -> dict[str, Entry]:
        """All entries with that job name, ended ones too, by job."""
        return {job: entry for job, entry in (self._of(owner) or {}).items() if entry.name == name}

    def count(self, owner: str) -> int:
        """How many jobs and elements he has that run or may still run."""
        return sum(entry.alive for entry in (self._of(owner) or {}).values())

    def reachable(self, owner: str) -> bool:
        """False: no squeue here, no answer, or the owner unknown or his jobs hidden; no job may be called dead then."""
        return self._of(owner) is not None

    def forget(self, owner: str, since: float) -> bool:
        """Forget an answer that may be from before `since`, a file's time; whether there was one."""
        if self._asked.get(owner, since) >= since + CLOCK_SECONDS:
            return False
        return self._owners.pop(owner, None) is not None

    def _of(self, owner: str) -> dict[str, Entry] | None:
        if owner not in self._owners:
            self._asked[owner] = time.time()
            try:
                self._owners[owner] = None if _hidden(owner) else _squeue(owner)
            except RunError:
                self._owners[owner] = None
        return self._owners[owner]


def available() -> bool:
    """Jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


@lru_cache
def unanswered(sbatch: str | None) -> str:  # noqa: ARG001  -- another client is asked anew
    """Why no cluster answers behind Slurm's commands; empty where one does."""
    try:
        ask("sinfo", "--noheader", "--format", "%P")
    except RunError as error:
        return str(error)
    return ""


def history(jobs: Iterable[str]) -> dict[str, Past] | None:
    """What the accounting knows of these jobs, from one sacct; None where there is none or it does not answer."""
    wanted = dict.fromkeys(jobs)
    if not wanted:
        return {}
    arrays = ",".join(dict.fromkeys(job.partition("_")[0] for job in wanted))
    fields = "--format=JobID,State,ExitCode,ElapsedRaw,NodeList"
    try:
        text = ask("sacct", "--allusers", "--noheader", "--parsable2", "--allocations", "--jobs", arrays, fields)
    except RunError:
        return None
    return {past.job: past for past in parse_history(text) if past.job in wanted}


def cancel(jobs: Iterable[str]) -> None:
    """End jobs; those that have ended or are unknown are passed over. RunError where one cannot be cancelled."""
    if wanted := list(jobs):
        ask("scancel", "--quiet", *wanted)


def this_job() -> str:
    """What scontrol calls the job that this process runs in, and nothing else: `ARRAY_INDEX`, or a number.

    One element of every array has the array's own number as SLURM_JOB_ID, which for scontrol means all of them.
    """
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]


def requeue_this_job() -> bool:
    """Let the job that this process runs in start again, under its id. False: scontrol is missing or refuses."""
    try:
        ask("scontrol", "requeue", this_job())
    except RunError:
        return False
    return True


def _hidden(owner: str) -> bool:
    """Where Slurm is configured to keep jobs private, it answers as if another's jobs did not exist."""
    return os.geteuid() != 0 and owner not in _own_names() and limits().private_jobs


def _own_names() -> tuple[str, ...]:
    number = os.geteuid()
    try:
        return str(number), pwd.getpwuid(number).pw_name
    except KeyError:  # a user of a container may have no name
        return (str(number),)


def _squeue(owner: str) -> dict[str, Entry]:
    fields = RECORD + FIELD.join(("%i", "%u", "%T", "%r", "%N", "%P", "%L", "%j"))
    text = ask("squeue", "--all", "--noheader", "--array", "--states", "all", "--user", owner, "--format", fields)
    return {entry.job: entry for entry in parse_queue(text)}


def parse_queue(text: str) -> Iterator[Entry]:
    """The entries in squeue's answer."""
    for record in text.split(RECORD):
        if record.count(FIELD) < 7:  # "CLUSTER: name", where SLURM_CLUSTERS is set
            continue
        job, owner, state, reason, nodes, partition, left, name = record.removesuffix("\n").split(FIELD, 7)
        reason = "" if reason == "None" else reason
        yield Entry(job, name, owner, state, reason, nodes, partition, None if state in ENDED else duration(left))


def parse_history(text: str) -> Iterator[Past]:
    """The jobs in sacct's answer. Elements that never started share a line: `7_[0-2,9%4]`."""
    for line in text.splitlines():
        job, state, exit_code, elapsed, nodes = line.split("|", 4)
        state = state.split(" ")[0]  # "CANCELLED by 1000"
        nodes = "" if nodes == "None assigned" else nodes
        for one in elements(job):
            yield Past(one, state, exit_code, int(elapsed or 0), nodes)


def elements(job: str) -> Iterator[str]:
    """The elements that `7_[0-2,8-12:2%4]` stands for; any other id is itself."""
    match = re.fullmatch(r"(\d+)_\[([^%\]]*)(?:%\d+)?\]", job)
    if match is None:
        yield job
        return
    for part in match[2].split(","):
        first, last, step = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", part).groups()  # type: ignore[union-attr]
        yield from (f"{match[1]}_{n}" for n in range(int(first), int(last or first) + 1, int(step or 1)))
