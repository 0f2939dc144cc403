"""A topic asked in a process of its own, for as long as it may take.

A mount that hangs holds whoever looks at it, in a way that no signal ends. So the one who looks is another process,
which is left behind then; what it has found by that time is told.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict

from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.errors import SweepError
from sft_sweeps.terminal import how_ended

END = b"null"  # the last line of one that came to its end
LAST_SECONDS = 1.0  # for a process that was killed to be gone


def findings(topic: str, ask: Callable[[], Iterator[Finding]], seconds: float | None) -> Iterator[Finding]:
    """What `ask` finds, as soon as it is known; a problem where it takes longer than `seconds` or dies."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _tell(topic, ask, writing)
    os.close(writing)
    try:
        yield from _heard(topic, child, reading, seconds)
    finally:
        os.close(reading)
        _end(child)


def _tell(topic: str, ask: Callable[[], Iterator[Finding]], writing: int) -> None:
    """In the other process: each finding as a line of JSON. Never returns."""
    try:
        os.setsid()
        with os.fdopen(writing, "wb") as file:
            for finding in _asked(topic, ask):
                file.write(json.dumps(asdict(finding)).encode() + b"\n")
                file.flush()
            file.write(END + b"\n")
    finally:
        os._exit(0)


def _asked(topic: str, ask: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from ask()
    except SweepError as error:
        yield Finding("problem", topic, str(error))
    except OSError as error:
        yield Finding("problem", topic, str(error), "make it readable, or name another place")
    except Exception as error:  # the other topics go on
        text = f"this check itself failed: {type(error).__name__}: {error}"
        yield Finding("problem", topic, text, "report it, please")


def _heard(topic: str, child: int, reading: int, seconds: float | None) -> Iterator[Finding]:
    until, text = time.monotonic() + (seconds or 0.0), b""
    while True:
        left = max(0.0, until - time.monotonic()) if seconds else None
        if not select.select([reading], [], [], left)[0]:
            change = "see what hangs there (df, ls, ping); the other topics are not touched by it"
            yield Finding("problem", topic, f"no answer within {seconds:.0f} s", change)
            return
        if not (block := os.read(reading, 1 << 16)):
            how = how_ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            yield Finding("problem", topic, f"this check itself {how}", "report it, please")
            return
        *lines, text = (text + block).split(b"\n")
        for line in lines:
            if line == END:
                return
            yield Finding(**json.loads(line))


def _end(child: int) -> None:
    """Kill it and what it started; one that cannot be killed is left behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    until = time.monotonic() + LAST_SECONDS
    with suppress(ChildProcessError):
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < until:
            time.sleep(0.01)
