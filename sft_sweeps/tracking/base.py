"""What a tracker is: it shows the metrics of a stage somewhere else while metrics.jsonl, the truth, is written.

A tracker is one module of this package with a `TRACKER`, and one file of conf/tracking that names it. Another
distribution announces its own as an entry point:

    [project.entry-points."sft_sweeps.trackers"]
    mlflow = "their_package.mlflow:TRACKER"
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sft_sweeps.execution import Tracking


@dataclass(frozen=True)
class Attempt:
    """One attempt at training a stage, as a tracker shows it.

    `folder` is the stage's, where metrics.jsonl grows; `identity` is the stage's id, the same in every attempt; `label`
    is what people read; `config` is the recipe.
    """

    folder: Path
    tracking: Tracking
    identity: str
    label: str
    config: Mapping[str, Any]


class Mirror(Protocol):
    """What a tracker has opened for one attempt."""

    def close(self, seconds: float) -> None:
        """No more lines will come; wait until all are shown, but no longer than `seconds`."""


def no_problems(_: Tracking) -> Iterable[str]:
    """A tracker that takes any settings."""
    return ()


@dataclass(frozen=True)
class Tracker:
    """`open` begins to mirror an attempt; `problems` says what is wrong with settings, as the command line types them.

    `open` returns at once: training waits for it.
    """

    name: str
    open: Callable[[Attempt], Mirror]
    problems: Callable[[Tracking], Iterable[str]] = no_problems
