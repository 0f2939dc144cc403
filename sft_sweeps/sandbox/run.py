"""Runs a generated program and its checks in processes of their own, behind every layer that the machine offers.

The *keeper* (our code, started with a cleared environment in its own session, never imports anything of the program's)
starts the *candidate*, which gives up root, takes its limits and layers, executes the program and then the checks, and
last writes a nonce. Passed means that the keeper handed that nonce back. When the candidate ends or its time is up, the
keeper kills its process group and every descendant that left it, also after a pass; should the keeper be killed, its
guard does. What the program prints is thrown away, its input is empty, its folder is private and removed after the run.

The layers, each with what it adds:

    limits       memory, CPU, processes, open files, file sizes; the folder's total is watched
    user         root's candidates run as user 65534: limits on processes do not bind root
    seccomp      no sockets, signals, ptrace, fork, exec, mounts, modes and owners (seccomp.py has the list)
    landlock     reads system libraries and the interpreter, writes the own folder, no other file
    bubblewrap   namespaces of its own for files, processes and network; a 64 MiB folder in memory

Properties that users can require (PROPERTIES says what gives each): `fs`, no file of others is read, written or changed
in mode or owner; `net`; `kill`, no other process is harmed; `forge`, a pass cannot be forged; `names`, not even which
files others have and how large they are can be learnt (neither seccomp nor Landlock stops `stat`).

Known limit of a run that is not strict: the checks run in the candidate's interpreter, so a program that walks stack
frames can find the nonce. A strict run starts its candidate before anything of the checks is read, and executes them in
another process, which alone can write the verdict and calls the candidate's function over a pipe; arguments and answers
are then plain data. Holes in the kernel are out of scope.
"""

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from signal import SIGKILL

from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import seccomp, system
from sft_sweeps.sandbox.bundle import SCRIPT, bundle
from sft_sweeps.sandbox.inside import order
from sft_sweeps.sandbox.removal import remove

NOBODY = 65534
GRACE = 5.0  # seconds a keeper has for starting and cleaning up, beyond the program's timeout
NAME_LIMIT = 100  # characters of an exception's name
FOLDER_BYTES = 64 * 2**20  # of bubblewrap's folder in memory
# What gives each property: any one of these sets of layers.
PROPERTIES: Mapping[str, Sequence[Sequence[str]]] = {
    "fs": (("landlock", "seccomp"), ("bubblewrap",)),
    "net": (("seccomp",), ("bubblewrap",)),
    "kill": (("seccomp",), ("bubblewrap",)),
    "forge": (("strict",),),
    "names": (("bubblewrap",),),
}
DEFAULT_REQUIRE = ("fs", "net", "kill")
LACKS = {
    "fs": "can read and change your files (keys, too) and read your processes' environments",
    "net": "can use the network",
    "kill": "can harm your other processes",
}
MODES = ("auto", "kernel", "seccomp", "landlock", "bubblewrap", "none")  # of Isolation.mode
# Fixed hashing makes verdicts repeatable: `-I` would ignore this variable, `-P -s` isolate as well.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}
DEFAULT = Isolation()


@dataclass(frozen=True)
class Outcome:
    """Whether the checks ran to their end, and why not: the exception's type, or what stopped the program."""

    passed: bool
    reason: str


@dataclass(frozen=True)
class Task:
    """A program and the checks that run in its namespace.

    `entry` names the function that the checks call and `given` is trusted code that they may use besides: a strict run
    needs both apart from the program.
    """

    program: str
    check: str
    entry: str = ""
    given: str = ""


def run(
    program: str, check: str, *, timeout: float = 5.0, memory_mb: int = 512, isolation: Isolation = DEFAULT
) -> Outcome:
    """Execute the program, then the checks in its namespace, within the limits (seconds, MiB)."""
    return execute(Task(program, check), timeout=timeout, memory_mb=memory_mb, isolation=isolation)


