"""Where a sweep is shown: written down in its folder when it is launched, for whoever shows it later."""

from pathlib import Path

from sft_sweeps.execution import Tracking
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.identity import plain, revive
from sft_sweeps.tracking import none

FILE = "tracking.json"  # in a sweep's folder


def remember(folder: Path, tracking: Tracking) -> None:
    """Write it down."""
    write_json(folder / FILE, plain(tracking), durable=False)


def remembered(folder: Path) -> Tracking | None:
    """None where nobody wrote that down, or it cannot be read."""
    try:
        found = read_json(folder / FILE)
        return revive(Tracking, found) if found else None
    except (OSError, ValueError):
        return None


def shown_at(folder: Path) -> Tracking | None:
    """The same; None also of a sweep that is shown nowhere."""
    found = remembered(folder)
    return None if found is None or found.name == none.NAME else found
