"""A tracker of another distribution: the label of every attempt, in a file beside the stage's metrics."""

from sft_sweeps.tracking.base import Attempt, Tracker


class Notes:
    """What is open for one attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def close(self, seconds: float) -> None:
        """Write what was seen."""
        steps = len((self.attempt.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        text = f"{self.attempt.label}: {steps} lines, {seconds:g} s left\n"
        (self.attempt.folder / "notes.txt").write_text(text, encoding="utf-8")


NOTES = Tracker("notes", Notes)
