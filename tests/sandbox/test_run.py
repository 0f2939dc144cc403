"""The sandbox against programs that are wrong, endless or hostile."""

import ctypes
import mmap
import os
import platform
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.config.schema import SandboxConfig
from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import bubblewrap, layers, seccomp, servers, system
from sft_sweeps.sandbox.inside import watching
from sft_sweeps.sandbox.inside.confinement import FILE_BYTES
from sft_sweeps.sandbox.run import Outcome, as_data, run

LIBC = ctypes.CDLL(None)
LIBC.mmap.restype = ctypes.c_void_p
NONE = Isolation(mode="none", accept=True)  # limits alone: what may fork, and must be found and ended
STRICT = Isolation(strict=True)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("program", "check", "reason"),
    [
        ("def f(x):\n    return x + 1", "assert f(1) == 2", "passed"),
        ("def f(x):\n    return x", "assert f(1) == 2", "AssertionError"),
        ("def f(", "", "SyntaxError"),
        ("x = '\udc80'", "", "UnicodeEncodeError"),
        ("import collections, json, math, re, typing", "assert math.pi > 3", "passed"),
        ("import os", "assert 'HOME' not in os.environ", "passed"),
        ("input()", "", "EOFError"),
        ("def f(n):\n    return f(n + 1)", "f(0)", "RecursionError"),
    ],
)
def test_ordinary_programs(program, check, reason):
    outcome = run(program, check)
    assert (outcome.passed, outcome.reason) == (reason == "passed", reason)


@pytest.mark.parametrize(
    ("program", "reasons"),
    [
        ("import sys; sys.exit(0)", {"SystemExit"}),
        ("import os; os._exit(0)", {"ended before the checks did"}),
        ("import ctypes; ctypes.string_at(0)", {"killed by signal 11"}),
        ("x = bytearray(3 << 30)", {"MemoryError"}),
        ("x = []\nwhile True: x.append('a' * 10**6 + str(len(x)))", {"MemoryError", "killed by signal 9", "timeout"}),
        ("f = open('x', 'wb')\nwhile True: f.write(b'x' * 10**6)", {"OSError", "killed by signal 25"}),
    ],
)
def test_attacks_that_end_are_no_pass(program, reasons):
    outcome = run(program, "")
    assert not outcome.passed
    assert outcome.reason in reasons


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "while True: print('x' * 10**5)",
        "import signal, time\nfor s in (1, 2, 14, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(99)",
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        "import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'x' * 10**6)\n  except OSError: pass",
    ],
)
def test_endless_attacks_are_stopped(program):
    start = time.monotonic()
    assert run(program, "", timeout=0.5) == Outcome(False, "timeout")
    assert time.monotonic() - start < 10


@pytest.fixture
def note():
    """A file that user 65534 can write and we can read; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder) / "note"


@pytest.mark.parametrize("ending", ["", "import time; time.sleep(99)", "os._exit(1)"])
def test_a_daemon_is_dead_when_the_run_is_over(note, ending):
    """Its own session and its own parent: no process group finds it. Also after a pass."""
    program = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({str(note)!r}, "w") as file: file.write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
while not (os.path.exists({str(note)!r}) and os.path.getsize({str(note)!r})): time.sleep(0.01)
{ending}
"""
    assert run(program, "", timeout=2, isolation=NONE).passed == (not ending)
    assert not alive(int(note.read_text()))


def test_children_are_dead_after_a_pass(note):
    program = f"""
import os, time
pids = []
try:
    while pid := os.fork(): pids.append(pid)
    time.sleep(60)
except OSError: pass
open({str(note)!r}, "w").write(" ".join(map(str, pids)))
"""
    assert run(program, "assert pids or os.getuid() != 65534", isolation=NONE).passed
    assert [pid for pid in note.read_text().split() if alive(pid)] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give itself up")
