"""Strict runs: the checks in another process than the program, and nothing of them in the program's."""

import pytest

from sft_sweeps.benchmarks import mini
from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox.run import execute
from sft_sweeps.sandbox.task import Task

STRICT = Isolation(strict=True)


@pytest.mark.parametrize(
    ("program", "check", "given", "reason"),
    [
        ("def f(x):\n    return x + 1", "assert f(1) == 2", "", "passed"),
        ("def f(x):\n    return x + 1", "assert f(1) == h(1)", "def h(x): return x + 1", "passed"),
        ("def f(x):\n    return x", "assert f(1) == 2", "", "AssertionError"),
        ("def f(", "assert f(1) == 2", "", "SyntaxError"),
        ("raise SystemExit", "pass", "", "RuntimeError"),
        ("def f(x): raise KeyError", "f(1)", "", "KeyError"),
        ("def f(x): raise StopIteration", "assert all(map(lambda x: f(x) == x, [1, 2]))", "", "RuntimeError"),
        ("def f(x): return x", "x = {1: (2, [3.5, {4}, b'5', 1j, None, True])}; assert f(x) == x", "", "passed"),
        ("def f(x): return x", "n = f(float('nan')); assert n != n and f(1e999) == 1e999", "", "passed"),
        ("def f(x): return x", "x = {(1, 2): [10**40]}; assert f(x) == x and f(x) is not x", "", "passed"),
        ("def f(x): return [-x - 1]", "assert f(10**5000) == [-10**5000 - 1]", "", "passed"),
        ("def f(x): return iter(x)", "f([])", "", "TypeError"),
        ("import os\ndef f(x): os._exit(0)", "f([])", "", "EOFError"),
        ("def f(x): return 'x' * 10**8", "f(1)", "", None),
        ("def f(x):\n    while True: pass", "f(1)", "", "timeout"),
        ("def f(x): return int", "assert f(1) == int", "", "TypeError"),
        ("def g(x): return 1", "f(1)", "", "KeyError"),
    ],
)  # fmt: skip
def test_a_strict_run_passes_plain_data(program, check, given, reason):
    outcome = execute(Task(program, check, "f", given), timeout=1.5, isolation=STRICT)
    assert outcome.passed == (reason == "passed")
    assert reason is None or outcome.reason == reason


MEMORY = """
import re
def spans():
    for line in open("/proc/self/maps"):
        place, rights = line.split()[:2]
        if "w" in rights: yield [int(end, 16) for end in place.split("-")]
def answer():
    found = set()
    with open("/proc/self/mem", "rb", 0) as memory:
        for start, end in spans():
            try:
                memory.seek(start)
                found |= set(re.findall(rb"checked-[0-9]{6}|given-[0-9]{6}", memory.read(end - start)))
            except (OSError, OverflowError): pass
    return len(found)
"""


@pytest.mark.parametrize("strict", [False, True])
def test_the_candidate_never_knew_the_checks(strict):
    """Two marks, of the checks and of what they are given, sought in every page of the program's process."""
    task = Task(MEMORY, "'checked-123456'\nassert answer() == 0", "answer", "'given-123456'")
    outcome = execute(task, isolation=Isolation(mode="none", accept=True, strict=strict))
    assert (outcome.passed, outcome.reason) == ((True, "passed") if strict else (False, "AssertionError"))


def test_what_cannot_be_strict_is_refused():
    with pytest.raises(RunError, match=r"sandbox\.strict=false"):
        execute(Task("x = 1", "assert x == 1"), isolation=STRICT)


EQUAL = """def {name}(*a):
    import sys
    sys._getframe(1).f_globals['type'] = lambda x: int
    class E:
        def __eq__(self, other): return True
    return E()
"""


@pytest.mark.parametrize("item", mini.items("mini_code", 30, 0)[::10], ids=lambda item: item.gold["function"])
def test_the_miniature_is_strict_when_that_is_asked(item):
    isolation = Isolation(mode="kernel", strict=True)
    assert mini.judge("mini_code", item, [item.gold["reference"]], isolation).correct
    answer = EQUAL.format(name=item.gold["function"])
    assert not mini.judge("mini_code", item, [answer], isolation).correct
    assert mini.judge("mini_code", item, [answer], Isolation(mode="kernel")).correct  # as doctor says
