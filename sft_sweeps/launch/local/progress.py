"""What a local launch shows: a bar for the whole sweep, one for each running job, and a line for each that ended."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs.job import PROGRESS, Job, claim_folder
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.plan.labels import own_words
from sft_sweeps.terminal import duration, say, sparkline
from sft_sweeps.tracking import metrics as tracking

WIDE = 140  # columns of a terminal that has room for the bars
CHARTED, CHART = 100, 12  # columns of one that has room for charts of the loss, and of such a chart
LINE_SECONDS = 15.0  # between two lines about a running job, where there is no terminal


class Progress:
    """Bars of a launch, on a terminal; elsewhere a line about each running job now and then.

    The whole is counted in optimizer steps of all missing stages; a job of another kind counts as one step.
    """

    def __init__(self, jobs: Sequence[Job], out: Console) -> None:
        self.out = out
        self.total, self.ended = len(jobs), 0
        self.steps_done = 0
        self.rich = RichProgress(
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            *([BarColumn(bar_width=24), TimeElapsedColumn()] if out.width >= WIDE else []),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("left"),
            console=out,
            expand=True,
            disable=not out.is_terminal,
            transient=True,
        )
        self.whole = self.rich.add_task("all steps", total=sum(job.steps for job in jobs), note="")
        self.tasks: dict[str, Any] = {}
        self._curves: dict[str, tracking.Curve] = {}
        self._lines: dict[str, float] = {}  # when the last line about a job was written
        subjects = {job.subject.id: (job.subject.label, job.subject.payload) for job in jobs}
        words = own_words(subjects)
        self.labels = {key: f"{label} {words[key]}".rstrip() for key, (label, _) in subjects.items()}

    def __enter__(self) -> "Progress":
        self.rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rich.stop()

    def say(self, text: str) -> None:
        """Print a line of text; on a terminal it stays above the bars."""
        say(self.rich.console, text, highlight=False, markup=False)

    def started(self, job: Job) -> None:
        """The job's processes were started: show its bar."""
        total = job.steps if job.stage else None
        name = f"{job.kind} {self.labels[job.subject.id]}"
        if job.id in self.tasks:  # it starts once more
            self.rich.remove_task(self.tasks.pop(job.id))
        self.tasks[job.id] = self.rich.add_task(name, total=total, note="")

    def update(self, job: Job, folder: Path) -> None:
        """Move the bar of a running job to what its files in `folder` (of its subject) say."""
        if job.id not in self.tasks:
            return
        if self.rich.disable:
            self._line(job, folder)
        elif not job.stage:
            self._update_count(job, folder)
        elif metrics := tracking.last(folder):
            self._update_steps(job, metrics)

    def _update_steps(self, job: Job, metrics: Mapping[str, Any]) -> None:
        curve = self._curves.setdefault(job.id, [[metrics["step"], metrics["loss"]]])
        self._curves[job.id] = curve = tracking.extended(curve, [metrics])
        chart = f"{sparkline(curve, CHART)} " if self.out.width >= CHARTED else ""
        note = f"{chart}loss {metrics['loss']:.3f}  {metrics['tokens_per_second']:,.0f} tokens/s"
        self.rich.update(self.tasks[job.id], completed=metrics["step"], note=note)
        running = [task.completed for task in self.rich.tasks if task.id != self.whole]
        note = f"{self.ended} of {self.total} jobs"
        self.rich.update(self.whole, completed=self.steps_done + sum(running), note=note)

    def _line(self, job: Job, folder: Path) -> None:
        """Say how far a running job is, once in LINE_SECONDS."""
        now = time.monotonic()
        if now - self._lines.setdefault(job.id, now) < LINE_SECONDS:
            return
        self._lines[job.id] = now
        if job.stage and (steps := tracking.recent(folder)):
            left, metrics = tracking.seconds_left(steps), steps[-1]
            rest = "" if left is None else f", about {duration(left)} left"
            step = f"step {metrics['step']:,} of {job.steps:,}, loss {metrics['loss']:.3f}{rest}"
            self.say(f"{self.labels[job.subject.id]}: {step}")
        elif not job.stage and (count := self._count(job, folder)):
            self.say(f"{job.kind} {count['what']}: {count['done']:,} of {count['of']:,}")

    def _update_count(self, job: Job, folder: Path) -> None:
        if count := self._count(job, folder):
            self.rich.update(self.tasks[job.id], completed=count["done"], total=count["of"], note=count["what"])

    @staticmethod
    def _count(job: Job, folder: Path) -> Mapping[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found = read_json(claim_folder(job, folder) / PROGRESS) or {}
            return found if {"what", "done", "of"} <= found.keys() else {}
        return {}

    def finished(self, job: Job, folder: Path, seconds: float) -> None:
        """The job is done: print what came out of it."""
        self._end(job)
        metrics = tracking.last(folder) if job.stage else {}
        detail = f"{metrics['step']:,} steps, loss {metrics['loss']:.3f}, " if metrics else ""
        names = ", ".join(e.source.name for e in job.encodings) or self.labels[job.subject.id]
        self.say(f"[{self.ended:>2} of {self.total}] {KINDS[job.kind].done} {names}  {detail}{seconds:.0f} s")
        if job.encodings:
            from sft_sweeps.jobs import encoding  # tokenizers and NumPy, which a launch without files does without

            for text in encoding.notes_of([(e.source.name, e.key) for e in job.encodings], job.store):
                self.say(f"note {text}")

    def failed(self, job: Job, reason: str) -> None:
        """The job failed, or cannot be started."""
        self._end(job)
        self.say(f"[{self.ended:>2} of {self.total}] FAILED {job.kind} {self.labels[job.subject.id]}: {reason}")

    def _end(self, job: Job) -> None:
        """Remove the job's bar and count it as ended."""
        self.ended += 1
        self.steps_done += job.steps
        if (task := self.tasks.pop(job.id, None)) is not None:
            self.rich.remove_task(task)
        self.rich.update(self.whole, completed=self.steps_done, note=f"{self.ended} of {self.total} jobs")
