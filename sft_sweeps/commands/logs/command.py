"""`sft-sweeps logs`: what a job of a stage prints, wherever it prints it.

A worker writes into its stage's folder, every start of it at the end of the same file. Until it comes to that, and
where it never does, there is Slurm's own log of the job, under the sweep.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.errors import RequestError, RunError, nearest, visible
from sft_sweeps.files.json_files import parse_line, read_json
from sft_sweeps.identity import ID_LENGTH
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.submissions import SUBMISSIONS, Submitted, killed
from sft_sweeps.plan.labels import own_words
from sft_sweeps.slurm import reasons
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store.claims import holder
from sft_sweeps.store.failures import PEERS, reason_of
from sft_sweeps.store.paths import slurm_log, worker_log
from sft_sweeps.store.store import LABEL_LENGTH, RECORD
from sft_sweeps.store.sweeps import PLAN
from sft_sweeps.terminal import LAUNCH

WHICH = ", ".join(f"{kind.name} {kind.does}" for kind in KINDS.values())
SCHEMA = 1
POLL_SECONDS = 0.5
QUEUE_SECONDS = 5.0  # between two questions to Slurm
BLOCK = 1 << 16
SHOWN = 12  # candidates in a message


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="the beginning of its id, or part of its label")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--follow", action="store_true", help="go on until the job has ended")
    add_json(output)
    parser.add_argument("--rank", type=int, default=0, metavar="N", help="of its processes (default: %(default)s)")
    parser.add_argument(
        "--kind",
        choices=KINDS,
        metavar="KIND",
        help=f"{WHICH}; default: all that wrote something, with --lines the last",
    )
    parser.add_argument("--lines", type=int, default=0, metavar="N", help="only the last ones (default: all)")
    add_output_dir(parser)


def _run(options: argparse.Namespace) -> int:
    for name in ("rank", "lines"):
        if getattr(options, name) < 0:
            raise RequestError(f"--{name} {getattr(options, name)} is negative; give 0 or more")
    root = Path(options.output_dir)
    subject = find(root, options.stage)
    if options.json:
        print_json(SCHEMA, as_json(Log(root, subject, options.kind or "", options.rank), options.lines))
        return 0
    for kind in [] if options.kind or options.lines else written(subject, options.rank)[:-1]:
        with closing(Printer(Log(root, subject, kind, options.rank), 0)) as printer:
            printer.print_news()
    show(Log(root, subject, options.kind or "", options.rank), options.lines, options.follow)
    return 0


def as_json(log: "Log", lines: int) -> dict[str, Any]:
    """The log of one kind of job: its last lines (0: all), by file. RunError where there is none."""
    if not log.files():
        raise log.absent(log.coming())
    texts = {}
    for path in log.files():
        with closing(Tail(path, lines)) as tail:
            texts[path] = tail.news().decode("utf-8", "replace")
    return {
        "id": log.subject.id,
        "label": log.subject.label,
        "kind": log.kind,
        "rank": log.rank,
        "files": [{"file": str(path), "lines": text.splitlines()} for path, text in texts.items()],
        "coming": log.coming(),
        "failed": log.failed(),
    }


def written(subject: "Subject", rank: int) -> list[str]:
    """The kinds of jobs that a rank of wrote something, the last to write at the end."""
    logs = {kind: worker_log(subject.folder, kind, rank) for kind in KINDS}
    times = {kind: log.stat().st_mtime for kind, log in logs.items() if log.is_file() and log.stat().st_size}
    return sorted(times, key=lambda kind: times[kind])


@dataclass(frozen=True)
class Subject:
    """A stage or base model as its folder names it."""

    id: str
    label: str
    folder: Path


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
        why = coming or "it was never started; launch its sweep again"
        if failure := "" if coming else reason_of(self.subject.folder):
            why = f"it failed: {failure}"
        for _, submitted in () if coming or failure else self._submitted():
            why = f"its job {submitted.number} is not in the queue any more and wrote nothing"
        if not coming and not failure and (self.subject.folder / RECORD).is_file():
            why = "it is done, and wrote nothing"
        return RunError(f"no log of {self.kind} {self.subject.label} ({self.subject.id}), rank {self.rank}: {why}")

    def _newest(self) -> str:
        """The kind that wrote last, or else the first that was submitted."""
        if kinds := written(self.subject, self.rank):
            return kinds[-1]
        for self.kind in KINDS:
            if any(self._submitted()):
                return self.kind
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


def show(log: Log, lines: int, follow: bool) -> None:
    """Print a log to standard output, and its name to standard error; `lines`: only the last ones (0: all).

    `follow` goes on until the job has ended, from Slurm's log to the worker's. RunError where there is no log, and none
    to come.
    """
    coming = log.coming() if follow or not log.files() else ""
    if not log.files():
        if not (follow and coming):
            raise log.absent(coming)
        print(log.absent(coming), file=sys.stderr, flush=True)
    with closing(Printer(log, lines)) as printer, suppress(KeyboardInterrupt):
        while coming and follow:
            until = time.monotonic() + QUEUE_SECONDS
            while time.monotonic() < until:
                printer.print_news()
                time.sleep(POLL_SECONDS)
            coming = log.coming()
        printer.print_news()
    if why := "" if coming and not follow else log.failed():
        print(f"{log.kind} {log.subject.label} failed: {visible(why)}", file=sys.stderr, flush=True)


class Printer:
    """Prints what is added to a log, each file's name before its text, as `tail` does."""

    def __init__(self, log: Log, lines: int) -> None:
        self.log, self.lines = log, lines
        self.tails: dict[Path, Tail] = {}
        self.named: Path | None = None

    def print_news(self) -> None:
        """Print what is new."""
        for path in self.log.files():
            tail = self.tails.get(path) or Tail(path, self.lines)
            self.tails[path] = tail
            if text := tail.news():
                if path != self.named:
                    print(f"==> {path} <==", file=sys.stderr, flush=True)
                self.named = path
                sys.stdout.flush()
                sys.stdout.buffer.write(_harmless(text) if sys.stdout.isatty() else text)
                sys.stdout.buffer.flush()
        self.lines = 0  # what appears later is printed whole

    def close(self) -> None:
        for tail in self.tails.values():
            tail.close()


