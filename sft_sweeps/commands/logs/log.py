"""Where a job of a stage prints, how it stands, and what is added to a file that it prints into.

A worker writes into its stage's folder, every start of it at the end of the same file. Until it comes to that, and
where it never does, there is Slurm's own log of the job, under the sweep.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sft_sweeps.commands.logs.subjects import Subject
from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.submissions import SUBMISSIONS, Submitted, killed
from sft_sweeps.slurm import reasons
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store.claims import holder
from sft_sweeps.store.failures import PEERS, reason_of
from sft_sweeps.store.paths import slurm_log, worker_log
from sft_sweeps.store.store import RECORD

BLOCK = 1 << 16


def written(subject: Subject, rank: int) -> list[str]:
    """The kinds of jobs that a rank of wrote something, the last to write at the end."""
    logs = {kind: worker_log(subject.folder, kind, rank) for kind in KINDS}
    times = {kind: log.stat().st_mtime for kind, log in logs.items() if log.is_file() and log.stat().st_size}
    return sorted(times, key=lambda kind: times[kind])


class Log:
    """The log of one rank of a stage's jobs of one kind; without a kind, of the one that wrote last."""

    def __init__(self, root: Path, subject: Subject, kind: str = "", rank: int = 0) -> None:
        self.root, self.subject, self.rank = root, subject, rank
        self.kind = kind or self._newest()

    def files(self) -> list[Path]:
        """What there is to read now: the worker's log, and what Slurm kept of the last submission if that is newer."""
        path = worker_log(self.subject.folder, self.kind, self.rank)
        written = path.stat().st_mtime if path.is_file() and path.stat().st_size else 0.0
        logs = [
            slurm_log(sweep, submitted.number, self.rank, stream)
            for sweep, submitted in self._submitted()
            for stream in ("out", "err")
        ]
        newer = [log for log in logs if log.is_file() and log.stat().st_size and log.stat().st_mtime > written]
        return [*([path] if written else []), *newer]

    def coming(self) -> str:
        """How the job stands that is running or on its way, in words; empty where nothing will come. Asks Slurm."""
        queue = Queue()
        for _, submitted in self._submitted():
            entry = submissions.alive(submitted, queue)
            if entry and entry.state == "PENDING":
                return f"its job {submitted.number} is pending: {reasons.waiting(entry.reason)}"
            if entry:
                return f"its job {submitted.number} is {entry.state.lower()} on {entry.nodes}"
            if not queue.reachable(submitted.owner):
                return f"Slurm does not answer about its job {submitted.number}"
        for folder in submissions.claimed_folders(self.subject.folder):
            claim = holder(folder, queue)
            if claim and not claim.call and claim.job in ("", f"{self.kind}-{self.subject.id}"):
                return f"{claim.who} works on it"
        return ""

    def failed(self) -> str:
        """Why the job failed that wrote this: its own words, or the signal by Slurm's; empty where it goes on or did
        not fail.
        """
        if (self.subject.folder / RECORD).is_file() and KINDS[self.kind].makes_model:
            return ""
        why = reason_of(KINDS[self.kind].claim_folder(self.subject.folder))
        if not why or why.startswith(PEERS):
            why = next((killed(sweep, submitted) for sweep, submitted in self._submitted()), "") or why
        return "" if why and self.coming() else why

    def absent(self, coming: str) -> RunError:
        """Why there is nothing to show."""
        why = coming or self._why_none()
        return RunError(f"no log of {self.kind} {self.subject.label} ({self.subject.id}), rank {self.rank}: {why}")

    def _why_none(self) -> str:
        """What became of a job that wrote nothing that is there, and will not."""
        kind = KINDS[self.kind]
        if failure := reason_of(kind.claim_folder(self.subject.folder)):
            return f"it failed: {failure}"
        if kind.makes_model and (self.subject.folder / RECORD).is_file():
            return self._why_none_of_done()
        if self.kind in written(self.subject, 0):
            return "this rank wrote nothing; leave --rank out for what the first wrote"
        for _, submitted in self._submitted():
            return f"its job {submitted.number} is not in the queue any more and wrote nothing"
        if others := written(self.subject, self.rank):
            return f"no such job wrote anything; there are logs of {', '.join(others)}"
        return "it was never started; launch its sweep again"

    def _why_none_of_done(self) -> str:
        if not self.rank:
            return "it is done, and wrote nothing"
        with suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
            processes = (read_json(self.subject.folder / RECORD) or {})["execution"]["processes"]
            if self.rank >= processes:
                return f"its ranks were 0 to {processes - 1}" if processes > 1 else "its one process was rank 0"
        return "it is done, and the log of its first process alone is kept; leave --rank out"

    def _newest(self) -> str:
        """The kind that wrote last, or else the first that was submitted."""
        if kinds := written(self.subject, self.rank):
            return kinds[-1]
        for self.kind in KINDS:
            if any(self._submitted()):
                return self.kind
        if kinds := [kind for kind in written(self.subject, 0) if KINDS[kind].makes_model]:
            return kinds[-1]
        with suppress(OSError, ValueError):
            if (read_json(self.subject.folder / "identity.json") or {}).get("kind") == "merge":
                return "merge"
        return "train"

    def _submitted(self) -> Iterator[tuple[Path, Submitted]]:
        """The last submission, by the newest sweep that made one."""
        for file in sorted((self.root / "sweeps").glob(f"*/{SUBMISSIONS}"), reverse=True):
            if submitted := submissions.latest(file.parent).get(f"{self.kind}-{self.subject.id}"):
                yield file.parent, submitted
                return


class Tail:
    """Reads what is added to a file, also after it is truncated or rotated."""

    def __init__(self, path: Path, lines: int) -> None:
        """Begins with the last lines; 0 are all."""
        self.path, self.file = path, path.open("rb", buffering=0)
        self.file.seek(_start(path, lines))

    def news(self) -> bytes:
        """Everything since the last call."""
        if os.fstat(self.file.fileno()).st_size < self.file.tell():
            self.file.seek(0)
        text = self.file.readall()
        with suppress(FileNotFoundError):  # between a rotation's two moves
            if not os.path.samestat(self.path.stat(), os.fstat(self.file.fileno())):
                self.file.close()
                self.file = self.path.open("rb", buffering=0)
                text += self.file.readall()
        return text

    def close(self) -> None:
        self.file.close()


def _start(path: Path, lines: int) -> int:
    """The offset in bytes at which the last lines begin; 0 lines are all."""
    with path.open("rb") as file:
        offset, tail = file.seek(0, os.SEEK_END), b""
        while lines and offset and tail.count(b"\n") <= lines:
            size = min(BLOCK, offset)
            offset = file.seek(offset - size)
            tail = file.read(size) + tail
    kept = tail.removesuffix(b"\n").rsplit(b"\n", lines)
    return offset + len(kept[0]) + 1 if lines and len(kept) > lines else 0
