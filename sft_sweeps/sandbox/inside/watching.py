"""What a keeper does while a program runs and after it: watching the clock and the disk, ending all that is left."""

import os
import select
import stat
import time

from sft_sweeps.sandbox.inside.confinement import FILE_BYTES, SIGKILL

TYPE_CHECKING = False  # `typing` would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLL = 0.001  # seconds
LOOK = 0.02  # seconds between looks at the disk
DISK_BYTES, ENTRIES = 64 * 2**20, 4096


def wait(first: int, running: int, timeout: float) -> bytes:
    """Wait until `first` is dead, not reaping it, or its time is up; what stopped it, if anything did.

    `running` is the process that executes the program: no more disk may be taken by its folder and what it holds open.
    """
    start = looked = time.monotonic()
    pause = pauses(first)
    while not (state := os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT | os.WNOHANG)):
        now = time.monotonic()
        if now > start + timeout:
            return b"timeout"
        if now > looked + LOOK:
            looked = now
            if overflows(running):
                return b"disk full"
        pause()
    return b"" if state.si_code == os.CLD_EXITED else f"killed by signal {state.si_status}".encode()


def pauses(pid: int) -> "Callable[[], object]":
    """What waits until a process is dead, LOOK at most; POLL where the kernel does not tell (before Linux 5.3)."""
    try:
        end = os.pidfd_open(pid)
    except OSError:
        return lambda: time.sleep(POLL)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return lambda: poll.poll(LOOK * 1000)


def overflows(running: int) -> bool:
    """Whether the run's folder, and what is there without a name, is more than may be; what it hides is too much."""
    left, entries, folders = DISK_BYTES, ENTRIES, ["."]
    try:
        while folders:
            for state, path in _entries(folders.pop()):
                left -= state.st_blocks * 512
                entries -= 1
                if left < 0 or entries < 0:
                    return True
                if stat.S_ISDIR(state.st_mode):
                    folders.append(path)
    except OSError:
        return True
    return unnamed(running, left) > left


def _entries(folder: str) -> "Iterator[tuple[os.stat_result, str]]":
    """What a folder holds; what is removed meanwhile holds nothing."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.stat(follow_symlinks=False), entry.path
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        return


def unnamed(pid: int, enough: int) -> int:
    """Bytes of removed files that a process keeps by having them open or mapped, counted until they are enough.

    A process can close itself to this look where no seccomp keeps it from that.
    """
    held: dict[tuple[int, int], int] = {}
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            _opened(f"/proc/{pid}/task/{task}/fd", held)
            if _mapped(f"/proc/{pid}/task/{task}/maps", held, enough):
                break  # threads share what they map; the first one may have ended, and shows nothing then
    except OSError:
        pass  # it is ending
    return sum(held.values())


def _opened(folder: str, held: "dict[tuple[int, int], int]") -> None:
    for end in os.listdir(folder):
        try:
            state = os.stat(f"{folder}/{end}")
        except FileNotFoundError:
            continue
        if stat.S_ISREG(state.st_mode) and not state.st_nlink:
            held[state.st_dev, state.st_ino] = state.st_blocks * 512


def _mapped(path: str, held: "dict[tuple[int, int], int]", enough: int) -> bool:
    """Whether anything is mapped. The size of a removed file is not told here: it is what a file may have."""
    line = b""
    with open(path, "rb") as maps:
        for line in maps:
            if not line.endswith(b" (deleted)\n"):
                continue
            device, inode, name = line.split(None, 5)[3:]
            if name == b"/dev/zero (deleted)\n":  # memory that is shared
                continue
            major, minor = device.split(b":")
            held.setdefault((os.makedev(int(major, 16), int(minor, 16)), int(inode)), FILE_BYTES)
            if len(held) * FILE_BYTES > enough and sum(held.values()) > enough:
                break
    return bool(line)


def end_descendants(own: set[int]) -> None:
    """Kill the children and their process groups, and then whatever becomes our child until none is left."""
    for pid in own:
        kill(-pid)
        kill(pid)
        os.waitpid(pid, 0)
    try:
        os.waitpid(-1, os.WNOHANG)
        while left := children():
            for pid in left:
                kill(pid)
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def kill(pid: int) -> None:
    """A negative pid means its process group."""
    try:
        os.kill(pid, SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def children() -> list[int]:
    """Our children, dead ones too; /proc is read only where some are left, which is rare."""
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            pids.append(int(name))
    return pids
