"""The keeper of one sandboxed run: a script that `sandbox` starts, never imported.

It reads what to do from standard input, forks the candidate, waits for it no longer than the timeout, kills whatever
descends from it, and writes how the run ended (the nonce, or a reason) on standard output. In a strict run the
checks are another child: it alone can write the verdict, and calls the candidate's function over a pipe. Linux only.
Its start is most of a run's time: it imports neither signal nor contextlib, which would double it.
"""

import ctypes
import os
import resource
import stat
import sys
import time

TYPING = False  # `typing` is not imported here: it costs milliseconds
if TYPING:
    from collections.abc import Callable
    from typing import Any

# What generated programs import; loaded before root is given up where the library is not readable afterwards.
COMMON = (
    "_strptime abc array bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions "
    "functools hashlib heapq io itertools json math numbers operator queue random re signal statistics string "
    "struct sys textwrap threading time typing unicodedata"
)
LIBRARY = sys.stdlib_module_names - {"antigravity", "idlelib", "test", "this", "turtle", "turtledemo"}
# prctl's options
DIE_WITH_PARENT, DUMPABLE, SECCOMP, SUBREAPER, NO_NEW_PRIVILEGES = 1, 4, 22, 36, 38
SIGKILL = 9
VERDICT_LIMIT = 4096
MESSAGE_LIMIT = 16 * 2**20  # of one call or answer between checks and candidate
POLL = 0.001  # seconds
LOOK = 0.1  # seconds between looks at the disk
PROCESSES, FILES, FILE_BYTES, STACK_BYTES, DISK_BYTES, ENTRIES = 32, 64, 16 * 2**20, 8 * 2**20, 64 * 2**20, 4096
# Landlock: system calls, rights
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ, READ_FILE, FILE, NULL = 0b1101, 0b0101, 0b0111, 0b0110  # of bits execute 1, write 2, read 4, list 8


class Order:
    """What is to be run: the settings in the first line of standard input, and the texts that follow it."""

    def __init__(self) -> None:
        line = sys.stdin.buffer.readline().split()
        self.nonce, self.mode, self.layers, self.entry = line[0], line[1], line[2].split(b","), line[3].decode()
        self.timeout, self.memory, self.user, self.preload = float(line[4]), int(line[5]), int(line[6]), int(line[7])
        text = sys.stdin.buffer.read()
        parts = []
        for size in map(int, line[8:12]):
            parts.append(text[:size])
            text = text[size:]
        self.filter = parts[0]
        self.program, self.check, self.given = (part.decode("utf-8", "surrogatepass") for part in parts[1:])


def main() -> None:
    order = Order()
    prctl(SUBREAPER, 1)  # a daemon of the candidate's becomes our child, so that we find it
    prctl(DUMPABLE, 0)  # our memory holds the nonce: not even the same user may read it
    if order.preload:
        import_common(f"{order.program}\n{order.check}\n{order.given}")
    read_end, write_end = os.pipe()
    if order.mode == b"strict":
        first, candidate = strict(order, write_end)
    else:
        first = candidate = child(order, [write_end], lambda: os.write(write_end, alone(order)[:VERDICT_LIMIT]))
    os.close(write_end)
    ended = wait(first, order.timeout)
    end_descendants({first, candidate})
    sys.stdout.buffer.write(ended or verdict_of(read_end))
    sys.stdout.flush()


def strict(order: Order, verdict: int) -> tuple[int, int]:
    """The checks in one child, the candidate in another that does not have the verdict's pipe."""
    __import__("json")  # while it can be read
    calls_out, calls_in = os.pipe()
    answers_out, answers_in = os.pipe()
    candidate = child(order, [calls_out, answers_in], lambda: serve(order, calls_out, answers_in))
    checks = child(order, [verdict, calls_in, answers_out], lambda: judge(order, verdict, calls_in, answers_out))
    for end in (calls_out, calls_in, answers_out, answers_in):
        os.close(end)
    return checks, candidate


