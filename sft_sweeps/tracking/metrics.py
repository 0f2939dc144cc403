"""metrics.jsonl: one line for each optimizer step, the truth about a stage's training.

A resumed stage continues from its resume state, so the lines from that step on are cut off first: the file has every
step once. Every start writes into a file of its own, which holds the lines kept and takes the place of the one before:
what an earlier start of the job still appends, not knowing that it is over, goes nowhere.
"""

import contextlib
import json
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sft_sweeps.files import fence
from sft_sweeps.files.json_files import last_lines, parse_line

METRICS = "metrics.jsonl"
RECENT = 20  # steps from which the time that is left is told
RECENT_BYTES = 1 << 15  # which hold their lines, of a mixture of dozens of sources too


class Metrics:
    """An open metrics.jsonl; the system has every line when `write` returns."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS
        self._file: Any = None
        self._last = 0

    def write(self, metrics: Mapping[str, Any]) -> None:
        """Append the line of one step (`step` is among its fields); a step that is done again replaces its line."""
        step = int(metrics["step"])
        if self._file is None or step <= self._last:
            self.close()
            self._file = _cut(self.path, step)
        self._last = step
        self._file.write(json.dumps(metrics) + "\n")

    def close(self) -> None:
        """Put everything on the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def sync(folder: Path) -> None:
    """Put a stage's lines on the disk, before what says that their steps are done."""
    with contextlib.suppress(FileNotFoundError), (folder / METRICS).open("rb") as file:
        os.fsync(file.fileno())


def cut(path: Path, step: int) -> None:
    """Drop the lines from `step` on, and a last line that a dying process left half-written."""
    if not path.exists():
        return
    _cut(path, step).close()


def _cut(path: Path, step: int) -> TextIO:
    """A new file in the place of the old one, with the lines before `step`; open, at its end."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    temporary = path.with_name(f".{path.name}.cut{fence.token()}")
    file = temporary.open("w", encoding="utf-8", buffering=1)
    try:
        file.writelines(line for line in text.splitlines(keepends=True) if _before(line, step))
        file.flush()
        fence.publish(temporary, path)
    except BaseException:
        file.close()
        raise
    return file


def _before(line: str, step: int) -> bool:
    try:
        return line.endswith("\n") and int(parse_line(line)["step"]) < step
    except (ValueError, KeyError, TypeError, OverflowError):
        return False


def read(folder: Path) -> list[dict[str, Any]]:
    """Every step's metrics, in order."""
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [parse_line(line) for line in text.splitlines() if _before(line + "\n", 2**62)]


def recent(folder: Path, count: int = RECENT) -> list[dict[str, Any]]:
    """The metrics of the newest steps, at most so many, in order; none where there are none."""
    found: list[dict[str, Any]] = []
    for line in last_lines(folder / METRICS, RECENT_BYTES)[:count]:
        try:
            metrics = parse_line(line)
        except ValueError:
            break
        if not isinstance(metrics, dict):
            break
        found.insert(0, metrics)
    return found


def last(folder: Path) -> dict[str, Any]:
    """The newest step's metrics; empty when there are none."""
    return next(iter(recent(folder, 1)), {})


def seconds_left(steps: Sequence[Mapping[str, Any]]) -> float | None:
    """Estimated from the newest steps, of which the first ones are enough; None where there is none."""
    timed = [step for step in steps if {"seconds", "steps"} <= step.keys()]
    if not timed:
        return None
    newest = timed[-1]
    return left((float(step["seconds"]) for step in timed), int(newest["step"]), int(newest["steps"]))


def left(seconds: Iterable[float], step: int, steps: int) -> float:
    """How long the rest takes after `step` of `steps`, of which the last ones took so long each."""
    return statistics.median(seconds) * max(steps - step, 0)
