"""Runs a generated program and its checks in processes of their own, behind every layer that the machine offers.

A *server* (our code, started with a cleared environment in its own session) forks the *keeper* of a run, which never
imports anything of the program's and starts the *candidate*. That gives up root, takes its limits and layers, executes
the program and then the checks, and last writes a nonce. Passed means that the keeper handed that nonce back. When the
candidate ends or its time is up, the keeper kills its process group and every descendant that left it, also after a
pass; should the keeper be killed, its server does. What the program prints is thrown away, its input is empty, its
folder is private and empty. A server serves another run only where nothing can be left of the one before (servers.py).

The layers, each with what it adds:

    limits       memory, CPU, processes, open files, file sizes; the folder's total is watched
    user         root's candidates run as user 65534: limits on processes do not bind root
    seccomp      no sockets, signals, ptrace, fork, exec, mounts, modes and owners (seccomp.py has the list)
    landlock     reads system libraries and the interpreter, writes the own folder, no other file
    bubblewrap   namespaces of its own for files, processes and network; a 64 MiB folder in memory

Properties that users can require (layers.py says what gives each): `fs`, no file of others is read, written or changed
in mode or owner; `net`; `kill`, no other process is harmed; `forge`, a pass cannot be forged; `names`, not even which
files others have and how large they are can be learnt (neither seccomp nor Landlock stops `stat`).

Known limit of a run that is not strict: the checks run in the candidate's interpreter, so a program that walks stack
frames can find the nonce. A strict run starts its candidate before anything of the checks is read, and executes them in
another process, which alone can write the verdict and calls the candidate's function over a pipe; arguments and answers
are then plain data. Holes in the kernel are out of scope.
"""

import secrets
from contextlib import nullcontext
from dataclasses import dataclass

from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import layers
from sft_sweeps.sandbox.servers import GRACE, Servers
from sft_sweeps.sandbox.task import Task, request

NAME_LIMIT = 100  # characters of an exception's name
DEFAULT = Isolation()
DIED = "the sandbox died"
FAILED = (DIED, "sandbox: ")  # begin the reasons that may be the machine's fault, or the program's
DOCTOR = "sft-sweeps doctor sandbox"


@dataclass(frozen=True)
class Outcome:
    """Whether the checks ran to their end, and why not: the exception's type, or what stopped the program."""

    passed: bool
    reason: str


def run(
    program: str, check: str, *, timeout: float = 5.0, memory_mb: int = 512, isolation: Isolation = DEFAULT
) -> Outcome:
    """Execute the program, then the checks in its namespace, within the limits (seconds, MiB)."""
    return execute(Task(program, check), timeout=timeout, memory_mb=memory_mb, isolation=isolation)


def execute(
    task: Task,
    *,
    timeout: float = 5.0,
    memory_mb: int = 512,
    isolation: Isolation = DEFAULT,
    servers: Servers | None = None,
) -> Outcome:
    """The same for a task, by one of the servers where some are at hand.

    RunError where the machine does not offer what `isolation` asks for, or no more: its fault makes no program wrong.
    """
    behind = layers.available(isolation.mode, isolation.accept)
    if isolation.strict and task.check.strip() and not task.entry:
        raise RunError(
            "sandbox.strict=true: these checks call no one function by name, so they cannot be run apart from the "
            "program; leave its benchmark out, or type sandbox.strict=false"
        )
    nonce = secrets.token_hex(16)
    mode = "strict" if isolation.strict else "plain"
    asked = request(task, nonce, mode, behind, timeout=timeout, memory_mb=memory_mb)
    with nullcontext(servers) if servers else Servers() as at_hand, at_hand.lent(behind) as server:
        said = server.answer(asked, timeout + GRACE)
    outcome = _outcome(said, nonce)
    if said[:1] != b":" and outcome.reason.startswith(FAILED) and not layers.works_now(behind):
        raise RunError(
            f"the sandbox does not work on this machine any more ({outcome.reason}); see `{DOCTOR}`, then score again"
        )
    return outcome


def _outcome(said: bytes, nonce: str) -> Outcome:
    """What the keeper said itself (after `!`) as it is; what the program may have said (after `:`) as data."""
    text = said[1:].decode("utf-8", "replace")
    if said[:1] != b":":
        return Outcome(False, text or DIED)
    return Outcome(True, "passed") if text == nonce else Outcome(False, as_data(text))


def as_data(name: str) -> str:
    """A name that a program gave an exception: quoted unless it is plain, so that it passes for nothing else.

    What could steer a terminal, or mean something in markup, is escaped.
    """
    if name.isascii() and name.isidentifier() and len(name) <= NAME_LIMIT and name not in ("passed", "timeout"):
        return name
    plain = (c if c.isascii() and (c.isalnum() or c in " _-.,:") else f"\\u{{{ord(c):x}}}" for c in name[:NAME_LIMIT])
    return f"an exception named '{''.join(plain)}'"