def child(order: Order, keep: list[int], work: "Callable[[], Any]") -> int:
    """Fork a confined process that does the work and has no other files open."""
    pid = os.fork()
    if pid:
        return pid
    try:
        failed = confine(order, keep)
        if failed:
            os.write(keep[0], b"sandbox: " + failed)
        else:
            work()
    finally:
        os._exit(0)


def alone(order: Order) -> bytes:
    """The nonce when program and checks ran to their end, else the type of what they raised."""
    nonce, order.nonce = order.nonce, b""
    if order.mode == b"probe":
        return nonce
    namespace: dict[str, Any] = {}
    failure = execute(order.program, namespace) or execute(order.check, namespace)
    return failure or nonce


def execute(text: str, namespace: "dict[str, Any]") -> bytes:
    """Nothing, or the type of what the text raised."""
    try:
        exec(compile(text, "<program>", "exec"), namespace)
    except BaseException as error:
        return type(error).__name__.encode("utf-8", "replace") or b"an exception without a name"
    return b""


def serve(order: Order, calls: int, answers: int) -> None:
    """The candidate of a strict run: execute the program, then call its function as often as the checks ask."""
    import json

    order.nonce = order.check = ""
    namespace: dict[str, Any] = {}
    failure = execute(order.program, namespace)
    reply: dict[str, object] = {"raised": failure.decode()} if failure else {"value": None}
    with os.fdopen(calls, "rb") as source, os.fdopen(answers, "wb") as sink:
        while True:
            sink.write(json.dumps(reply).encode() + b"\n")
            sink.flush()
            line = source.readline()
            if not line or failure:
                return
            try:
                reply = {"value": pack(namespace[order.entry](*unpack(json.loads(line))))}
            except BaseException as error:
                reply = {"raised": type(error).__name__}


def judge(order: Order, verdict: int, calls: int, answers: int) -> None:
    """The checks of a strict run: the function that they call is asked for over the pipe."""
    import json

    prctl(DUMPABLE, 0)
    source, sink = os.fdopen(answers, "rb"), os.fdopen(calls, "wb")

    def asked(*arguments: object) -> object:
        sink.write(json.dumps(pack(arguments)).encode() + b"\n")
        sink.flush()
        return answer()

    def answer() -> object:
        line = source.readline(MESSAGE_LIMIT)
        if not line.endswith(b"\n"):
            raise EOFError
        reply = json.loads(line)
        if "raised" in reply:
            kind: Any = getattr(__import__("builtins"), str(reply["raised"]), None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind() if known else RuntimeError(str(reply["raised"])[:200]))
        return unpack(reply["value"])

    namespace: dict[str, Any] = {}
    failure = execute("ready()", {"ready": answer}) or execute(order.given, namespace)
    namespace[order.entry] = asked
    os.write(verdict, (failure or execute(order.check, namespace) or order.nonce)[:VERDICT_LIMIT])


def pack(value: "Any") -> "Any":
    """A value as JSON can hold it; TypeError for what is more than data. Subclasses pass as what they extend."""
    if value is None or isinstance(value, (bool, int, float, str)):
        plain: Any = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
        return value if plain is None or type(value) is plain else plain(value)
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [pack(item) for item in value]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise TypeError(f"{type(value).__name__} is no plain value")


def unpack(value: "Any") -> "Any":
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {unpack(key): unpack(item) for key, item in content}
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](map(unpack, content))


def import_common(text: str) -> None:
    """Import those of the common modules whose names occur in the text, and what it imports of the library."""
    words = words_of(text)
    wanted = {name for name in COMMON.split() if name.lstrip("_") in words}
    lines = (line.strip() for line in text.splitlines())
    wanted |= words_of("\n".join(line for line in lines if line.startswith(("import ", "from ")))) & LIBRARY
    for name in sorted(wanted):
        try:
            __import__(name)
        except Exception:
            continue


def words_of(text: str) -> "set[str]":
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def prctl(option: int, *values: object) -> int:
    filled = [*values, 0, 0, 0, 0][:4]
    return int(ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(v) if isinstance(v, int) else v for v in filled)))


