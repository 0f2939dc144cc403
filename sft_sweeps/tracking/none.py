"""No tracker: metrics.jsonl in each stage's folder is all there is."""

from sft_sweeps.tracking.base import Attempt, Ending, Mirror, Tracker

NAME = "none"


class NoMirror:
    """Shows nothing."""

    def close(self, seconds: float, ending: Ending) -> None:
        """Nothing is open."""


def open_none(_: Attempt) -> Mirror:
    return NoMirror()


TRACKER = Tracker(NAME, open_none)
