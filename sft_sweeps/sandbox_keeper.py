"""The keeper of one sandboxed run: a script that `sandbox` starts, never imported.

It reads what to do from standard input, forks the candidate, waits for it no longer than the timeout, kills whatever
descends from it, and writes what the candidate said (the nonce, or a reason) on standard output. Linux only. Its start
is most of a run's time: it imports neither signal nor contextlib, which would double it.
"""

import ctypes
import os
import resource
import sys
import time

# What generated programs import; loaded before root is given up where the library is not readable afterwards.
COMMON = (
    "_strptime abc array bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions "
    "functools hashlib heapq io itertools json math numbers operator queue random re signal statistics string "
    "struct sys textwrap threading time typing unicodedata"
)
# prctl's options
DIE_WITH_PARENT, SUBREAPER, NO_NEW_PRIVILEGES = 1, 36, 38
SIGKILL = 9
SAID_LIMIT = 4096
POLL = 0.001  # seconds
PROCESSES, FILES, FILE_BYTES, STACK_BYTES = 32, 64, 16 * 2**20, 8 * 2**20


def main() -> None:
    nonce, timeout, memory, user, preload, size = sys.stdin.buffer.readline().split()
    code = sys.stdin.buffer.read()
    program, check = (part.decode("utf-8", "surrogatepass") for part in (code[: int(size)], code[int(size) :]))
    prctl(SUBREAPER, 1)  # a daemon of the candidate's becomes our child, so that we find it
    if int(preload):
        import_common(f"{program}\n{check}")
    read_end, write_end = os.pipe()
    candidate = os.fork()
    if candidate == 0:
        os.close(read_end)
        confine(float(timeout), int(memory), int(user))
        os.write(write_end, execute(program, check, nonce)[:SAID_LIMIT])
        os._exit(0)
    os.close(write_end)
    ended = wait(candidate, float(timeout))
    end_descendants(candidate)
    sys.stdout.buffer.write(ended or said(read_end))
    sys.stdout.flush()


def import_common(text: str) -> None:
    """Import those of the common modules whose names occur in the text."""
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
    for name in COMMON.split():
        if name.lstrip("_") in words:
            __import__(name)


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def wait(candidate: int, timeout: float) -> bytes:
    """Wait until the candidate is dead, not reaping it, or its time is up; what stopped it, if anything did."""
    deadline = time.monotonic() + timeout
    while not (state := os.waitid(os.P_PID, candidate, os.WEXITED | os.WNOWAIT | os.WNOHANG)):
        if time.monotonic() > deadline:
            return b"timeout"
        time.sleep(POLL)
    return b"" if state.si_code == os.CLD_EXITED else f"killed by signal {state.si_status}".encode()


def end_descendants(candidate: int) -> None:
    """Kill the candidate and its process group, and then children until none is left."""
    kill(-candidate)
    kill(candidate)
    os.waitpid(candidate, 0)
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
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.append(int(name))
    return found


def said(read_end: int) -> bytes:
    os.set_blocking(read_end, False)
    try:
        text = os.read(read_end, SAID_LIMIT)
    except BlockingIOError:
        text = b""
    return text or b"ended before the checks did"


def confine(timeout: float, memory: int, user: int) -> None:
    """Make this process the candidate: own session, no terminal, no output, no root, limits."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    prctl(NO_NEW_PRIVILEGES, 1)
    prctl(DIE_WITH_PARENT, SIGKILL)  # after the change of user, which resets it
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, int(timeout) + 1)
    limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    limit(resource.RLIMIT_NOFILE, FILES)
    limit(resource.RLIMIT_NPROC, PROCESSES)
    limit(resource.RLIMIT_STACK, STACK_BYTES)
    limit(resource.RLIMIT_AS, memory)


def limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def execute(program: str, check: str, nonce: bytes) -> bytes:
    """The nonce when program and checks ran to their end, else the type of what they raised."""
    namespace: dict[str, object] = {}
    try:
        exec(compile(program, "<program>", "exec"), namespace)
        exec(compile(check, "<check>", "exec"), namespace)
    except BaseException as error:
        return type(error).__name__.encode("utf-8", "replace")
    return nonce


if __name__ == "__main__":
    main()
