"""The trackers by name, and the one way that training uses them: whatever goes wrong in one is logged and no more."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from sft_sweeps.errors import Interrupted, Superseded
from sft_sweeps.registry import Registry, attributes
from sft_sweeps.tracking import problems
from sft_sweeps.tracking.base import Attempt, Ending, Mirror, Tracker

log = logging.getLogger(__name__)

FINISH_SECONDS = 30.0  # that a finished stage waits for its mirror
INTERRUPTED_SECONDS = 5.0  # that one which was stopped waits: the next start mirrors everything again


def _own() -> dict[str, Tracker]:
    trackers = cast("list[Tracker]", attributes("sft_sweeps.tracking", "TRACKER"))
    return {tracker.name: tracker for tracker in trackers}


TRACKERS = Registry("tracker", "sft_sweeps.trackers", _own)


@contextmanager
def mirrored(attempt: Attempt) -> Iterator[None]:
    """Mirror the attempt while the block runs, and wait for the mirror a bounded time."""
    problems.forget(attempt.folder)
    mirror, ending = _opened(attempt), Ending("interrupted")
    try:
        yield
        ending = Ending()
    except (Interrupted, Superseded):
        raise
    except Exception as error:
        ending = Ending("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        if mirror:
            _close(mirror, attempt, ending)


def _opened(attempt: Attempt) -> Mirror | None:
    try:
        return TRACKERS.get(attempt.tracking.name).open(attempt)
    except Exception as error:  # whatever a tracker raises must not cost a training
        log.warning("no mirror at %s: %s: %s", attempt.tracking.name, type(error).__name__, error)
        problems.note(attempt.folder, attempt.tracking.name, f"{type(error).__name__}: {error}")
        return None


def _close(mirror: Mirror, attempt: Attempt, ending: Ending) -> None:
    try:
        mirror.close(FINISH_SECONDS if ending.how == "done" else INTERRUPTED_SECONDS, ending)
    except Exception as error:  # as above
        log.warning("the mirror at %s failed at its end: %s: %s", attempt.tracking.name, type(error).__name__, error)
        problems.note(attempt.folder, attempt.tracking.name, f"{type(error).__name__}: {error}")
