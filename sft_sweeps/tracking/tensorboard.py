"""TensorBoard's event files, written by a process (process.py): OUTPUT_DIR/tensorboard/PROJECT/RUN.

tensorboardX writes them: torch's own writer wants all of TensorBoard, which is needed to look at them only.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import layout, process, showing
from sft_sweeps.tracking.base import Attempt, Mirror, Tracker
from sft_sweeps.tracking.showing import Ended, Way

NAME = "tensorboard"
FOLDER = "TENSORBOARD_DIR"


def open_mirror(attempt: Attempt) -> Mirror:
    """A process that mirrors the attempt."""
    return process.open_beside(attempt, "sft_sweeps.tracking.tensorboard", FOLDER)


def _mirror(attempt: Attempt, ended: Ended) -> None:
    from tensorboardX import SummaryWriter

    place = Path(os.environ[FOLDER], layout.slug(attempt.tracking.project), process.run_name(attempt).replace("/", "_"))
    for before in place.glob("events.*"):
        before.unlink()  # of the attempt before: all its lines that count come again
    with SummaryWriter(str(place)) as writer:
        summary = {name: value for name, value in attempt.summary.items() if not isinstance(value, str)}
        rows = showing.history(attempt.metrics, ended) if attempt.follows else [summary]
        for row in rows:
            step = int(row.pop(layout.STEP, 0))
            for name, number in row.items():
                writer.add_scalar(name, number, step)


def problems(_: Tracking) -> Iterator[str]:
    """Whether it is there at all."""
    return process.lacking(NAME, "tensorboardX")


TRACKER = Tracker(NAME, open_mirror, problems)


if __name__ == "__main__":
    sys.exit(showing.run(Way(_mirror)))
