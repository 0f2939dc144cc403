"""Ending a process with all that it started: W&B's service leaves its process group, and outlives its client."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """From now on, what a process below this one leaves behind is this one's child, and can be found."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all_below(pid: int) -> None:
    """Kill every descendant of a process."""
    for one in _below(pid):
        with suppress(OSError):
            os.kill(one, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = list(children.get(pid, ()))
    for one in found:  # grows
        found += children.get(one, ())
    return found