def execute(
    task: Task, *, timeout: float = 5.0, memory_mb: int = 512, isolation: Isolation = DEFAULT, mode: str = ""
) -> Outcome:
    """The same for a task; RunError where the machine does not offer what `isolation` asks for."""
    layers = available(isolation.mode, isolation.accept)
    if isolation.strict and task.check.strip() and not task.entry:
        raise RunError(
            "sandbox.strict=true: these checks call no one function by name, so they cannot be run apart from the "
            "program; leave its benchmark out, or type sandbox.strict=false"
        )
    mode = mode or ("strict" if isolation.strict else "plain")
    nonce = secrets.token_hex(16)
    request = _request(task, nonce, mode, layers, timeout=timeout, memory_mb=memory_mb)
    with _private_folder() as folder:
        process = _start(folder, "bubblewrap" in layers)
        try:
            said, _ = process.communicate(request, timeout=timeout + GRACE)
        except subprocess.TimeoutExpired:
            said = b"!timeout"
            _let_guard_end_it(process)
        finally:
            _kill(process)
    return _outcome(said, nonce)


def _request(
    task: Task, nonce: str, mode: str, layers: Sequence[str], *, timeout: float = 10.0, memory_mb: int = 512
) -> bytes:
    preload = _preloads() and "bubblewrap" not in layers  # inside it, the library can be read
    limits = f"{timeout} {memory_mb * 2**20} {_drops_to() or 0} {int(preload)}"
    readable = "\0".join(system.readable("bubblewrap" in layers))
    told = (mode, " ".join(layers), task.entry, readable, task.program, seccomp.program(), limits)
    return bundle() + order.part(told) + order.part((nonce, task.check, task.given))


def _start(folder: str, wrapped: bool) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*(_bubblewrap() if wrapped else []), *_interpreter()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _interpreter() -> list[str]:
    return [os.path.realpath(sys.executable), "-P", "-s", "-S", "-B", str(SCRIPT)]


@cache
def _bubblewrap() -> list[str]:
    """bwrap's command line: the system's libraries and the interpreter read-only, nothing else of the machine.

    Root makes no user namespace: in one, its candidates could become nobody else. The keeper keeps what it needs to
    change the user and to kill.
    """
    line = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    if _drops_to() is not None:
        line[1:] = [f"--unshare-{name}" for name in ("ipc", "pid", "net", "uts", "cgroup-try")]
    line += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if _drops_to() is not None:
        line += [word for name in ("SETUID", "SETGID", "KILL") for word in ("--cap-add", f"CAP_{name}")]
    line += [word for key, value in ENVIRONMENT.items() for word in ("--setenv", key, value)]
    line += ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "bin", "sbin"):
        folder = Path("/", name)
        if folder.is_symlink():
            line += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            line += ["--ro-bind", str(folder), str(folder)]
    for needed in (*sorted({sys.base_prefix, str(Path(os.__file__).parent)}), str(SCRIPT)):
        if Path(needed) != Path("/usr") and Path("/usr") not in Path(needed).parents:
            parents = reversed(Path(needed).parents[:-1])  # open to others, whatever they are outside
            line += [word for parent in parents for word in ("--perms", "0755", "--dir", str(parent))]
            line += ["--ro-bind", needed, needed]
    line += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    line += [word for closed in system.closed_within() for word in ("--tmpfs", closed, "--remount-ro", closed)]
    line += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]  # it has a folder in memory without a limit
    line += ["--perms", "1777", "--size", str(FOLDER_BYTES), "--tmpfs", "/w"]
    return [*line, "--chdir", "/w", "--remount-ro", "/", "--"]


