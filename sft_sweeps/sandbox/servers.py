"""Servers: interpreters behind the outer layer, each of which forks the keepers of one run after another.

Starting bubblewrap and Python, and importing what programs import most, takes longer than most programs run. A server
reads no order itself (`inside/fork_server.py`), so that no run finds anything of an earlier one in its memory. It goes
on only after a run that can have left nothing: behind seccomp, where a candidate is a single process that makes neither
files elsewhere nor memory or queues that outlive it, and with its folder empty. Else it is ended, and another started.
"""

import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from signal import SIGKILL

from sft_sweeps.sandbox import bubblewrap, system
from sft_sweeps.sandbox.bundle import SCRIPT, bundle
from sft_sweeps.sandbox.inside import order
from sft_sweeps.sandbox.removal import remove

GRACE = 5.0  # seconds a keeper has for starting and cleaning up, beyond the program's timeout


class Server:
    """One that was started, with a private folder of its own; `ready` for an order as long as it says so.

    `many`: it imports what programs often import before the first run, which pays where several are to come.
    """

    def __init__(self, layers: Sequence[str], *, many: bool = False) -> None:
        self.layers, self.ready = tuple(layers), True
        self._unsent = bundle()
        self._folder = _private_folder()
        wrapping = bubblewrap.command() if "bubblewrap" in layers else []
        interpreter = [os.path.realpath(sys.executable), "-P", "-s", "-S", "-B", str(SCRIPT)]
        try:
            self._process = subprocess.Popen(
                [*wrapping, *interpreter, *(["many"] if many else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env=system.ENVIRONMENT,
                start_new_session=True,
            )
        except BaseException:
            remove(self._folder)
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._orders, False)

    def answer(self, request: bytes, seconds: float) -> bytes:
        """What the keeper says of the run that is requested; nothing when it died."""
        self.ready, said, end = False, b"", time.monotonic() + seconds
        try:
            self._send(self._unsent + request, end)
            self._unsent = b""
            (said,) = order.read(self._answers, lambda: _wait(self._answers, select.POLLIN, end))
            _wait(self._answers, select.POLLIN, end)
            self.ready = os.read(self._answers, 1) == order.READY
        except TimeoutError:
            self._end_run()
            return said or b"!timeout"
        except (EOFError, BrokenPipeError, ValueError):  # the last: what came is no answer
            pass
        return said

    def _send(self, text: bytes, end: float) -> None:
        while text:
            _wait(self._orders, select.POLLOUT, end)
            text = text[os.write(self._orders, text) :]

    def _end_run(self) -> None:
        """Have the server end its keeper and whatever that left; `close` would leave nobody to do that."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End its process group, whatever became of it, and remove its folder."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()
        remove(self._folder)


class Servers:
    """Lends a server for each run and keeps it for later ones of the same thread; the end of the block ends them all.

    bubblewrap dies with the thread that started it, so that no thread is lent another's.
    """

    def __init__(self, *, many: bool = False) -> None:
        self._idle: dict[int, Server] = {}  # by thread
        self._many = many

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._idle.values():
            server.close()

    @contextmanager
    def lent(self, layers: Sequence[str]) -> Iterator[Server]:
        """A server behind these layers, for one run."""
        server = self._kept(layers) or Server(layers, many=self._many)
        try:
            yield server
        finally:
            if server.ready and "seccomp" in layers:
                self._idle[threading.get_ident()] = server
            else:
                server.close()

    def _kept(self, layers: Sequence[str]) -> Server | None:
        server = self._idle.pop(threading.get_ident(), None)
        if server and not (server.layers == tuple(layers) and server.alive()):
            server.close()
            return None
        return server


def _wait(end: int, for_what: int, until: float) -> None:
    """Until a pipe can be read or written; TimeoutError at the moment `until`."""
    poll = select.poll()
    poll.register(end, for_what)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


def _private_folder() -> str:
    folder = tempfile.mkdtemp(prefix="sft-sweeps-sandbox-")
    if (user := system.drops_to()) is not None:
        os.chown(folder, user, user)
    return folder
