"""Attacks on the sandbox, run for real against victims made for the purpose: `sft-sweeps doctor sandbox`.

Each attack is a program that comes to its end only if it got what it wanted; some leave a mark instead, which is looked
for from outside. They use `ctypes` and `os` alone, so that none fails for want of an import.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import run as sandbox
from sft_sweeps.sandbox.run import NOBODY, Task

SECRET = "sft-sweeps-attack-secret"
TIMEOUT = 2.0
MEMORY_MB = 512


@dataclass(frozen=True)
class Victims:
    """What the attacks are after: an open folder with a secret file, a process with a secret, and two listeners."""

    folder: Path
    pid: int
    port: int
    udp: socket.socket
    name: str  # of an abstract socket


@dataclass(frozen=True)
class Attack:
    """`property` is what it breaks; `text` says what it got away with. `marks` are files that show that it did."""

    name: str
    property: str
    program: str
    marks: tuple[str, ...] = ()
    strict: bool = False  # only a strict run is meant to hold it


@dataclass(frozen=True)
class Result:
    """Whether the sandbox held, and the reason that the run gave."""

    attack: Attack
    held: bool
    reason: str
    seconds: float


LIBC = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
    return result
def number(x86_64, aarch64): return x86_64 if os.uname().machine == "x86_64" else aarch64
"""
FRAMES = """
import sys
def walk():
    frame = sys._getframe()
    while frame:
        yield from frame.f_locals.values()
        yield from frame.f_globals.values()
        frame = frame.f_back
import os
for value in list(walk()):
    if isinstance(value, bytes) and len(value) == 32:
        for end in range(3, 64):
            try: os.write(end, value)
            except OSError: pass
        os._exit(0)
raise SystemExit
"""

ATTACKS = (
    Attack("write into another's folder", "fs", "open('{folder}/planted', 'w').write('x')", ("planted",)),
    Attack("change another's file", "fs", "open('{folder}/secret', 'a').write('x')"),
    Attack("read a key", "fs", "assert '{secret}' in open('{folder}/secret').read()"),
    Attack("read /etc/passwd", "fs", "assert 'root' in open('/etc/passwd').read()"),
    Attack("list the home folders", "fs", "import os; assert os.listdir('/home') is not None and os.listdir('/root')"),
    Attack(
        "read another process's environment", "fs", "assert b'{secret}' in open('/proc/{pid}/environ', 'rb').read()"
    ),
    Attack("a link out of the folder", "fs", "import os; os.symlink('{folder}/secret', 's'); open('s').read()"),
    Attack("a hard link out of the folder", "fs", "import os; os.link('{folder}/secret', 's'); open('s').read()"),
    Attack(
        "connect over TCP",
        "net",
        LIBC + "s = call(number(41, 198), 2, 1, 0)\n"
        "a = (2).to_bytes(2, 'little') + ({port}).to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(8)\n"
        "call(number(42, 203), s, a, 16)",
    ),
    Attack(
        "send over UDP",
        "net",
        LIBC + "s = call(number(41, 198), 2, 2, 0)\n"
        "a = (2).to_bytes(2, 'little') + ({udp}).to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(8)\n"
        "call(number(44, 206), s, b'{secret}', 8, 0, a, 16)\nraise SystemExit",
    ),
    Attack(
        "connect to an abstract socket",
        "net",
        LIBC + "s = call(number(41, 198), 1, 1, 0)\n"
        "a = (1).to_bytes(2, 'little') + b'\\0{name}'\ncall(number(42, 203), s, a, len(a))",
    ),
    Attack("kill", "kill", LIBC + "call(number(62, 129), {pid}, 9)"),
    Attack("kill the keeper", "kill", LIBC + "call(number(62, 129), os.getppid(), 9)"),
    Attack(
        "kill by sigqueue",
        "kill",
        LIBC + "info = ctypes.create_string_buffer(128); info.raw = (9).to_bytes(4, 'little') + bytes(4)"
        " + (-1).to_bytes(4, 'little', signed=True) + bytes(116)\ncall(number(129, 138), {pid}, 9, info)",
    ),
    Attack("kill by an x32 call", "kill", LIBC + "call(62 | 0x40000000, {pid}, 9)"),
    Attack("kill by a pidfd", "kill", LIBC + "call(424, call(434, {pid}, 0), 9, None, 0)"),
    Attack(
        "kill by a file's owner",
        "kill",
        LIBC + "r, w = os.pipe()\nf = number(72, 25)\ncall(f, r, 8, {pid}); call(f, r, 10, 9); call(f, r, 4, 0o20000)\n"
        "os.write(w, b'x')",
    ),
    Attack("lower another's limits", "kill", LIBC + "call(number(302, 261), {pid}, 0, bytes(16), None)"),
    Attack("ptrace", "kill", LIBC + "call(number(101, 117), 16, {pid}, None, None)"),
    Attack(
        "read another's memory", "fs", LIBC + "b = ctypes.create_string_buffer(8); v = (ctypes.c_uint64 * 2)"
        "(ctypes.addressof(b), 8)\ncall(number(310, 270), {pid}, v, 1, v, 1, 0)"
    ),
    Attack("read the keeper's memory", "fs", "import os; open(f'/proc/{{os.getppid()}}/mem', 'rb')"),
    Attack("fork", "processes", "import os\nif os.fork() == 0: os._exit(0)"),
    Attack(
        "a daemon that outlives the run",
        "processes",
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(1)\n"
        "    open('{folder}/daemon', 'w').write('x')\n  os._exit(0)",
        ("daemon",),
    ),
    Attack("a shell", "processes", "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])"),
    Attack("a shell by posix_spawn", "processes", "import os; os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {{}})"),
    Attack("a namespace of its own", "processes", LIBC + "call(number(272, 97), 0x10000000)"),
    Attack("mount", "processes", LIBC + "call(number(165, 40), b'none', b'/tmp', b'tmpfs', 0, None)"),
    Attack("chroot", "processes", "import os; os.chroot('.')"),
    Attack("become root", "processes", "import os; os.setuid(0); assert os.getuid() == 0 and open('/etc/shadow')"),
    Attack("memory of 3 GiB", "limits", "x = bytearray(3 << 30)"),
    Attack("memory by a file without a name", "limits", LIBC + "call(number(319, 279), b'x', 0)"),
    Attack("shared memory that stays", "limits", LIBC + "call(number(29, 194), 1234, 1 << 20, 0o1666)"),
    Attack(
        "fill the disk",
        "limits",
        "for n in range(40):\n  with open(f'f{{n}}', 'wb') as f:\n    for _ in range(15): f.write(bytes(1 << 20))\n"
        "import time; time.sleep(0.5)",
    ),
    Attack("a million files", "limits", "for n in range(10**6): open(str(n), 'w').close()"),
    Attack("endless output", "limits", "while True: print('x' * 10**6)"),
    Attack("a sleep that no signal ends", "limits", "import time; time.sleep(1000)"),
    Attack("a number without end", "limits", "x = 10 ** 10 ** 9"),
    Attack("10,000 threads", "limits", "import _thread\nfor _ in range(10**4): _thread.start_new_thread(input, ())"),
    Attack("leave early with status 0", "forge", "import os; os._exit(0)"),
    Attack("SystemExit", "forge", "raise SystemExit(0)"),
    Attack("write a pass to every open file", "forge",
        "import os\nfor end in range(64):\n  try: os.write(end, b'passed' + b'0' * 32)\n  except OSError: pass\n"
        "os._exit(0)",
    ),
    Attack("the nonce from the command line", "forge", "import os\n"
        "for part in open('/proc/self/cmdline', 'rb').read().split(b'\\0'):\n"
        "  for end in range(3, 64 * (len(part) == 32)):\n    try: os.write(end, part)\n    except OSError: pass\n"
        "os._exit(0)",
    ),
    Attack("an object that equals everything", "forge",
        "class Any:\n  def __eq__(self, other): return True\ndef answer(): return Any()", strict=True,
    ),
    Attack("the nonce from stack frames", "forge", "def answer(): return 0\n" + FRAMES, strict=True),
)  # fmt: skip


