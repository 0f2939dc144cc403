"""metrics.jsonl: one line for each optimizer step, the truth about a stage's training.

A resumed stage continues from its resume state, so the lines from that step on are cut off first: the file has every
step once.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_sweeps.files.json_files import last_line

METRICS = "metrics.jsonl"


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
            cut(self.path, step)
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
        self._last = step
        self._file.write(json.dumps(metrics) + "\n")

    def close(self) -> None:
        """Put everything on the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def cut(path: Path, step: int) -> None:
    """Drop the lines from `step` on, and a last line that a dying process left half-written."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if _before(line, step)]
    temporary = path.with_name(f".{path.name}.cut")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _before(line: str, step: int) -> bool:
    try:
        return line.endswith("\n") and int(json.loads(line)["step"]) < step
    except (ValueError, KeyError, TypeError):
        return False


def read(folder: Path) -> list[dict[str, Any]]:
    """Every step's metrics, in order."""
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines() if _before(line + "\n", 2**62)]


def last(folder: Path) -> dict[str, Any]:
    """The newest step's metrics; empty when there are none."""
    try:
        metrics = json.loads(last_line(folder / METRICS))
    except ValueError:
        return {}
    return metrics if isinstance(metrics, dict) else {}


def seconds_left(metrics: Mapping[str, Any]) -> float | None:
    """Estimated from the time of the newest step; None when there is none."""
    if not metrics:
        return None
    return float(metrics["seconds"]) * max(int(metrics["steps"]) - int(metrics["step"]), 0)
