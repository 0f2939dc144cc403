"""`sft-sweeps status --watch`: the view that stays open, until everything has ended or somebody leaves it.

It has the terminal's other screen for itself, as top has, and leaves its last view behind. The store is asked in a
thread of its own: a file system or a Slurm that does not answer stops neither the clock nor Ctrl-C.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from rich.console import Console
from rich.live import Live

from sft_sweeps.commands.status import screen, tables
from sft_sweeps.commands.status.parts import active
from sft_sweeps.commands.status.rows import Row
from sft_sweeps.errors import SweepError

SECONDS = 5.0  # between two looks
DRAWN = 1.0  # seconds between two drawings of what was seen
IDLE = 2  # looks that find nothing at work, after which it is over: between two jobs of this machine nothing runs


class Looker:
    """Looks in the background, one look at a time."""

    def __init__(self, ask: Callable[[], Row], seen: Row) -> None:
        self.ask, self.seen, self.problem = ask, seen, ""
        self.idle = 0
        self.since = time.monotonic()  # the last look began
        self._thread: threading.Thread | None = None

    def go_on(self) -> None:
        """Begin another look where it is time."""
        if (self._thread and self._thread.is_alive()) or time.monotonic() - self.since < SECONDS:
            return
        self.since = time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            self.seen = self.ask()
            self.problem = ""
            self.idle = 0 if active(self.seen) else self.idle + 1
        except (OSError, SweepError) as error:
            self.problem = f"the store cannot be read: {error}"

    @property
    def footer(self) -> str:
        """How old the view is, and how to leave it."""
        age = time.monotonic() - self.since
        late = f"no answer for {age:.0f} s" if age > 3 * SECONDS else ""
        return "; ".join(filter(None, ["Ctrl-C leaves it, the sweep goes on", self.problem or late]))


def watch(ask: Callable[[], Row], out: Console) -> None:
    """Until nothing of the sweep can go on by itself, and then all of it; or until Ctrl-C. Without a terminal, once."""
    looker = Looker(ask, ask())
    if out.is_terminal and not out.is_dumb_terminal and active(looker.seen):
        try:
            _stay(looker, out)
        except KeyboardInterrupt:
            out.print(screen.view(looker.seen, out.width))
            return
    tables.show(looker.seen, out)


def _stay(looker: Looker, out: Console) -> None:
    live = Live(screen.view(looker.seen, *out.size, looker.footer), console=out, auto_refresh=False, screen=True)
    with _signals(live), live:
        while looker.idle < IDLE:
            time.sleep(min(DRAWN, SECONDS))
            looker.go_on()
            live.update(screen.view(looker.seen, *out.size, looker.footer), refresh=True)


@contextlib.contextmanager
def _signals(live: Live) -> Iterator[None]:
    """TERM leaves as Ctrl-C does; Ctrl-Z gives the terminal back for as long as it stops this."""

    def stop(_: int, __: FrameType | None) -> None:
        live.stop()
        os.kill(os.getpid(), signal.SIGSTOP)
        live.start(refresh=True)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGTSTP)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
