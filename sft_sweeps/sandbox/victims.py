"""What attacks on the sandbox are after, made for the purpose: files, a process, listeners, shared memory and queues.

All of it belongs to the candidate's user, who could harm it if no layer were in the way.
"""

import ctypes
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.sandbox.system import NOBODY

SECRET = "sft-sweeps-attack-secret"
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.shmat.restype = ctypes.c_void_p
_REMOVE, _SET, _STATE, _GET_VALUE, _SET_VALUE = 0, 1, 2, 12, 16  # IPC_RMID, IPC_SET, IPC_STAT, GETVAL, SETVAL
_QUEUE_FLAGS = os.O_CREAT | os.O_RDWR | os.O_NONBLOCK
_CLASS_SHIFT = 13  # of an I/O priority
_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}


@dataclass(frozen=True)
class Shared:
    """System V shared memory, a semaphore and a message queue, by their numbers; a POSIX queue is called as `name`."""

    memory: int
    semaphore: int
    messages: int
    name: str

    def state(self) -> list[object]:
        """What they hold, and whether they are there."""
        address = _LIBC.shmat(self.memory, None, 0)
        held = None if address in (None, 2**64 - 1) else ctypes.string_at(address, len(SECRET))
        _LIBC.shmdt(ctypes.c_void_p(address))
        buffer = ctypes.create_string_buffer(512)
        counted = _LIBC.msgctl(self.messages, _STATE, buffer), buffer.raw[:256]
        queue = _LIBC.mq_open(f"/{self.name}".encode(), os.O_RDWR)
        if queue >= 0:
            os.close(queue)
        return [held, _LIBC.semctl(self.semaphore, 0, _GET_VALUE), counted, queue >= 0]


@dataclass(frozen=True)
class Victims:
    """An open folder with a secret file, a process with a secret, two listeners, and what processes share."""

    folder: Path
    pid: int
    port: int
    udp: socket.socket
    name: str  # of an abstract socket
    shared: Shared

    def values(self) -> dict[str, object]:
        """What the programs call them."""
        values = {"folder": self.folder, "secret": SECRET, "pid": self.pid, "port": self.port, "name": self.name}
        shared = {"memory": self.shared.memory, "semaphore": self.shared.semaphore, "messages": self.shared.messages}
        return {**values, **shared, "udp": self.udp.getsockname()[1]}

    def state(self) -> list[object]:
        """All that an attack could change; the same before and after one that was held."""
        return [_files(self.folder), *_process(self.pid), _received(self.udp), *self.shared.state()]


def _files(folder: Path) -> list[tuple[object, ...]]:
    found = []
    for path in (folder, *sorted(folder.iterdir())):
        state = path.stat(follow_symlinks=False)
        attributes: list[str] = []
        with suppress(OSError):
            attributes = os.listxattr(path)
        about = (path.name, state.st_mode, state.st_uid, state.st_gid, state.st_size, state.st_mtime_ns, *attributes)
        found.append(about)
    return found


def _process(pid: int) -> Iterator[object]:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        status = "gone"
    yield status in ("gone", "Z", "t", "T")
    with suppress(OSError):
        yield from (os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid), os.sched_getscheduler(pid))
        yield Path(f"/proc/{pid}/limits").read_text()
    yield _LIBC.syscall(_IOPRIO_GET.get(os.uname().machine, -1), 1, pid) >> _CLASS_SHIFT


def _received(udp: socket.socket) -> bool:
    try:
        return bool(udp.recv(64))
    except BlockingIOError:
        return False


@contextmanager
def victims() -> Iterator[Victims]:
    """Victims that a program of the candidate's user could harm; gone afterwards."""
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sft-sweeps-victim-")))
        folder.chmod(0o777)
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o666)
        if os.geteuid() == 0:
            os.chown(folder, user, user)
            os.chown(folder / "secret", user, user)
        tcp, udp, unix = (stack.enter_context(one) for one in _listeners())
        abstract = f"sft-sweeps-{os.getpid()}"
        unix.bind(f"\0{abstract}")
        unix.listen()
        other: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen(["/bin/sleep", "60"], env={"SECRET": SECRET}, **other)
        stack.callback(process.wait)
        stack.callback(process.kill)
        shared = stack.enter_context(_shared(abstract, user))
        yield Victims(folder, process.pid, tcp.getsockname()[1], udp, abstract, shared)


def _listeners() -> tuple[socket.socket, socket.socket, socket.socket]:
    tcp, udp, unix = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
    for each in (tcp, udp):
        each.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    tcp.listen()
    return tcp, udp, unix


@contextmanager
def _shared(name: str, user: int) -> Iterator[Shared]:
    memory, semaphore, messages = _LIBC.shmget(0, 4096, 0o1600), _LIBC.semget(0, 1, 0o1600), _LIBC.msgget(0, 0o1600)
    controls: list[Callable[[int, Any], int]] = [
        lambda command, buffer: int(_LIBC.shmctl(memory, command, buffer)),
        lambda command, buffer: int(_LIBC.semctl(semaphore, 0, command, buffer)),
        lambda command, buffer: int(_LIBC.msgctl(messages, command, buffer)),
    ]
    try:
        address = _LIBC.shmat(memory, None, 0)
        ctypes.memmove(address, SECRET.encode(), len(SECRET))
        _LIBC.shmdt(ctypes.c_void_p(address))
        _LIBC.semctl(semaphore, 0, _SET_VALUE, 1)
        _LIBC.msgsnd(messages, (ctypes.c_long * 2)(1, 7), 8, os.O_NONBLOCK)
        for control in controls:
            _give(control, user)
        queue = _LIBC.mq_open(f"/{name}".encode(), _QUEUE_FLAGS, 0o600, None)
        if queue >= 0:
            os.fchown(queue, user, user)
            os.close(queue)
        yield Shared(memory, semaphore, messages, name)
    finally:
        _LIBC.mq_unlink(f"/{name}".encode())
        for control in controls:
            control(_REMOVE, None)


def _give(control: Callable[[int, Any], int], user: int) -> None:
    """Make the user an owner: the second and third number of what IPC_STAT tells."""
    buffer = ctypes.create_string_buffer(512)
    control(_STATE, buffer)
    owner = (ctypes.c_uint32 * 2)(user, user)
    ctypes.memmove(ctypes.addressof(buffer) + 4, owner, 8)
    control(_SET, buffer)
