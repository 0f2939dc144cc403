"""The view that stays open ends with the sweep, or when somebody leaves it; nothing that hangs or breaks holds it."""

import io
import os
import signal
import threading
import time
from typing import Any

import pytest
from made_status import Row, stage, whole
from rich.console import Console

from sft_sweeps.commands.status import watch
from sft_sweeps.errors import RunError

RUNNING = whole([stage(1, "running", why="on n7"), stage(2, "pending")])
ENDED = whole([stage(1, "done"), stage(2, "done")], trained=1.0)
LEAVE = "\x1b[?1049l"  # a terminal's own screen again
ENTER = "\x1b[?1049h"


class Looks:
    """What a watcher sees, look by look; the last one again and again."""

    def __init__(self, *found: Any) -> None:
        self.found, self.count = found, 0

    def __call__(self) -> Row:
        self.count += 1
        one = self.found[min(self.count, len(self.found)) - 1]
        return one() if callable(one) else one


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.01)


def watched(looks: Looks, terminal: bool = True) -> str:
    text = io.StringIO()
    watch.watch(looks, Console(file=text, force_terminal=terminal, width=120, height=30))
    return text.getvalue()


def test_it_ends_with_the_sweep_and_then_says_all_of_it() -> None:
    looks = Looks(RUNNING, RUNNING, ENDED)
    text = watched(looks)
    assert looks.count == 4, "between two jobs nothing runs for a moment"
    assert text.index(ENTER) < text.index(LEAVE) < text.index("scores are done")


def test_without_a_terminal_it_looks_once() -> None:
    looks = Looks(RUNNING)
    assert "\x1b" not in watched(looks, terminal=False)
    assert looks.count == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_term_leave_cleanly(number: int) -> None:
    """The terminal is given back, with the last view on it, even while a file system does not answer."""
    hung = threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGTSTP)
    begun = time.monotonic()
    text = watched(Looks(RUNNING, lambda: hung.wait(30) and RUNNING))
    assert time.monotonic() - begun < 5
    hung.set()
    assert "on n7" in text[text.index(LEAVE) :]
    assert "\x1b[?25h" in text, "the cursor is seen again"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGTSTP)) == handlers


def test_a_store_that_cannot_be_read_for_a_while_is_said_and_asked_again() -> None:
    def broken() -> Row:
        raise RunError("Stale file handle")

    text = watched(Looks(RUNNING, broken, broken, broken, RUNNING, ENDED))
    assert "the store cannot be read: Stale file handle" in text
    assert "scores are done" in text
