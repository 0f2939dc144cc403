"""Every start of a stage on a cluster: what it cost, what it lost, and whether starting once more makes sense.

`attempts.jsonl` in the stage's folder gets a line when a job starts and one when it ends by itself. A job that was
killed leaves no second line: its end is then the last time its metrics were written. Steps that it took after its last
resume state are done again by the next one; their time is lost.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import append_line, content, is_number, parse_line
from sft_sweeps.tracking import metrics

ATTEMPTS = "attempts.jsonl"
NUMBERS = {"start": ("step", "gpus", "redone", "last_step_at", "time"), "end": ("time",)}  # of a line, by its event
STUCK_STARTS = 3  # starts of one job from the same step, after which another one is refused


@dataclass(frozen=True)
class Usage:
    """What a stage has cost so far. Hours are those of all its GPUs together."""

    starts: int = 0
    gpu_hours: float = 0.0
    gpu_hours_lost: float = 0.0


def begin(folder: Path, job: str, step: int, gpus: int) -> None:
    """Note that a job starts from step `step`; RunError where it made no progress in its last starts."""
    lines = _read(folder)
    mine = [line["step"] for line in _starts(lines) if line.get("job") == job]
    if mine[-STUCK_STARTS:] == [step] * STUCK_STARTS:
        raise RunError(
            f"given up: job {job} was started {STUCK_STARTS} times from step {step} and saved no later one. "
            "Ask for a longer cluster.time or a smaller cluster.save_every_seconds, then launch again"
        )
    redone = sum(line.get("seconds", 0.0) for line in metrics.read(folder) if line["step"] > step)
    alive = _modified(folder / metrics.METRICS)
    _append(folder, {"event": "start", "job": job, "step": step, "gpus": gpus, "redone": redone, "last_step_at": alive})


def end(folder: Path, how: str) -> None:
    """Note that the attempt ends by itself; `how` is `done`, `requeued`, `stopped` or `failed`."""
    _append(folder, {"event": "end", "how": how})


def usage(folder: Path, running: bool) -> Usage:
    """The cost of all attempts; a `running` one counts until now."""
    lines = _read(folder)
    starts = list(_starts(lines))
    seconds = sum(_seconds(line, after, folder, running) for line, after in zip_longest(lines, lines[1:]))
    lost = sum(before["gpus"] * start["redone"] for before, start in pairwise(starts))
    return Usage(len(starts), seconds / 3600, lost / 3600)


def _seconds(line: dict[str, Any], after: dict[str, Any] | None, folder: Path, running: bool) -> float:
    """GPU-seconds from a start to its end: the one it wrote, else the last time that it wrote anything."""
    if line["event"] != "start":
        return 0.0
    if after and after["event"] == "end":
        until = after["time"]
    elif after:
        until = after["last_step_at"]
    else:
        until = time.time() if running else _modified(folder / metrics.METRICS)
    return float(line["gpus"]) * max(float(until) - float(line["time"]), 0.0)


def _starts(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (line for line in lines if line["event"] == "start")


def _append(folder: Path, line: dict[str, Any]) -> None:
    append_line(folder / ATTEMPTS, {**line, "time": time.time()}, durable=True)


def _read(folder: Path) -> list[dict[str, Any]]:
    """The lines; one that was cut short by a crash, or damaged since, is passed over, and so is what is no file."""
    try:
        text = content(folder / ATTEMPTS).decode("utf-8", "replace")
    except OSError:
        return []
    entries = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            entries.append(parse_line(line))
    return list(filter(_is_whole, entries))


def _is_whole(line: Any) -> bool:
    """Whether a line has all that is read of it."""
    if not isinstance(line, dict) or (event := str(line.get("event"))) not in NUMBERS:
        return False
    return all(is_number(line.get(key)) for key in NUMBERS[event])


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
