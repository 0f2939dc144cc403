"""Claims: who works in a folder, so that two launches never train a stage twice.

A claim is a numbered file that comes into being whole (linked, not written): whoever links the next number owns the
folder. It is two-phase: first under the sweep's name, then with the process or job that works, so that a crash
between the two is found. The highest number counts; a dead claim is superseded by the next one.
"""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = 10.0
SILENT_SECONDS = 120.0  # a claim of another host whose file was not touched for so long is dead


@dataclass(frozen=True)
class Claim:
    """Who works in a folder. In the first phase `job` is empty and there are no `workers` (pid and start of each)."""

    sweep: str
    host: str
    pid: int
    started: str
    job: str = ""
    workers: tuple[tuple[int, str], ...] = ()
    number: int = 0

    def alive(self, file: Path) -> bool:
        """Whether the launcher or one of its workers still lives (on another host: whether its heartbeat is recent).

        Workers outlive a killed launcher until their next step boundary: nobody else may train there meanwhile.
        """
        if self.host == socket.gethostname():
            holders = ((self.pid, self.started), *self.workers)
            return any(started and process_started(pid) == started for pid, started in holders)
        with contextlib.suppress(OSError):
            return time.time() - file.stat().st_mtime < SILENT_SECONDS
        return False


def process_started(pid: int) -> str:
    """When a process of this host started (text, comparable only with itself); empty when it is gone or a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"


def write_json(path: Path, value: Any) -> None:
    """Atomically: a reader sees the old file or the new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The content, or None where there is no file; ValueError where it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def files(folder: Path) -> list[Path]:
    """The claim files of a folder, oldest first."""
    return sorted(folder.glob("claim-[0-9][0-9][0-9][0-9].json"))


def holder(folder: Path) -> Claim | None:
    """The living claim on a folder, if there is one."""
    return _living(files(folder))


def _living(found: list[Path]) -> Claim | None:
    """The last of the claim files, if its process lives."""
    if not found:
        return None
    try:
        fields = read_json(found[-1])
        workers = tuple((int(pid), str(started)) for pid, started in fields.pop("workers", ()))
        claim = Claim(**fields, workers=workers)
    except (AttributeError, TypeError, ValueError, OSError):
        return None
    return claim if claim.alive(found[-1]) else None


def take(folder: Path, sweep: str) -> Claim | None:
    """Claim a folder for a sweep (first phase); None while another living claim holds it."""
    found = files(folder)  # looked at once: a claim made after this has the number that is tried below
    if _living(found):
        return None
    number = int(found[-1].stem.rpartition("-")[2]) + 1 if found else 1
    claim = Claim(sweep, socket.gethostname(), os.getpid(), process_started(os.getpid()), number=number)
    temporary = folder / f".claim.{uuid.uuid4().hex[:8]}"
    write_json(temporary, asdict(claim))
    try:
        os.link(temporary, _file(folder, claim))
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    for old in found:
        old.unlink(missing_ok=True)
    if files(folder)[-1:] != [_file(folder, claim)]:  # numbers had moved on since the look above
        release(folder, claim)
        return None
    return claim


def confirm(folder: Path, claim: Claim, job: str, pids: Sequence[int] = ()) -> Claim:
    """Second phase: name the job and the processes that do the work."""
    confirmed = replace(claim, job=job, workers=tuple((pid, process_started(pid)) for pid in pids))
    write_json(_file(folder, claim), asdict(confirmed))
    return confirmed


def heartbeat(folder: Path, claim: Claim) -> None:
    """Show other hosts that the claim is alive."""
    with contextlib.suppress(OSError):
        os.utime(_file(folder, claim))


def release(folder: Path, claim: Claim) -> None:
    """Give the folder back."""
    _file(folder, claim).unlink(missing_ok=True)


def _file(folder: Path, claim: Claim) -> Path:
    return folder / f"claim-{claim.number:04d}.json"
