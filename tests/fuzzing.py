"""What the tests with input at random share: how much of it, what is wrong with an answer, a launch in this process.

Each case has a seed of its own, FUZZ_SEED and its number, so that one that fails is had again alone: its failure says
what to type.
"""

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hydra.core.global_hydra import GlobalHydra

from sft_sweeps.config import command_line
from sft_sweeps.launch import run

CONF = Path(__file__).resolve().parents[1] / "conf"
COUNT = int(os.environ.get("FUZZ", "150"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASE = os.environ.get("FUZZ_CASE", "")  # the number of the only one to try
SECONDS = 60  # of CPU for one case: some take one
SHOWN = 12  # findings of a failure, each with its first case

# Tries what its randomness makes of it, and says what is wrong: "the kind: more of it".
Case = Callable[[Random], Iterable[str]]


class TooLongError(BaseException):
    """A case that does not end. Nothing catches it for an error of a file (TimeoutError is an OSError)."""


@dataclass(frozen=True)
class Answer:
    """What a command gave: its exit status, and what it printed."""

    status: object
    out: str
    error: str


def hunt(case: Case, share: float = 1.0) -> None:
    """Try a share of FUZZ cases; fails with what was found, alike findings together, and the line for each again."""
    found: dict[str, list[tuple[int, str]]] = {}
    for number in [int(CASE)] if CASE else range(max(1, round(COUNT * share))):
        for finding in _findings(case, Random(f"{SEED} {number}")):
            found.setdefault(finding.partition(": ")[0], []).append((number, finding))
    if found:
        total = len({number for cases in found.values() for number, _ in cases})
        pytest.fail(f"{total} cases:\n" + "\n".join(_told(found)), pytrace=False)


def _told(found: dict[str, list[tuple[int, str]]]) -> Iterator[str]:
    test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
    for cases in list(found.values())[:SHOWN]:
        number, finding = cases[0]
        yield f"{len(cases)} x {finding:.700}"
        yield f"    FUZZ_SEED={SEED} FUZZ_CASE={number} .venv/bin/python -m pytest -n 0 -m fuzz '{test}'"
    if len(found) > SHOWN:
        yield f"and {len(found) - SHOWN} findings of other kinds"


def _findings(case: Case, chance: Random) -> list[str]:
    """What a case says, its first exception as one more."""
    found: list[str] = []
    with _limited():
        try:
            found.extend(case(chance))
        except (KeyboardInterrupt, pytest.skip.Exception):
            raise
        except BaseException as raised:  # a panic of Rust code is no Exception
            if CASE:
                raise
            found.append(where(raised))
    return found


def where(raised: BaseException) -> str:
    """An exception in one line: alike ones have the same."""
    frames = traceback.extract_tb(raised.__traceback__)
    own = next((one for one in reversed(frames) if "/sft_sweeps/" in one.filename), frames[-1])
    text = "" if isinstance(raised, TooLongError) else f": {raised!s:.200}"
    return f"{type(raised).__name__} in {own.name}, {own.filename.rpartition('/')[2]}:{own.lineno}{text}"


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """TooLongError after SECONDS of CPU, and after ten times as many where nothing is done at all."""

    def ring(*_: object) -> None:
        raise TooLongError

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, 10 * SECONDS)}
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def wrong(given: Answer, what: str) -> Iterator[str]:
    """What is wrong with what a command gave: a traceback, another status than 0, 1 or 2, or one without a word."""
    if "Traceback" in given.error:
        yield f"a traceback, {given.error.strip().rpartition(chr(10))[2]:.200}: {what}"
    if given.status not in (0, 1, 2, None):
        yield f"status {given.status}, {given.error[-200:]}: {what}"
    if given.status not in (0, None) and not (given.error + given.out).strip():
        yield f"status {given.status} without a word: {what}"


def answer(arguments: list[str], folder: Path) -> Answer:
    """What `launch.py` gives; it only plans, and into a folder, unless the arguments say otherwise."""
    given = ["action=plan", "plan.measure=false", f"output_dir={folder}", "tracking=none", "cluster=local", *arguments]
    GlobalHydra.instance().clear()
    return told(lambda: command_line.main(run.run, given, "launch.py", CONF))


def told(work: Callable[[], object]) -> Answer:
    """What a command gives that runs in this process; what it raises is raised, but for the end of a program."""
    out, error, arguments = io.StringIO(), io.StringIO(), sys.argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = work()
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = arguments
    return Answer(status, out.getvalue(), error.getvalue())