def run(attack: Attack, victims: Victims, isolation: Isolation) -> Result:
    """One attack; it is held when it did not come to its end, left no mark and killed no victim."""
    values = {
        "folder": victims.folder,
        "secret": SECRET,
        "pid": victims.pid,
        "port": victims.port,
        "name": victims.name,
    }
    values["udp"] = victims.udp.getsockname()[1]
    program = attack.program
    for name, value in values.items():
        program = program.replace(f"{{{name}}}", str(value))
    program = program.replace("{{", "{").replace("}}", "}")
    task = Task(program, "assert answer() == 1" if "def answer" in program else "", "answer" if attack.strict else "")
    started = time.monotonic()
    outcome = sandbox.execute(task, timeout=TIMEOUT, memory_mb=MEMORY_MB, isolation=isolation)
    seconds = time.monotonic() - started
    if attack.marks:
        time.sleep(1.5)  # what a daemon would need to leave its mark
    marked = any((victims.folder / mark).exists() for mark in attack.marks)
    unharmed = _alive(victims.pid) and not _received(victims.udp) and seconds < TIMEOUT + sandbox.GRACE
    return Result(attack, not outcome.passed and not marked and unharmed, outcome.reason, seconds)


def suite(isolation: Isolation, only: Callable[[Attack], bool] = lambda _: True) -> Iterator[Result]:
    """All attacks, each against victims of its own; those that need a strict run get one."""
    for attack in filter(only, ATTACKS):
        with victims() as made:
            yield run(attack, made, replace(isolation, strict=isolation.strict or attack.strict))


@contextmanager
def victims() -> Iterator[Victims]:
    """Victims that a program of the candidate's user could harm; gone afterwards."""
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    with tempfile.TemporaryDirectory(prefix="sft-sweeps-victim-") as name, socket.socket() as tcp:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o666)
        udp = socket.socket(type=socket.SOCK_DGRAM)
        for each in (tcp, udp):
            each.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        tcp.listen()
        unix = socket.socket(socket.AF_UNIX)
        abstract = f"sft-sweeps-{os.getpid()}"
        unix.bind(f"\0{abstract}")
        unix.listen()
        other: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen(["/bin/sleep", "60"], env={"SECRET": SECRET}, **other)
        try:
            yield Victims(folder, process.pid, tcp.getsockname()[1], udp, abstract)
        finally:
            process.kill()
            process.wait()
            unix.close()
            udp.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "t")
    except OSError:
        return False


def _received(udp: socket.socket) -> bool:
    try:
        return bool(udp.recv(64))
    except BlockingIOError:
        return False


def main() -> int:
    """`python -m sft_sweeps.sandbox.attacks [ISOLATION]`: one line an attack; 1 when one got through."""
    isolation = Isolation(mode=sys.argv[1] if len(sys.argv) > 1 else "auto")
    print("active:", ", ".join(sandbox.describe(isolation)))
    lost = 0
    for result in suite(isolation):
        lost += not result.held
        print(f"{'held' if result.held else 'LOST':5}{result.attack.property:10} {result.attack.name}: {result.reason}")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
