"""Ctrl-C while Python imports.

Libraries turn it into errors of their own there, and some are left broken: matplotlib's, made with pybind11, then abort
the process when it ends.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

IMPORTING = "<frozen importlib._bootstrap>"
AGAIN_SECONDS = 0.05
LONGEST_SECONDS = 10.0  # that an import, which may hang, holds Ctrl-C back


@contextmanager
def after_imports() -> Iterator[None]:
    """Within, Ctrl-C during an import comes when that has ended. Nothing changes where somebody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _Interrupt().come)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Interrupt:
    """One Ctrl-C, which comes again from time to time until nothing is imported."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.coming = False

    def come(self, _: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        if self.coming:
            return
        self.first = self.first or time.monotonic()
        if _importing(frame) and time.monotonic() - self.first < LONGEST_SECONDS:
            self.coming = True
            timer = threading.Timer(AGAIN_SECONDS, self._again)
            timer.daemon = True
            timer.start()
            return
        self.first = None
        raise KeyboardInterrupt

    def _again(self) -> None:
        self.coming = False
        if thread := threading.main_thread().ident:  # a signal of this thread's own would not wake that one
            signal.pthread_kill(thread, signal.SIGINT)


def _importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False
