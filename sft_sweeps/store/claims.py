"""Claims: who works in a folder, so that two launches never train a stage twice.

A claim is a numbered file that comes into being whole (linked, not written): whoever links the next number owns the
folder. It is two-phase: first under the sweep's name, then with the process or job that works, so that a crash
between the two is found. The highest number counts; a dead claim is superseded by the next one.

Work of a process of this host lives as long as the process. Work that was given to Slurm lives as long as Slurm says:
the claim names the `sbatch` call before it is made, so that a job whose launcher died before it learnt the job's number
is found in the queue by that name, and a number that Slurm has given away again is not mistaken for it.
"""

import contextlib
import errno
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sft_sweeps.files.json_files import read_json, write_json, write_unread
from sft_sweeps.identity import revive
from sft_sweeps.slurm.queue import Queue

HEARTBEAT_SECONDS = 10.0
SILENT_SECONDS = 120.0  # a claim of another host whose file was not touched for so long is dead


@dataclass(frozen=True)
class Claim:
    """Who works in a folder. In the first phase `job` is empty and there are no `workers` (pid and start of each).

    `call` is the name of the `sbatch` call that submits the work, `index` the element of its array (-1: no array);
    both mean nothing for a process of this host, whose `call` is empty. `start` is how often Slurm had put the job back
    into the queue when the start that holds the folder began.
    """

    sweep: str
    host: str
    pid: int
    started: str
    owner: str = ""
    call: str = ""
    index: int = -1
    job: str = ""
    workers: tuple[tuple[int, str], ...] = ()
    number: int = 0
    start: int = 0

    @property
    def who(self) -> str:
        """For people: where the work is done."""
        if self == _unreadable(self.number):
            return f"somebody whose claim-{self.number:04d}.json cannot be read"
        if self.call:
            return f"Slurm job {self.job or '(being submitted)'} of {self.owner}"
        return f"process {self.pid} of {self.owner or 'somebody'} on {self.host}"


def process_started(pid: int) -> str:
    """When a process of this host started (text, comparable only with itself); empty when it is gone or a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return ""
    return "unknown"


def files(folder: Path) -> list[Path]:
    """The claim files of a folder, oldest first."""
    return sorted(folder.glob("claim-[0-9][0-9][0-9][0-9].json"))


def holder(folder: Path, queue: Queue | None = None) -> Claim | None:
    """The living claim on a folder, if there is one; with its job's number, as far as the queue knows it."""
    return _living(files(folder), queue or Queue())


def certain_holder(folder: Path, queue: Queue) -> Claim | None:
    """The same, for whoever acts on it: an answer from before the claim was written may lack its job; it is renewed."""
    claim_files = files(folder)
    claim = _living(claim_files, queue)
    if claim or not claim_files or not (dead := _read(claim_files[-1])):
        return claim
    with contextlib.suppress(OSError):
        if dead.job and queue.forget(dead.owner, claim_files[-1].stat().st_mtime):
            return _living(claim_files, queue)
    return None


def _living(claim_files: list[Path], queue: Queue) -> Claim | None:
    """The claim in the last of a folder's claim files, if its work lives."""
    if not claim_files:
        return None
    claim = _read(claim_files[-1])
    if claim is None:  # gone, or cut short: then its holder, if he lives, puts it right by his next heartbeat
        return _unreadable(_number(claim_files[-1])) if _just_touched(claim_files[-1]) else None
    if not claim.call:
        return claim if _running(claim, claim_files[-1]) else None
    return _queued(claim, queue) if claim.job else _submitted(claim, claim_files[-1])


def _read(path: Path) -> Claim | None:
    """The claim in a file; None where the file is gone or holds no claim."""
    try:
        return revive(Claim, read_json(path))  # a later version may have written more
    except (ValueError, OSError):
        return None


def _unreadable(number: int) -> Claim:
    """Stands for a claim whose file holds none."""
    return Claim(sweep="unknown", host="", pid=0, started="", number=number)


def _number(file: Path) -> int:
    return int(file.stem.rpartition("-")[2])


def _running(claim: Claim, file: Path) -> bool:
    """Whether the launcher or one of its workers still lives (on another host: whether its heartbeat is recent).

    Workers outlive a killed launcher until their next step boundary: nobody else may train there until then.
    """
    if claim.host == socket.gethostname():
        holders = ((claim.pid, claim.started), *claim.workers)
        return any(started and process_started(pid) == started for pid, started in holders)
    return not _silent(file)


def _just_touched(file: Path) -> bool:
    """Whether a claim's file is there and was touched lately; not where that is to come, by a clock that is wrong."""
    try:
        return abs(time.time() - file.stat().st_mtime) < SILENT_SECONDS
    except OSError:
        return False


_watched: dict[Path, tuple[float, float]] = {}  # the times of claims' files, and since when this process has seen them


