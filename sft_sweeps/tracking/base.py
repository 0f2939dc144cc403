"""What a tracker is: it shows elsewhere what the store holds, the metrics of a stage while metrics.jsonl is written.

A tracker is one module of this package with a `TRACKER`, and one file of conf/tracking that names it. What everything
is called there, layout.py says. Another distribution announces its own as an entry point:

    [project.entry-points."sft_sweeps.trackers"]
    mlflow = "their_package.mlflow:TRACKER"
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking.layout import JobType
from sft_sweeps.tracking.metrics import METRICS

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """Rows of a run that people look at."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Artifact:
    """What a run reads or makes, by reference: nothing of it is uploaded.

    `name` holds its identity, so that what one run makes is what the next one uses. `files` are where it lies by the
    names of its parts: paths or addresses. `facts` are digests, counts and sizes.
    """

    name: str
    kind: Literal["data", "model", "answers", "scores"]
    files: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """What somebody should hear of who does not look."""

    title: str
    text: str
    bad: bool = False


@dataclass(frozen=True)
class Attempt:
    """One run as a tracker shows it: an attempt at training a stage, or what the store holds of something finished.

    `identity` is the run's id, the same in every attempt (`layout.run_id`); `label` is what people read; `config` has
    the blocks that layout.py names. A training run (`follows`) grows with metrics.jsonl in `folder`; of any other run
    everything is said here. Whatever a tracker writes itself lies in `folder`. `lines` is where metrics.jsonl lies, if
    elsewhere. What is shown `now` is for whoever waits for it: it is there afterwards, or it is said why not; else what
    cannot be shown is kept for later, where a tracker can.
    """

    folder: Path
    tracking: Tracking
    identity: str
    label: str
    config: Mapping[str, Any]
    job_type: JobType = "train"
    summary: Mapping[str, float | int | str] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    uses: tuple[Artifact, ...] = ()
    makes: tuple[Artifact, ...] = ()
    alerts: tuple[Alert, ...] = ()
    lines: Path | None = None
    now: bool = False

    @property
    def follows(self) -> bool:
        """Whether its lines are those of metrics.jsonl."""
        return self.job_type == "train"

    @property
    def metrics(self) -> Path:
        """The file with those lines."""
        return (self.lines or self.folder) / METRICS


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, and why it failed."""

    how: Literal["done", "interrupted", "failed"] = "done"
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a run that was to be shown: it is there, was there before, or is kept as files; or why not."""

    id: str
    how: Literal["shown", "there", "kept", "failed"]
    why: str = ""


class Mirror(Protocol):
    """What a tracker has opened for one attempt."""

    def close(self, seconds: float, ending: Ending) -> None:
        """No more lines will come; wait until all are shown, but no longer than `seconds`."""


def no_problems(_: Tracking) -> Iterable[str]:
    """A tracker that takes any settings."""
    return ()


@dataclass(frozen=True)
class Tracker:
    """`open` begins to mirror an attempt; `problems` says what is wrong with settings, as the command line types them.

    `open` returns at once: training waits for it. `publish` shows finished runs one after the other, and tells of each;
    without it they are opened and closed. `live` is whether somebody could look at them at once.
    """

    name: str
    open: Callable[[Attempt], Mirror]
    problems: Callable[[Tracking], Iterable[str]] = no_problems
    publish: Callable[[Sequence[Attempt]], Iterator[Outcome]] | None = None
    live: Callable[[Tracking], bool] = lambda _: False