def _harmless(text: bytes) -> bytes:
    """What a job printed, its orders to a terminal written out but for returns, which draw bars of progress."""
    parts = text.decode("utf-8", "replace").split("\r")
    return "\r".join(map(visible, parts)).encode()


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


def find(root: Path, text: str) -> Subject:
    """The stage or base model whose id begins with a text, or whose label is or holds it; RequestError names them."""
    known = {subject.id: subject for subject in _known(root)}
    by_id = [subject for subject in known.values() if text and subject.id.startswith(text)]
    same = [subject for subject in known.values() if subject.label == text]
    matching = by_id or same or [subject for subject in known.values() if text in subject.label]
    if len(matching) != 1:  # what tells those of one label apart: a file for each
        known = {subject.id: subject for subject in _with_own_words(list(known.values()))}
        matching = [known[subject.id] for subject in matching]
        matching = matching or [subject for subject in known.values() if text and text in subject.label]
    if len(matching) == 1:
        return matching[0]
    named = "".join(f"\n    {subject.id}  {subject.label}" for subject in (matching or list(known.values()))[:SHOWN])
    count = len(matching or known)
    more = f"\n    ... and {count - SHOWN} more" if count > SHOWN else ""
    if not known:
        raise RequestError(f"no stage in {root}; start a sweep with: {LAUNCH} study=quickstart")
    if not matching:
        near = nearest(text, [subject.label for subject in known.values()])
        raise RequestError(f"no stage '{text}' in {root}{near}; there are:{named}{more}")
    raise RequestError(f"'{text}' means {count} stages; give the beginning of an id:{named}{more}")


def _with_own_words(subjects: list[Subject]) -> list[Subject]:
    payloads = {}
    for subject in subjects:
        with suppress(OSError, ValueError):
            payloads[subject.id] = (subject.label, read_json(subject.folder / "identity.json") or {})
    words = own_words(payloads)
    return [replace(one, label=f"{one.label} {words.get(one.id, '')}".rstrip()) for one in subjects]


def _known(root: Path) -> Iterator[Subject]:
    """All stages and models that have a folder, then those of the newest plan, whose labels are not cut."""
    folders = {}
    for kind in ("models", "stages"):
        for path in sorted((root / kind).glob("*-*")):
            folders[path.name[-ID_LENGTH:]] = path
            yield Subject(path.name[-ID_LENGTH:], path.name[: -ID_LENGTH - 1], path)
    for path in sorted((root / "sweeps").glob(f"*/{PLAN}"))[-1:]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            for stage in parse_line(path.read_text(encoding="utf-8"))["stages"]:
                name = f"{stage['label'][:LABEL_LENGTH]}-{stage['id']}"
                yield Subject(stage["id"], stage["label"], folders.get(stage["id"], root / "stages" / name))


ABOUT = """\
A worker writes into its stage's folder; until it comes to that there is Slurm's own log of the job."""
COMMAND = Command(
    "logs",
    "what a stage's job prints",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps logs STAGE",
        "sft-sweeps logs STAGE --kind train --lines 5",
        "sft-sweeps logs STAGE --follow  # until its job has ended",
    ),
    topic="watch",
)