def test_root_is_given_up_and_the_keeper_cannot_be_killed():
    assert run("import os", "assert os.getresuid() == os.getresgid() == (65534,) * 3 and os.getgroups() == []").passed
    assert run("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "").reason == "PermissionError"


def test_the_nonce_is_not_on_a_command_line():
    check = "for part in open('/proc/self/cmdline').read().split('\\0'): assert len(part) < 32 or '/' in part"
    assert run("", check, isolation=NONE).passed


def test_its_folder_is_private_and_removed():
    program = """
import os
open("a", "w").write("x")
os.makedirs("b/c")
os.symlink("/", "d")
os.chmod("b", 0)
os.chmod(".", 0o500)
raise type(os.path.basename(os.getcwd()), (Exception,), {})
"""
    folder = run(program, "", isolation=NONE).reason.split("'")[1]
    assert folder.startswith("sft-sweeps-sandbox-")
    assert not (Path(tempfile.gettempdir()) / folder).exists()


def test_hashing_is_the_same_in_every_run():
    program = "raise type('h' + str(hash('a')), (Exception,), {})"
    assert run(program, "").reason == run(program, "").reason


def test_programs_import_where_the_library_is_closed_to_others(monkeypatch):
    monkeypatch.setattr(system, "preloads", lambda: True)
    given = "import json,re\nfrom datetime import datetime"
    assert run(given, "datetime.strptime('1', '%d')", isolation=Isolation(mode="kernel")).passed


@pytest.mark.parametrize("name", ["venv.__main__", "unittest.__main__", "ctypes.test.__main__"])
def test_a_program_of_the_library_is_not_run_by_the_keeper(monkeypatch, name):
    """It would be run without any layer: venv makes an environment, by processes of its own."""
    monkeypatch.setattr(system, "preloads", lambda: True)
    isolation = Isolation(mode="kernel")
    program = f"raise KeyError\nimport {name}"
    assert run(program, "", timeout=1, isolation=isolation) == Outcome(False, "KeyError")


def test_running_without_isolation_must_be_meant(monkeypatch):
    layers.available.cache_clear()
    monkeypatch.setattr(layers, "_works", lambda _: False)
    with pytest.raises(RunError, match=r"sandbox\.i_accept_running_untrusted_code=true"):
        run("", "")
    assert run("x = 1", "assert x == 1", isolation=Isolation(accept=True)).passed
    every = tuple(layers.PROPERTIES)
    assert layers.lacking(Isolation(require=every, accept=True)) == ["fs", "net", "kill", "forge", "names"]
    with pytest.raises(RunError, match="the sandbox has no fs on this machine"):
        layers.check(Isolation(require=("fs",), accept=True))
    layers.available.cache_clear()


@pytest.mark.parametrize(("beside", "lacks"), [("user", False), ("landlock", False), ("bubblewrap", False), ("", True)])
def test_strict_alone_leaves_an_ordinary_user_the_memory_of_the_checks(monkeypatch, beside, lacks):
    monkeypatch.setattr(layers, "_works", lambda layer: layer in ("seccomp", beside))
    monkeypatch.setattr(system, "drops_to", lambda: 65534 if beside == "user" else None)
    layers.available.cache_clear()
    assert layers.lacking(Isolation(strict=True), ("forge",)) == ["forge"] * lacks
    assert layers.lacking(Isolation(), ("forge",)) == ["forge"]
    layers.available.cache_clear()


def test_a_layer_that_fails_in_the_run_fails_the_run(monkeypatch):
    """Fail closed: what was found to work once must be there every time. It makes no program wrong, though."""
    layers.available()
    if "seccomp" not in layers.available():
        pytest.skip(f"no seccomp here ({platform.machine()})")
    monkeypatch.setattr(seccomp, "program", lambda: b"\0" * 8)
    with pytest.raises(RunError, match=r"any more \(sandbox: seccomp failed\)"):
        run("x = 1", "")


def test_a_machine_on_which_nothing_starts_any_more_makes_no_program_wrong(monkeypatch):
    layers.available()
    monkeypatch.setattr(servers, "SCRIPT", "/nowhere.py")
    with pytest.raises(RunError, match=r"any more \(the sandbox died\)"):
        run("x = 1", "")


@pytest.mark.parametrize(
    ("working", "missing"),
    [
        (("seccomp", "landlock", "bubblewrap"), []),
        (("seccomp", "landlock"), ["names"]),
        (("seccomp", "bubblewrap"), []),
        (("seccomp",), ["fs", "names"]),  # reads the user's keys
        (("landlock",), ["fs", "net", "kill", "names"]),  # modes and owners of files are left to seccomp
    ],
)
def test_what_no_layer_gives_is_refused_or_said_loudly(monkeypatch, capsys, working, missing):
    monkeypatch.setattr(layers, "_works", lambda layer: layer in working)
    monkeypatch.setattr(system, "drops_to", lambda: 65534)
    layers.available.cache_clear()
    layers._warn.cache_clear()
    assert layers.lacking(Isolation(strict=True), tuple(layers.PROPERTIES)) == missing
    refused = [name for name in missing if name in SandboxConfig().require]
    with pytest.raises(RunError, match=f"no {', '.join(refused)} on") if refused else nullcontext():
        layers.check(Isolation(require=tuple(SandboxConfig().require)))
    assert capsys.readouterr().err == ""
    for _ in range(2):
        layers.check(Isolation())
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"WARNING: sandbox without {', '.join(refused)}: ") for line in lines] == [True] * bool(
        refused
    )
    layers.available.cache_clear()


