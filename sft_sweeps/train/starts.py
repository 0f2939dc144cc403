"""What each start of a stage began from: a line for each in `starts.jsonl`, and what the record says of them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import append_line, read_lines

FILE = "starts.jsonl"


def note(folder: Path, loaded: str, step: int, passed_over: Sequence[str], threads: int) -> None:
    """Write down that a start took the parent's weights (their digest) and continues after `step` steps.

    `passed_over` says of each newer resume state what was wrong with it, `threads` are those of each process.
    """
    began = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "loaded": loaded, "step": step}
    line = {**began, "passed_over": passed_over, "threads": threads}
    try:
        append_line(folder / FILE, line)
    except OSError as error:
        raise RunError(f"{folder / FILE} cannot be written: {error}. Make room and launch again.") from None


def threads(folder: Path, asked: int) -> int:
    """The threads with which the weights were made: those of the last start, or those asked for where it named none."""
    return next((int(line["threads"]) for line in reversed(read_lines(folder / FILE)) if line.get("threads")), asked)


def summary(folder: Path) -> dict[str, Any]:
    """For the record: the digest of what was loaded, and the resume states that were passed over, if any were."""
    lines = read_lines(folder / FILE)
    passed_over = [text for line in lines for text in line.get("passed_over", ())]
    loaded = {"loaded": lines[-1]["loaded"]} if lines else {}
    return loaded | ({"passed_over": passed_over} if passed_over else {})
