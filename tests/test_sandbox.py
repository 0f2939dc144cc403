"""The sandbox against programs that are wrong, endless or hostile."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from sft_sweeps import sandbox
from sft_sweeps.sandbox import Outcome, run


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
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", {"killed by signal 11"}),
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
    assert run(program, "", timeout=2).passed == (not ending)
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
    assert run(program, "assert pids or os.getuid() != 65534").passed
    assert [pid for pid in note.read_text().split() if alive(pid)] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give itself up")
def test_root_is_given_up_and_the_keeper_cannot_be_killed():
    assert run("import os", "assert os.getresuid() == os.getresgid() == (65534,) * 3 and os.getgroups() == []").passed
    assert run("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "").reason == "PermissionError"


def test_the_nonce_is_not_on_a_command_line():
    check = "for part in open('/proc/self/cmdline').read().split('\\0'): assert len(part) < 32 or '/' in part"
    assert run("", check).passed


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
    folder = run(program, "").reason
    assert folder.startswith("sft-sweeps-sandbox-")
    assert not (Path(tempfile.gettempdir()) / folder).exists()


def test_hashing_is_the_same_in_every_run():
    program = "raise type('h' + str(hash('a')), (Exception,), {})"
    assert run(program, "").reason == run(program, "").reason


def test_programs_import_where_the_library_is_closed_to_others(monkeypatch):
    monkeypatch.setattr(sandbox, "_preloads", lambda: True)
    assert run("import json,re\nfrom datetime import datetime", "datetime.strptime('1', '%d')").passed
