"""Runs a generated program and its checks in processes of their own, confined by limits.

What it is: two processes a run. The *keeper* (our code, started with a cleared environment in its own session, never
imports anything of the program's) forks the *candidate*, which gives up root, takes its limits, executes the program
and then the checks, and last says a nonce. Passed means that the keeper handed that nonce back. When the candidate
ends or its time is up, the keeper kills its process group and every descendant that left it, also after a pass. An
endless loop, a fork or memory bomb, endless output, `sys.exit(0)` and a daemon end with the run and forge no pass.

What it is not: a security boundary. Files that the user may read stay readable, the network stays reachable, disk
space is bounded by file and not in total. Root's candidates become user 65534; anybody else's run as the same user
and can kill the keeper or us. The checks run in the candidate's interpreter: a program that walks stack frames can
forge a pass, one that merely exits cannot. Isolation by seccomp, Landlock or bubblewrap is not here yet.

The program sees the standard library and no installed package. What it prints is thrown away, its standard input is
empty, its folder is private and removed after the run.
"""

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from signal import SIGKILL

NOBODY = 65534
GRACE = 5.0  # seconds a keeper has for starting and cleaning up, beyond the program's timeout
REASON_LIMIT = 300
KEEPER = Path(__file__).with_name("sandbox_keeper.py")
# Fixed hashing makes verdicts repeatable: `-I` would ignore this variable, `-P -s` isolate as well.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}


@dataclass(frozen=True)
class Outcome:
    """Whether the checks ran to their end, and why not: the exception's type, or what stopped the program."""

    passed: bool
    reason: str


def run(program: str, check: str, *, timeout: float = 5.0, memory_mb: int = 512) -> Outcome:
    """Execute the program, then the checks in its namespace, within the limits (seconds, MiB)."""
    nonce = secrets.token_hex(16)
    code = program.encode("utf-8", "surrogatepass")
    fields = (nonce, timeout, memory_mb * 2**20, _drops_to() or 0, int(_preloads()), len(code))
    request = " ".join(map(str, fields)).encode() + b"\n" + code + check.encode("utf-8", "surrogatepass")
    with _private_folder() as folder:
        process = _start(folder)
        try:
            said, _ = process.communicate(request, timeout=timeout + GRACE)
        except subprocess.TimeoutExpired:
            said = b"timeout"
        finally:
            _kill(process)
    return _outcome(said, nonce)


def _start(folder: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-S", "-B", str(KEEPER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the keeper's process group, whatever became of the keeper, and close our ends of its pipes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, SIGKILL)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _outcome(said: bytes, nonce: str) -> Outcome:
    text = said[: REASON_LIMIT + len(nonce)].decode("utf-8", "replace")
    if text == nonce:
        return Outcome(True, "passed")
    return Outcome(False, text[:REASON_LIMIT] or "the sandbox died")


@contextmanager
def _private_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="sft-sweeps-sandbox-")
    try:
        if (user := _drops_to()) is not None:
            os.chown(folder, user, user)
        yield folder
    finally:
        with suppress(OSError, RecursionError):
            _open_up(folder)
            shutil.rmtree(folder)


def _open_up(folder: str) -> None:
    """Give ourselves back what the program may have taken away: a folder without rights cannot be removed."""
    os.chmod(folder, 0o700)
    for parent, names, _ in os.walk(folder):
        for name in names:
            if not os.path.islink(path := os.path.join(parent, name)):
                os.chmod(path, 0o700)


def _drops_to() -> int | None:
    """The user that the candidate becomes: root's limits on processes bind nobody, so root gives itself up."""
    return NOBODY if os.geteuid() == 0 else None


@cache
def _preloads() -> bool:
    """Whether the keeper must import for the candidate, because the library lies where user 65534 cannot read."""
    if _drops_to() is None:
        return False
    library = Path(os.__file__).resolve()
    return not all(folder.stat().st_mode & stat.S_IXOTH for folder in library.parents)
