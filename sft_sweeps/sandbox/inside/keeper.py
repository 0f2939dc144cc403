"""The keeper of one sandboxed run.

It reads what to do from standard input, starts the candidate, waits for it no longer than the timeout, kills whatever
descends from it, and writes how the run ended on standard output: `!` and words of its own, or `:` and what stands in
the verdict's pipe (the nonce, or the type of what was raised), which a program that is not strict can have written.
In a strict run the candidate is started anew before the checks are read, and the checks are another process: it alone
can write the verdict, and calls the candidate's function over a pipe.
"""

import os
import sys

from sft_sweeps.sandbox.inside import candidate, checking, order
from sft_sweeps.sandbox.inside.confinement import DUMPABLE, SUBREAPER, confine, prctl
from sft_sweeps.sandbox.inside.preload import import_common
from sft_sweeps.sandbox.inside.watching import end_descendants, wait

TYPE_CHECKING = False  # `typing` would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from sft_sweeps.sandbox.inside.order import Order


def main(script: str, bundle: bytes) -> "NoReturn":
    """Run what standard input says, and end: with 0 where the answer was written. A strict run's candidate is started
    from the script, which reads the bundle first."""
    status = 1
    try:
        prctl(DUMPABLE, 0)  # our memory will hold the checks: not even the same user may read it
        prctl(SUBREAPER, 1)  # a daemon of the candidate's becomes our child, so that we find it
        keep(order.Order(order.read(0)), script, bundle)
        status = 0
    finally:
        os._exit(status)


def keep(told: "Order", script: str, bundle: bytes) -> None:
    """Run it, end all that is left of it, and say how it went."""
    verdict, verdict_in = os.pipe()
    failures, failures_in = os.pipe()
    if told.mode == "strict":
        first, running = strict(told, verdict_in, failures_in, lambda ends: started(told, ends, script, bundle))
    else:
        first = running = plain(told, verdict_in, failures_in)
    os.close(verdict_in)
    os.close(failures_in)
    ended = wait(first, running, told.timeout)
    end_descendants({first, running})
    if failed := at_hand(failures):
        said = b"!sandbox: " + failed
    elif ended:
        said = b"!" + ended
    else:
        text = at_hand(verdict)
        said = b":" + text if text else b"!ended before the checks did"
    os.write(1, order.part([said]))


def plain(told: "Order", verdict: int, failures: int) -> int:
    """Program and checks in one child."""
    checks = order.Checks(order.read(0))
    if told.preload:
        import_common(f"{told.program}\n{checks.check}")
    return child(told, [verdict], failures, lambda: os.write(verdict, checking.alone(told, checks)))


def strict(told: "Order", verdict: int, failures: int, start: "Callable[[dict[int, int]], int]") -> "tuple[int, int]":
    """The candidate, a process that never knew the checks; then the checks in a child of ours."""
    calls_out, calls_in = os.pipe()
    answers_out, answers_in = os.pipe()
    running = start({candidate.CALLS: calls_out, candidate.ANSWERS: answers_in, candidate.FAILURE: failures})
    os.close(calls_out)
    os.close(answers_in)
    checks = order.Checks(order.read(0))
    __import__("json")  # while it can be read
    if told.preload:
        import_common(f"{checks.given}\n{checks.check}")

    def work() -> None:
        os.write(verdict, checking.judge(told, checks, calls_in, answers_out))

    deciding = child(told, [verdict, calls_in, answers_out], failures, work, closed=True)
    os.close(calls_in)
    os.close(answers_out)
    return deciding, running


def started(told: "Order", ends: "dict[int, int]", script: str, bundle: bytes) -> int:
    """Start the candidate's interpreter with the first part of the order as its input, and these ends open."""
    words = os.memfd_create("order")
    os.write(words, bundle + order.part(told.fields))
    os.lseek(words, 0, os.SEEK_SET)
    null = os.open(os.devnull, os.O_RDWR)
    placed = {0: words, 1: null, 2: null, **{place: high(end) for place, end in ends.items()}}
    line = [sys.executable, "-P", "-s", "-S", "-B", script, "candidate"]
    actions = [(os.POSIX_SPAWN_DUP2, end, place) for place, end in placed.items()]
    pid = os.posix_spawn(sys.executable, line, os.environ, file_actions=actions)
    for end in placed.values():
        if end != null:
            os.close(end)
    os.close(null)
    return pid


def high(end: int) -> int:
    """A copy of an open end whose number is none of those that a candidate's ends get."""
    import fcntl

    return fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 16)


def child(
    told: "Order", keep_open: list[int], failures: int, work: "Callable[[], object]", *, closed: bool = False
) -> int:
    """Fork a confined process that does the work and has no other files open."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if confine(told, keep_open, failures, closed=closed):
            work()
    finally:
        os._exit(0)


def at_hand(end: int) -> bytes:
    """What was written to a pipe by now."""
    os.set_blocking(end, False)
    try:
        return os.read(end, checking.VERDICT_LIMIT)
    except BlockingIOError:
        return b""
