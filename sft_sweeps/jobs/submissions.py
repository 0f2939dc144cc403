"""What a sweep submitted to Slurm: its `sbatch` calls, the jobs' numbers, and which of them a user cancelled.

The launcher appends a line for each call; a later line of the same job supersedes an earlier one. A number alone proves
nothing, for Slurm gives numbers away again: a job in the queue is ours when it bears the call's name.
"""

import pwd
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.files.json_files import append_line, parse_line, read_json, write_json
from sft_sweeps.slurm import reasons
from sft_sweeps.slurm.queue import Entry, Queue
from sft_sweeps.store.claims import user
from sft_sweeps.store.paths import slurm_log

SUBMISSIONS = "submissions.jsonl"
CANCELLED = "cancelled.jsonl"
WAITS = "waits.json"


@dataclass(frozen=True)
class Submitted:
    """A job as it was submitted: `job` is ours (`train-0123456789ab`), `number` Slurm's (`123`, `123_4`)."""

    job: str
    number: str
    call: str
    owner: str

    @property
    def index(self) -> int:
        """The element of the array; -1 for a plain job."""
        return int(self.number.partition("_")[2] or -1)


def read(sweep: Path) -> list[Submitted]:
    """All jobs that a sweep ever submitted, oldest first; a line that was cut short is passed over."""
    path = sweep / SUBMISSIONS
    found = []
    for line in _lines(path, "call", "jobs"):
        owner = line.get("owner") or _owner(path)
        found += [Submitted(job, number, line["call"], owner) for job, number in line["jobs"].items()]
    return found


def latest(sweep: Path) -> dict[str, Submitted]:
    """The last submission of each job, by its id."""
    return {submitted.job: submitted for submitted in read(sweep)}


def dependencies(sweep: Path) -> Iterator[tuple[Submitted, str]]:
    """Every job that a sweep submitted with what it waits for to succeed: a job's number, or its array's element's."""
    for line in _lines(sweep / SUBMISSIONS, "call", "jobs", "dependency"):
        how, _, number = str(line["dependency"]).partition(":")
        if how not in ("afterok", "aftercorr"):
            continue
        owner = line.get("owner") or _owner(sweep / SUBMISSIONS)
        for job, own in line["jobs"].items():
            made = Submitted(job, own, line["call"], owner)
            yield made, f"{number}_{made.index}" if how == "aftercorr" else number


def note_waits(sweep: Path, jobs: Iterable[str]) -> None:
    """Write down which jobs a sweep needs and has not submitted: another sweep's, and those that had no room."""
    write_json(sweep / WAITS, sorted(jobs), durable=False, compact=True)


def waits(sweep: Path) -> list[str]:
    """The jobs that a sweep was last said to wait for, whoever submits them; none once it was cancelled."""
    try:
        return [str(job) for job in read_json(sweep / WAITS) or ()]
    except (OSError, ValueError, TypeError):
        return []


def alive(submitted: Submitted, queue: Queue) -> Entry | None:
    """The job's entry in the queue, while it runs or may still run."""
    entry = listed(submitted, queue)
    return entry if entry and entry.alive else None


def listed(submitted: Submitted, queue: Queue) -> Entry | None:
    """The job's entry in the queue, which lists ended ones for minutes; never that of another with its number."""
    entry = queue.entry(submitted.number, submitted.owner)
    return entry if entry and entry.name == submitted.call else None


def claimed_folders(folder: Path) -> list[Path]:
    """A subject's folder, and those in it that jobs which answer or score have claimed."""
    return [folder, *sorted({path.parent for path in folder.glob("*/claim-*.json")})]


def note_cancelled(sweep: Path, numbers: Iterable[str]) -> None:
    """Write down who cancelled jobs: without accounting, Slurm forgets it."""
    line = {"time": time.strftime("%Y-%m-%d %H:%M"), "by": user(), "numbers": list(numbers)}
    append_line(sweep / CANCELLED, line)


def cancelled(sweep: Path) -> dict[str, str]:
    """Who cancelled a job with `sft-sweeps cancel`, and when, by the job's number."""
    return {
        number: f"cancelled by {line['by']} on {line['time']}"
        for line in _lines(sweep / CANCELLED, "time", "by", "numbers")
        for number in line["numbers"]
    }


def _lines(path: Path, *keys: str) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = parse_line(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and all(key in entry for key in keys):
            yield entry


def _owner(path: Path) -> str:
    """Who made a file."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def killed(sweep: Path, submitted: Submitted, out_of_memory: bool = False) -> str:
    """Which of a job's ranks a signal ended first, by Slurm's log of it (slurm/reasons.py); empty where none was."""
    try:
        log = slurm_log(sweep, submitted.number).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return reasons.task_ended(log, out_of_memory)
