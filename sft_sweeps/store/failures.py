"""failure.json: why the last attempt at a job failed, also where the disk is full.

When a job begins, a file of the record's size is put beside its claim. Where the record cannot be written in the usual
way, that file's bytes become it: nothing is allocated.
"""

import json
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from sft_sweeps.files import fence
from sft_sweeps.files.json_files import read_json, write_json

FAILURE = "failure.json"
RESERVED = ".failure.reserved"
SIZE = 4096
PEERS = "another process of this job ended"  # begins the reason of one that only lost its peer: any other is better


def begin(folder: Path) -> None:
    """Forget an earlier failure, and reserve the room for one; OSError where there is none."""
    (folder / FAILURE).unlink(missing_ok=True)
    with (folder / RESERVED).open("wb") as file:
        file.write(b"\n" * SIZE)
        file.flush()
        os.fsync(file.fileno())  # a network's file system says only now that it is full


def end(folder: Path) -> None:
    """Give the room back."""
    (folder / RESERVED).unlink(missing_ok=True)


def write(folder: Path, job: str, reason: str, again: bool = False) -> None:
    """Write down why a job failed. A reason that is there is replaced by `again` alone, or where it only says that a
    peer was lost. Says nothing where it cannot.
    """
    path, first_line = folder / FAILURE, reason.strip().partition("\n")[0]
    value = {"reason": first_line, "job": job, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    with suppress(OSError):
        better = not reason.startswith(PEERS) and reason_of(folder).startswith(PEERS)
        if path.exists() and not (again or better):
            return
        try:
            write_json(path, value)
        except OSError:
            _into_reserve(folder, value)


def _into_reserve(folder: Path, value: dict[str, Any]) -> None:
    """Into the reserved bytes, which whoever renames them first owns."""
    fence.check()
    mine = folder / f"{RESERVED}.{uuid.uuid4().hex[:8]}"
    (folder / RESERVED).rename(mine)
    handle = os.open(mine, os.O_WRONLY)
    try:
        os.pwrite(handle, _fitting(value), 0)
        os.fsync(handle)
    finally:
        os.close(handle)
    fence.publish(mine, folder / FAILURE)


def _fitting(value: dict[str, Any]) -> bytes:
    """JSON of exactly the reserved size: the reason is cut, or blanks follow."""
    text = json.dumps(value).encode()
    while len(text) > SIZE:
        value = {**value, "reason": value["reason"][: len(value["reason"]) * 3 // 4]}
        text = json.dumps(value).encode()
    return text.ljust(SIZE)


def reason_of(folder: Path) -> str:
    """Why the last attempt failed; empty when it did not."""
    with suppress(ValueError, OSError, KeyError, TypeError):
        failure = read_json(folder / FAILURE)
        return str(failure["reason"]) if failure else ""
    return f"{FAILURE} cannot be read"