@pytest.mark.parametrize(
    "name",
    ["passed", "timeout", "disk full", "killed by signal 9", "sandbox: seccomp failed", "", "\x1b[31mred", "a\nb"],
)
def test_a_reason_that_a_program_gives_is_quoted(name):
    outcome = run(f"raise type({name!r}, (Exception,), {{}})", "")
    assert not outcome.passed
    assert outcome.reason.startswith("an exception named '") or name == ""
    assert outcome.reason.isprintable()


@given(st.text())
def test_quoted_reasons_mean_nothing_to_a_terminal_or_in_markup(name):
    said = as_data(name)
    assert said == name or said.startswith("an exception named '")
    assert said.isascii()
    assert not set(said[20:]) & set("[]<>|`*&$#\x1b\n\r\x7f")
    assert said not in ("passed", "timeout", "disk full")


@pytest.mark.parametrize("name", ["ValueError", "my_error", "KeyError"])
def test_plain_names_of_exceptions_are_left_as_they_are(name):
    assert as_data(name) == name


def test_removed_files_count_while_they_are_held():
    """Open or mapped ones; not memory that is shared and no file."""
    pid, much = os.getpid(), 2**40
    before = watching.unnamed(pid, much)
    with tempfile.TemporaryFile() as file, mmap.mmap(-1, 4096):
        file.write(bytes(1 << 20))
        file.flush()
        assert watching.unnamed(pid, much) >= before + (1 << 20)
        mapped = LIBC.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
    assert watching.unnamed(pid, much) >= before + FILE_BYTES  # its size cannot be seen
    LIBC.munmap(ctypes.c_void_p(mapped), 4096)
    assert watching.unnamed(pid, much) == before


@pytest.mark.parametrize("mode", ["auto", "kernel"])
def test_packages_that_are_installed_cannot_be_read(monkeypatch, mode):
    """A test set is such a package; another folder of the library stands for one here."""
    folder = Path(os.__file__).resolve().parent / "xmlrpc"
    for cached in (system.readable, bubblewrap.command):
        cached.cache_clear()
    monkeypatch.setattr(system, "closed", lambda: (str(folder),))
    isolation = Isolation(mode=mode)
    assert run("import json, email.message, decimal", "", isolation=isolation).passed
    reason = run(f"open({str(folder / 'client.py')!r}).read()", "", isolation=isolation).reason
    assert reason in ("PermissionError", "FileNotFoundError")
    for cached in (system.readable, bubblewrap.command):
        cached.cache_clear()


def test_nothing_outlives_a_killed_keeper(note):
    """Not even what asked not to die with its parent, where no layer refuses that."""
    program = f"""
import ctypes, os, time
ctypes.CDLL(None).prctl(1, 0)
open({str(note)!r}, "w").write(f"{{os.getpid()}} {{os.getppid()}} ")
time.sleep(60)
"""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, program, "", timeout=20, isolation=NONE)
        while not note.exists() or len(note.read_text().split()) < 2:
            time.sleep(0.01)
        candidate, keeper = map(int, note.read_text().split())
        os.kill(keeper, signal.SIGKILL)
        assert running.result(10) == Outcome(False, "the sandbox died")
    assert not alive(candidate)
