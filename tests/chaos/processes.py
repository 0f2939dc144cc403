"""Who runs in this room, found in /proc: nobody else's processes are seen there (room.py)."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.world import TAG, World


@dataclass(frozen=True, order=True)
class Process:
    """`name` is the same whenever the same work is done: by it, not by `pid`, a fault chooses."""

    name: str
    pid: int

    def send(self, number: signal.Signals) -> bool:
        """Whether the signal found it."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


@dataclass(frozen=True)
class _Seen:
    pid: int
    parent: int
    words: str
    output: str


def ranks(world: World) -> list[Process]:
    """The processes of jobs, which print into logs of the store, on this machine and on Slurm; not their children."""
    seen = {one.pid: one for one in _all() if one.output.startswith(str(world.store)) and one.output.endswith(".log")}
    found = [one for one in seen.values() if one.parent not in seen]
    return sorted(Process(_named(one.output), one.pid) for one in found)


def launches() -> list[Process]:
    """Every `launch.py` that runs."""
    words = [(one, one.words.split()) for one in _all()]
    found = [(one, name) for one, name in words if "launch.py" in name[1:3] and "python" in name[0]]
    return sorted(Process(next((w for w in name if w.startswith("name=")), ""), one.pid) for one, name in found)


def trackers() -> list[Process]:
    """Every wandb-core."""
    return sorted(Process("wandb-core", one.pid) for one in _all() if "wandb-core" in one.words.split(" ")[0])


def ours() -> list[Process]:
    """All that users and faults have started, and what that has left behind."""
    return sorted(Process(one.words[:120], one.pid) for one in _all() if one.pid != os.getpid() and _tagged(one.pid))


def _all() -> Iterator[_Seen]:
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
            if state in "ZX":
                continue
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            output = ""
            with suppress(OSError):
                output = os.readlink(place / "fd" / "1")
            yield _Seen(int(place.name), int(parent), words, output)


def _named(log: str) -> str:
    """`train-0 of mini--code+math-4b94f8ccfdf2`."""
    path = Path(log)
    return f"{path.stem} of {path.parent.parent.name}"


def _tagged(pid: int) -> bool:
    with suppress(OSError):
        return f"{TAG}=1".encode() in (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    return False