@cache
def available(mode: str = "auto", accept: bool = False) -> tuple[str, ...]:
    """The layers that runs are put behind; RunError where there is none and `accept` does not say that it is meant.

    `mode` is `auto` (all that work here), `kernel` (the same without bubblewrap), one of the layers (that one alone,
    for machines where another misbehaves), or `none`.
    """
    wanted = {"auto": ("seccomp", "landlock", "bubblewrap"), "kernel": ("seccomp", "landlock")}.get(mode, (mode,))
    working = tuple(layer for layer in wanted if mode != "none" and _works(layer))
    if mode not in ("auto", "kernel", "none") and not working:
        raise RunError(f"sandbox.isolation={mode} does not work on this machine; see `sft-sweeps doctor sandbox`")
    if not working and not accept:
        raise RunError(
            "programs that a model wrote would run without isolation here (no seccomp, Landlock or bubblewrap). "
            "If that is meant, type sandbox.i_accept_running_untrusted_code=true"
        )
    return working


@cache
def _works(layer: str) -> bool:
    """Whether a run behind this layer alone comes to its end."""
    if layer == "seccomp" and not seccomp.program():
        return False
    if layer == "bubblewrap" and shutil.which("bwrap") is None:
        return False
    nonce = "probe"
    with _private_folder() as folder:
        try:
            process = _start(folder, layer == "bubblewrap")
            said, _ = process.communicate(_request(Task("", ""), nonce, "probe", (layer,)), timeout=15)
        except (OSError, subprocess.SubprocessError):
            return False
        finally:
            with suppress(UnboundLocalError):
                _kill(process)
    return said == b":" + nonce.encode()


def describe(isolation: Isolation) -> list[str]:
    """The active layers, for records and for users."""
    user = ("user",) if _drops_to() else ()
    return ["limits", *user, *available(isolation.mode, isolation.accept), *(("strict",) if isolation.strict else ())]


def lacking(isolation: Isolation, properties: Sequence[str] | None = None) -> list[str]:
    """Properties (those that are required) that no active layer gives."""
    active = set(describe(isolation))
    wanted = isolation.require if properties is None else properties
    return [name for name in wanted if not any(active.issuperset(layers) for layers in PROPERTIES[name])]


def check(isolation: Isolation) -> None:
    """RunError unless every required property is there; one line on standard error for what is there in no way."""
    active = ", ".join(describe(isolation))
    if missing := lacking(isolation):
        offers = "; ".join(f"{name} needs {_offers(name)}" for name in missing)
        raise RunError(
            f"the sandbox has no {', '.join(missing)} on this machine ({offers}); active: {active}. "
            "See `sft-sweeps doctor sandbox`, or require less: sandbox.require=[...]"
        )
    if missing := lacking(isolation, DEFAULT_REQUIRE):
        what = ", ".join(LACKS[name] for name in missing)
        _warn(f"WARNING: sandbox without {', '.join(missing)}: programs that a model wrote {what}; active: {active}")


@cache
def _warn(text: str) -> None:
    """Say it once."""
    print(text, file=sys.stderr, flush=True)


def _offers(name: str) -> str:
    return ", or ".join(" and ".join(layers) for layers in PROPERTIES[name])


def _let_guard_end_it(process: "subprocess.Popen[bytes]") -> None:
    """Have the keeper's guard end the keeper and whatever it left; `_kill` would leave nobody to do that."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


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
    """What the keeper said itself (after `!`) as it is; what the program may have said (after `:`) as data."""
    text = said[1:].decode("utf-8", "replace")
    if said[:1] != b":":
        return Outcome(False, text or "the sandbox died")
    return Outcome(True, "passed") if text == nonce else Outcome(False, as_data(text))


def as_data(name: str) -> str:
    """A name that a program gave an exception: quoted unless it is plain, so that it passes for nothing else.

    What could steer a terminal, or mean something in markup, is escaped.
    """
    if name.isascii() and name.isidentifier() and len(name) <= NAME_LIMIT and name not in ("passed", "timeout"):
        return name
    plain = (c if c.isascii() and (c.isalnum() or c in " _-.,:") else f"\\u{{{ord(c):x}}}" for c in name[:NAME_LIMIT])
    return f"an exception named '{''.join(plain)}'"


@contextmanager
def _private_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="sft-sweeps-sandbox-")
    try:
        if (user := _drops_to()) is not None:
            os.chown(folder, user, user)
        yield folder
    finally:
        remove(folder)


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
