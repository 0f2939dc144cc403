"""Runs one after another by the same server: each is as if it were the first."""

import os
import signal
import tempfile
import threading
import time

import pytest

from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import layers
from sft_sweeps.sandbox.run import Outcome, execute
from sft_sweeps.sandbox.servers import Servers
from sft_sweeps.sandbox.task import Task

KERNEL = Isolation(mode="kernel")
FRESH = """
import builtins, os, sys
assert os.listdir(".") == [], os.listdir(".")
assert "evil" not in vars(builtins) and "evil" not in sys.modules and "evil" not in os.environ
assert len("ab") == 2 and sys.getrecursionlimit() == 1000
"""
SPOILING = [
    "import builtins, os, sys\nbuiltins.evil = 1\nsys.modules['evil'] = os\nos.environ['evil'] = '1'",
    "import builtins, sys\nbuiltins.len = lambda _: 3\nsys.setrecursionlimit(99)",
    "open('left', 'w').write('x')",
    "import os\nos.mkdir('a')\nos.mkdir('a/b')\nos.symlink('/', 'c')\nos.mkfifo('d')",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "import os\nos._exit(3)",
    "while True: pass",
    "import ctypes\nctypes.string_at(0)",
    "import os\nos.closerange(0, 64)",
    "x = bytearray(3 << 30)",
]
needs_seccomp = pytest.mark.skipif("seccomp" not in layers.available(accept=True), reason="NOT TESTED: no seccomp here")


def only(servers):
    (server,) = servers._idle.values()
    return server


@needs_seccomp
@pytest.mark.parametrize("mode", ["auto", "kernel"])
def test_no_run_finds_anything_of_an_earlier_one(mode):
    isolation = Isolation(mode=mode)
    with Servers(many=True) as servers:
        for program in SPOILING:
            execute(Task(program, ""), timeout=0.5, isolation=isolation, servers=servers)
            after = execute(Task(FRESH, ""), isolation=isolation, servers=servers)
            assert after == Outcome(True, "passed"), program


MARKS = """
import re
found = set()
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        place, rights = line.split()[:2]
        start, end = (int(number, 16) for number in place.split("-"))
        if "r" in rights:
            try:
                memory.seek(start)
                found |= set(re.findall(rb"mark-[0-9]{6}", memory.read(end - start)))
            except (OSError, OverflowError, ValueError): pass
raise type("marks" + "".join(sorted(str(one[5:], "ascii") for one in found)), (Exception,), {})
"""


@needs_seccomp
def test_programs_and_checks_of_earlier_runs_are_in_no_memory():
    """Neither in the program's, nor therefore in the server's, of which it is a copy."""
    isolation = Isolation(mode="seccomp")
    with Servers(many=True) as servers:
        for number in (111111, 222222):
            assert execute(
                Task(f"x = 'mark-{number}'", f"y = 'mark-{number}1'"), isolation=isolation, servers=servers
            ).passed
        own = execute(Task(f"z = 'mark-333333'\n{MARKS}", "w = 'mark-444444'"), isolation=isolation, servers=servers)
    assert own.reason == "marks333333444444"  # the search finds what is there: its own


@needs_seccomp
def test_a_server_serves_on_until_something_is_left():
    def run(program):
        return execute(Task(program, ""), timeout=0.5, isolation=KERNEL, servers=servers).reason

    with Servers() as servers:
        assert run("x = 1") == "passed"
        first = only(servers)
        assert [run("raise KeyError"), run("while True: pass"), run("import os; os._exit(0)")] == [
            "KeyError",
            "timeout",
            "ended before the checks did",
        ]
        assert list(servers._idle.values()) == [first]
        assert run("open('left', 'w')") == "passed"
        assert not servers._idle
        assert not first.alive()


@needs_seccomp
@pytest.mark.parametrize("program", ["os.rmdir(os.getcwd())", "os.rename(os.getcwd(), os.getcwd() + '-')"])
def test_a_server_whose_folder_was_taken_from_it_serves_no_more(program, monkeypatch):
    """Neither seccomp nor another user is in the way of that; the next program must have a folder to write in."""
    with tempfile.TemporaryDirectory() as within, Servers() as servers:
        os.chmod(within, 0o777)
        monkeypatch.setattr(tempfile, "tempdir", within)
        isolation = Isolation(mode="seccomp")
        assert execute(Task(f"import os\n{program}", ""), isolation=isolation, servers=servers).passed
        assert not servers._idle
        assert execute(Task("open('a', 'w').close()", ""), isolation=isolation, servers=servers).passed


def test_without_seccomp_each_run_has_a_server_of_its_own():
    with Servers() as servers:
        assert execute(Task("x = 1", ""), isolation=Isolation(mode="none", accept=True), servers=servers).passed
        assert not servers._idle


@needs_seccomp
def test_a_server_that_died_meanwhile_is_replaced():
    with Servers() as servers:
        for _ in range(2):
            assert execute(Task("x = 1", ""), isolation=KERNEL, servers=servers).passed
            os.kill(only(servers)._process.pid, signal.SIGKILL)
            only(servers)._process.wait()


@needs_seccomp
def test_a_keeper_that_is_killed_fails_its_run_alone():
    with Servers() as servers:
        assert execute(Task("x = 1", ""), isolation=KERNEL, servers=servers).passed
        server = only(servers)._process.pid

        def kill_the_keeper():
            time.sleep(0.3)
            with open(f"/proc/{server}/task/{server}/children") as children:
                os.kill(int(children.read().split()[0]), signal.SIGKILL)

        killer = threading.Thread(target=kill_the_keeper)
        killer.start()
        assert (
            execute(Task("import time; time.sleep(60)", ""), isolation=KERNEL, servers=servers).reason
            == "the sandbox died"
        )
        killer.join()
        assert execute(Task("x = 1", ""), isolation=KERNEL, servers=servers).passed


@needs_seccomp
def test_a_large_program_reaches_a_server_that_stays():
    with Servers(many=True) as servers:
        for size in (10, 300_000, 2_000_000):
            task = Task(f"x = {'a' * size!r}", f"assert len(x) == {size}")
            assert execute(task, isolation=KERNEL, servers=servers).passed
