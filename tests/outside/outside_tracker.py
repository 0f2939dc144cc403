"""A tracker of another distribution: the label of every attempt and how it ended, in a file beside what it shows."""

from sft_sweeps.tracking.base import Attempt, Ending, Tracker


class Notes:
    """What is open for one attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def close(self, seconds: float, ending: Ending) -> None:
        """Write what was seen."""
        steps = len(self.attempt.metrics.read_text(encoding="utf-8").splitlines()) if self.attempt.follows else 0
        text = f"{self.attempt.label}: {steps} lines, {ending.how}, {seconds:g} s left\n"
        (self.attempt.folder / "notes.txt").write_text(text, encoding="utf-8")


NOTES = Tracker("notes", Notes)