def wait(candidate: int, timeout: float) -> bytes:
    """Wait until the candidate is dead, not reaping it, or its time is up; what stopped it, if anything did."""
    start = looked = time.monotonic()
    while not (state := os.waitid(os.P_PID, candidate, os.WEXITED | os.WNOWAIT | os.WNOHANG)):
        now = time.monotonic()
        if now > start + timeout:
            return b"timeout"
        if now > looked + LOOK:
            looked = now
            if overflows():
                return b"disk full"
        time.sleep(POLL)
    return b"" if state.si_code == os.CLD_EXITED else f"killed by signal {state.si_status}".encode()


def overflows() -> bool:
    """Whether the run's folder holds more than it may; what it hides from us counts as too much."""
    left, entries, folders = DISK_BYTES, ENTRIES, ["."]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries_of_folder:
                for entry in entries_of_folder:
                    state = entry.stat(follow_symlinks=False)
                    left -= state.st_blocks * 512
                    entries -= 1
                    if left < 0 or entries < 0:
                        return True
                    if stat.S_ISDIR(state.st_mode):
                        folders.append(entry.path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


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


def verdict_of(read_end: int) -> bytes:
    """What was written to the verdict's pipe by now."""
    os.set_blocking(read_end, False)
    try:
        text = os.read(read_end, VERDICT_LIMIT)
    except BlockingIOError:
        text = b""
    return text or b"ended before the checks did"


def confine(order: Order, keep: list[int]) -> bytes:
    """Make this process a candidate: own session, no terminal, no output, no root, limits, layers; what failed."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    ends = [-1, 2, *sorted(keep), FILES * 16]
    for before, after in zip(ends[1:], ends[2:]):  # noqa: B905, RUF007
        os.closerange(before + 1, after)
    if order.user:
        os.setgroups([])
        os.setresgid(order.user, order.user, order.user)
        os.setresuid(order.user, order.user, order.user)
    prctl(NO_NEW_PRIVILEGES, 1)
    prctl(DIE_WITH_PARENT, SIGKILL)  # after the change of user, which resets it
    if b"landlock" in order.layers and not landlock():
        return b"Landlock failed"
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, int(order.timeout) + 1)
    limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    limit(resource.RLIMIT_NOFILE, FILES)
    limit(resource.RLIMIT_NPROC, PROCESSES)
    limit(resource.RLIMIT_STACK, STACK_BYTES)
    limit(resource.RLIMIT_AS, order.memory)
    if b"seccomp" in order.layers and not seccomp(order.filter):
        return b"seccomp failed"
    return b""


def limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def seccomp(code: bytes) -> bool:
    """Install the filter; `struct sock_fprog` is a count and a pointer."""
    text = ctypes.create_string_buffer(code, len(code))
    fprog = (ctypes.c_uint64 * 2)(len(code) // 8, ctypes.addressof(text))
    return prctl(SECCOMP, 2, ctypes.byref(fprog)) == 0


def landlock() -> bool:
    """Read the system's libraries and the interpreter, write the own folder, nothing else; no TCP, no signals."""
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
    interpreter = (sys.base_prefix, os.path.dirname(os.__file__), os.path.dirname(os.path.realpath(sys.executable)))
    readable = {"/usr", "/lib", "/lib64", "/bin", *interpreter} - {"/", ""}
    rules = [(path, READ) for path in sorted(readable)] + [("/etc/ld.so.cache", READ_FILE)]
    for path, rights in [*rules, (".", every), ("/dev/null", NULL), ("/dev/urandom", READ_FILE & ~1)]:
        try:
            handle_of_path = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rule = rights.to_bytes(8, sys.byteorder) + handle_of_path.to_bytes(4, sys.byteorder)
        failed = call(ADD_RULE, handle, 1, ctypes.create_string_buffer(rule, 12), 0)
        os.close(handle_of_path)
        if failed:
            return False
    restricted: bool = call(RESTRICT_SELF, handle, 0) == 0
    os.close(handle)
    return restricted


if __name__ == "__main__":
    main()
