"""Confinement of a process that runs a program: limits, another user, Landlock, seccomp."""

import ctypes
import os
import resource
import stat
import sys

TYPE_CHECKING = False  # `typing` would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sft_sweeps.sandbox.inside.order import Order

# prctl's options
DIE_WITH_PARENT, DUMPABLE, SECCOMP, SUBREAPER, NO_NEW_PRIVILEGES = 1, 4, 22, 36, 38
SIGKILL = 9
PROCESSES, FILES, FILE_BYTES, STACK_BYTES = 32, 64, 16 * 2**20, 8 * 2**20
SIGNALS_PENDING, LOCKED_BYTES = 128, 64 * 2**10
SIGPENDING, MSGQUEUE = 11, 12  # of setrlimit; `resource` has no name for them everywhere
# Landlock: system calls, rights
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ, LIST, READ_FILE, NULL = 0b1101, 0b1000, 0b0101, 0b0110  # of bits execute, write, read, list


def confine(order: "Order", keep: "Sequence[int]", failure: int, *, closed: bool = False) -> bool:
    """Make this process a candidate. Whether that worked; what did not is written to the end `failure`, then closed.

    `closed` keeps others of the same user out of the memory; else the keeper can see which files are open.
    """
    os.setsid()
    _close_all_but([*keep, failure])
    if order.user:
        user = int(order.user)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    prctl(NO_NEW_PRIVILEGES, 1)
    prctl(DIE_WITH_PARENT, SIGKILL)  # after the change of user, which resets it
    prctl(DUMPABLE, int(not closed))
    failed = b"Landlock" if "landlock" in order.layers and not landlock(order.readable) else b""
    _limit_all(order)
    if "seccomp" in order.layers and not seccomp(order.filter):
        failed = b"seccomp"
    if failed:
        os.write(failure, failed + b" failed")
    os.close(failure)
    return not failed


def _close_all_but(kept: "Sequence[int]") -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    ends = [2, *sorted(kept), FILES * 16]
    for before, after in zip(ends, ends[1:]):  # noqa: B905, RUF007
        os.closerange(before + 1, after)


def _limit_all(order: "Order") -> None:
    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(order.timeout) + 1),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_NPROC, PROCESSES),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_MEMLOCK, LOCKED_BYTES),
        (SIGPENDING, SIGNALS_PENDING),
        (MSGQUEUE, 0),
        (resource.RLIMIT_AS, int(order.memory)),
    ):
        limit(what, value)


def limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def seccomp(code: bytes) -> bool:
    """Install the filter; `struct sock_fprog` is a count and a pointer."""
    text = ctypes.create_string_buffer(code, len(code))
    fprog = (ctypes.c_uint64 * 2)(len(code) // 8, ctypes.addressof(text))
    return prctl(SECCOMP, 2, ctypes.byref(fprog)) == 0


def landlock(readable: "Sequence[str]") -> bool:
    """Read what is named, write the own folder, nothing else; no TCP, no signals.

    A name that ends with a slash is a folder whose list of names can be read; what it holds is named apart.
    """
    call = ctypes.CDLL(None).syscall
    abi = call(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return False
    every = (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1
    ruleset = (ctypes.c_uint64 * 3)(every, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    handle = call(CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), 0)
    if handle < 0:
        return False
    rules = [(path, LIST if path.endswith("/") else READ) for path in readable]
    for path, rights in [*rules, (".", every), ("/dev/null", NULL), ("/dev/urandom", READ_FILE & ~1)]:
        try:
            handle_of_path = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not stat.S_ISDIR(os.fstat(handle_of_path).st_mode):
            rights &= READ_FILE | NULL
        rule = rights.to_bytes(8, sys.byteorder) + handle_of_path.to_bytes(4, sys.byteorder)
        failed = call(ADD_RULE, handle, 1, ctypes.create_string_buffer(rule, 12), 0)
        os.close(handle_of_path)
        if failed:
            return False
    restricted: bool = call(RESTRICT_SELF, handle, 0) == 0
    os.close(handle)
    return restricted


def prctl(option: int, *values: object) -> int:
    filled = [*values, 0, 0, 0, 0][:4]
    return int(ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(v) if isinstance(v, int) else v for v in filled)))
