"""What `plan.deadline` may be: a length of time in words that people type."""

import re
from collections.abc import Iterator

from sft_sweeps.slurm.cluster import seconds

WORDS = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+)m)?", re.ASCII)


def deadline_hours(text: str) -> float | None:
    """3d, 36h, 2d12h, 90m, or as Slurm has it, 3-00:00:00 and 36:00:00; None for no text, ValueError for others."""
    if not text:
        return None
    if match := WORDS.fullmatch(text):
        days, hours, minutes = (float(part or 0) for part in match.groups())
        found = 24 * days + hours + minutes / 60
    elif "-" in text or text.count(":") == 2:
        found = seconds(text) / 3600
    else:
        raise ValueError(text)
    if found <= 0:
        raise ValueError(text)
    return found


def deadline(key: str, text: str) -> Iterator[str]:
    """A length of time, or nothing."""
    try:
        deadline_hours(text)
    except ValueError:
        yield f"{key}={text} is no length of time; write {key}=3d, 36h, 2d12h or 90m"