def _silent(file: Path) -> bool:
    """Whether a claim's file is gone or was not touched for too long: by this machine's clock, or as long as we looked.

    The second finds the dead whose clock was ahead of ours.
    """
    try:
        touched = file.stat().st_mtime
    except OSError:
        return True
    now = time.monotonic()
    before, since = _watched.get(file, (0.0, now))
    if before != touched:
        since = now
    _watched[file] = touched, since
    return max(time.time() - touched, now - since) >= SILENT_SECONDS


def _queued(claim: Claim, queue: Queue) -> Claim | None:
    """The claim while Slurm has its job, and where Slurm cannot be asked."""
    if not queue.reachable(claim.owner):
        return claim
    entry = queue.entry(claim.job, claim.owner)
    return claim if entry and entry.alive and entry.name == claim.call else None


def _submitted(claim: Claim, file: Path) -> Claim | None:
    """The claim of a launcher that is submitting, or that died before it wrote down its job's number: with the number.

    The launcher is looked at first and the queue asked afterwards, and anew: an older answer may miss the job.
    """
    submitting, queue = _running(claim, file), Queue()
    if not queue.reachable(claim.owner):
        return claim
    for job, entry in queue.named(claim.call, claim.owner).items():
        if entry.alive and (claim.index < 0 or job.endswith(f"_{claim.index}")):
            return replace(claim, job=job)
    return claim if submitting else None


def take(
    folder: Path, sweep: str, call: str = "", index: int = -1, queue: Queue | None = None, *, start: int = 0
) -> Claim | None:
    """Claim a folder for a sweep (first phase); None while another living claim holds it."""
    earlier = files(folder)  # listed first: a claim made after this has the number that is tried below
    if certain_holder(folder, queue or Queue()):
        return None
    number = _number(earlier[-1]) + 1 if earlier else 1
    launcher = (socket.gethostname(), os.getpid(), process_started(os.getpid()), user())
    claim = Claim(sweep, *launcher, call=call, index=index, number=number, start=start)
    return claim if _put(folder, claim, earlier) else None


def renew(folder: Path, claim: Claim, start: int) -> Claim | None:
    """Take a folder over from an earlier start of the same job, which need not be dead; None where somebody else has.

    The claim gets a number of its own, so that what the earlier start holds is gone and its next heartbeat tells it.
    """
    renewed = replace(claim, start=start, number=claim.number + 1)
    return renewed if _put(folder, renewed, [_file(folder, claim)]) else None


def _put(folder: Path, claim: Claim, earlier: Sequence[Path]) -> bool:
    """Put a claim in the place of earlier ones; False where somebody else was faster."""
    if not _link(folder, claim):
        return False
    for path in earlier:
        path.unlink(missing_ok=True)
    if files(folder)[-1:] != [_file(folder, claim)]:  # others had claimed and gone on since the earlier were listed
        release(folder, claim)
        return False
    return True


def _link(folder: Path, claim: Claim) -> bool:
    """Write a claim's file at once and whole; False where another claim of its number was first."""
    temporary = folder / f".claim.{uuid.uuid4().hex[:8]}"
    try:
        write_unread(temporary, json.dumps(_fields(claim)), durable=False)
        os.link(temporary, _file(folder, claim))
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def user() -> str:
    """The name of the user of this process; its number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def confirm(folder: Path, claim: Claim, job: str, pids: Sequence[int] = ()) -> Claim:
    """Second phase: name the job and the processes that do the work. A claim that is gone, of a job that was faster
    than its launcher, is not brought back.
    """
    confirmed = replace(claim, job=job, workers=tuple((pid, process_started(pid)) for pid in pids))
    if _file(folder, claim).exists():
        write_json(_file(folder, claim), _fields(confirmed), durable=False, compact=True)
    return confirmed


def _fields(claim: Claim) -> dict[str, Any]:
    """As JSON can hold it; without the number of a first start, which version 1.0 does not know."""
    fields = asdict(claim)
    return fields if claim.start else {key: value for key, value in fields.items() if key != "start"}


def of_call(folder: Path, call: str, index: int) -> Claim | None:
    """The claim under which an element of an `sbatch` call works, if nobody has superseded it."""
    claim_files = files(folder)
    claim = _read(claim_files[-1]) if claim_files else None
    return claim if claim and (claim.call, claim.index) == (call, index) else None


def heartbeat(folder: Path, claim: Claim) -> bool:
    """Show other hosts that the claim is alive; False when its file is gone: somebody has superseded it.

    A file that was cut short (a file server died before it had it on its disk) is filled again where it lies: one that
    is gone does not come back.
    """
    path, whole = _file(folder, claim), json.dumps(_fields(claim)).encode()
    try:
        os.utime(path)
        if path.stat().st_size < len(whole) and _read(path) is None:
            with path.open("r+b") as file:
                file.write(whole)
    except FileNotFoundError:
        return False
    except OSError as error:  # a file system that fails for a moment does not end a claim
        return error.errno != errno.ESTALE
    return True


def release(folder: Path, claim: Claim) -> None:
    """Give the folder back."""
    _file(folder, claim).unlink(missing_ok=True)


def _file(folder: Path, claim: Claim) -> Path:
    return folder / f"claim-{claim.number:04d}.json"
