"""The trackers by name, and the one way that training uses them: whatever goes wrong in one is logged and no more."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from sft_sweeps.errors import Interrupted, Superseded, SweepError
from sft_sweeps.execution import Tracking
from sft_sweeps.registry import Registry, attributes
from sft_sweeps.tracking import problems
from sft_sweeps.tracking.base import Attempt, Ending, Mirror, Outcome, Tracker

log = logging.getLogger(__name__)

FINISH_SECONDS = 30.0  # that a finished stage waits for its mirror
SAID = {"shown": "shown", "there": "there already", "kept": "kept as files", "failed": "not shown"}  # of outcomes
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
        ending = Ending("failed", problems.text(error))
        raise
    finally:
        if mirror:
            _close(mirror, attempt, ending)


def _opened(attempt: Attempt) -> Mirror | None:
    try:
        return TRACKERS.get(attempt.tracking.name).open(attempt)
    except Exception as error:  # whatever a tracker raises must not cost a training
        log.warning("no mirror at %s: %s: %s", attempt.tracking.name, type(error).__name__, error)
        problems.note(attempt.folder, attempt.tracking.name, problems.text(error))
        return None


def _close(mirror: Mirror, attempt: Attempt, ending: Ending) -> None:
    try:
        mirror.close(FINISH_SECONDS if ending.how == "done" else INTERRUPTED_SECONDS, ending)
    except Exception as error:  # as above
        log.warning("the mirror at %s failed at its end: %s: %s", attempt.tracking.name, type(error).__name__, error)
        problems.note(attempt.folder, attempt.tracking.name, problems.text(error))


def live(tracking: Tracking) -> bool:
    """Whether somebody can look at what is shown while a sweep runs."""
    return tracking.name in TRACKERS.names and TRACKERS.get(tracking.name).live(tracking)


def publish(attempts: Sequence[Attempt]) -> Iterator[Outcome]:
    """Show finished runs at the tracker that they name, one after the other.

    SweepError where the tracker needs something of the user; nothing else that goes wrong is raised.
    """
    if not attempts:
        return
    tracker = TRACKERS.get(attempts[0].tracking.name)
    told: set[str] = set()
    try:
        for outcome in tracker.publish(attempts) if tracker.publish else map(_shown, attempts):
            told.add(outcome.id)
            yield outcome
    except SweepError:
        raise
    except Exception as error:  # as above
        why = problems.text(error)
        yield from (Outcome(one.identity, "failed", why) for one in attempts if one.identity not in told)


def _shown(attempt: Attempt) -> Outcome:
    """By a tracker that knows only how to mirror."""
    with mirrored(attempt):
        pass
    problem = problems.problem_of(attempt.folder).removeprefix(f"{attempt.tracking.name}: ")
    return Outcome(attempt.identity, "failed" if problem else "shown", problem)


def summary(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """What became of finished runs, in a line; a second one says why some are not shown."""
    counts: Counter[str] = Counter(outcome.how for outcome in outcomes)
    parts = [f"{counts[how]:,} {said}" for how, said in SAID.items() if counts[how]]
    runs = f"{len(outcomes):,} run{'' if len(outcomes) == 1 else 's'}"
    told = f"{runs}: {', '.join(parts)}" if len(parts) > 1 else f"{runs} {SAID[outcomes[0].how]}" if parts else ""
    lines = [f"{name}: {told or 'no run is finished yet'}"]
    if failed := [outcome for outcome in outcomes if outcome.how == "failed"]:
        lines.append(f"not shown at {name}: {failed[0].id}{', ...' if len(failed) > 1 else ''}: {failed[0].why}")
    return lines
