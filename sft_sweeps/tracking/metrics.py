"""metrics.jsonl: one line for each optimizer step, the truth about a stage's training.

A resumed stage continues from its resume state, so the lines from that step on are cut off first: the file has every
step once. Every start writes into a file of its own, which holds the lines kept and takes the place of the one before:
what an earlier start of the job still appends, not knowing that it is over, goes nowhere.
"""

import contextlib
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sft_sweeps.files import fence
from sft_sweeps.files.json_files import last_line, last_lines, parse_line

METRICS = "metrics.jsonl"
HELDOUT_LOSS = "heldout_loss_by_source"  # the field that only some steps have
NUMBERS = ("steps", "loss", "seconds", "tokens_per_second")  # of a line, where it has them
RECENT = 20  # steps from which the time that is left is told
RECENT_BYTES = 1 << 15  # which hold their lines, of a mixture of dozens of sources too
Curve = list[list[float]]  # [step, mean loss of some steps up to it], in order
PLACES, PLACE_BYTES = 16, 1 << 12  # of a long file, from which its curve is told


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
        text = (folder / METRICS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return list(filter(None, map(_metrics, text.splitlines())))


def recent(folder: Path, count: int = RECENT) -> list[dict[str, Any]]:
    """The metrics of the newest steps, at most so many, in order; none where there are none."""
    found: list[dict[str, Any]] = []
    for line in last_lines(folder / METRICS, RECENT_BYTES)[:count]:
        if not (metrics := _metrics(line)):
            break
        found.insert(0, metrics)
    return found


def curve(folder: Path) -> Curve:
    """How the loss went, in few reads however long the file is."""
    try:
        with (folder / METRICS).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= 2 * PLACES * PLACE_BYTES:
                lines = file.readall().split(b"\n")[:-1]
                share = max(1, len(lines) // PLACES)
                parts = [lines[n : n + share] for n in range(0, len(lines), share)]
            else:
                places = [place * (size - PLACE_BYTES) // (PLACES - 1) for place in range(PLACES)]
                blocks = [os.pread(file.fileno(), PLACE_BYTES, place).split(b"\n") for place in places]
                parts = [block[bool(place) : -1] for place, block in zip(places, blocks, strict=True)]
    except OSError:
        return []
    return [point for part in parts if (point := _mean(filter(None, map(_metrics, part))))]


def extended(known: Curve, steps: Iterable[Mapping[str, Any]]) -> Curve:
    """A curve with the newest steps; where it has grown long, half as many points, each for two."""
    new = _mean(step for step in steps if step.get("step", 0) > known[-1][0])
    points = [*known, *([new] if new else [])]
    if len(points) < 2 * PLACES:
        return points
    pairs = zip(points[::2], points[1::2], strict=False)
    return [[step, (one + other) / 2] for (_, one), (step, other) in pairs] + points[len(points) // 2 * 2 :]


def _mean(steps: Iterable[Mapping[str, Any]]) -> list[float] | None:
    """The last of some steps, and the mean of their losses; None without a finite one."""
    found = [(int(step["step"]), float(step["loss"])) for step in steps if {"step", "loss"} <= step.keys()]
    losses = [loss for _, loss in found if math.isfinite(loss)]
    return [found[-1][0], round(statistics.fmean(losses), 6)] if losses else None


def _metrics(line: str | bytes) -> dict[str, Any]:
    """Of one line; empty where it is none, or was damaged since."""
    with contextlib.suppress(ValueError):
        return whole(parse_line(line))
    return {}


def whole(found: Any) -> dict[str, Any]:
    """What was read as a step's metrics; empty where it is none, or was damaged since."""
    return found if isinstance(found, dict) and _is_whole(found) else {}


def _is_whole(line: Mapping[str, Any]) -> bool:
    """Whether a line has a step, and numbers where it has what is reckoned with; a loss may be NaN."""
    heldout = line.get(HELDOUT_LOSS, {})
    if not _is_count(line.get("step")) or not isinstance(heldout, dict):
        return False
    numbers = (*(line[key] for key in NUMBERS if key in line), *heldout.values())
    return all(isinstance(one, float) or _is_count(one) for one in numbers)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < 2**62


def last(folder: Path) -> dict[str, Any]:
    """The newest step's metrics; empty when there are none."""
    return next(iter(recent(folder, 1)), {})


def last_step(folder: Path) -> int:
    """The last step in metrics.jsonl; 0 when there is none."""
    line = last_line(folder / METRICS)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(parse_line(line)["step"])
    return 0


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
