"""`sft-sweeps status --watch`: the status drawn again and again, as much of it as the terminal holds."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from sft_sweeps.commands.status import other_lines, show, stages_table, summary
from sft_sweeps.jobs.status import ACTIVE

SECONDS = 5.0  # between two looks
OTHERS = 3  # lines about jobs that train nothing
FRAME = 12  # lines around the rows of the table
URGENT = ("failed", "cancelled", "corrupted", "running", "requeued", "unknown", "interrupted", "pending", "missing")


def watch(look: Callable[[], dict[str, Any]], out: Console) -> None:
    """Until nothing of the sweep can go on by itself, and then all of it; or until Ctrl-C. Without a terminal, once."""
    found = look()
    idle = 0 if _active(found) else 2
    try:
        with Live(_screen(found, out), console=out, auto_refresh=False, transient=True) as live:
            while out.is_terminal and idle < 2:  # between two jobs of this machine nothing runs for a moment
                time.sleep(SECONDS)
                found = look()
                live.update(_screen(found, out), refresh=True)
                idle = 0 if _active(found) else idle + 1
    except KeyboardInterrupt:
        out.print(_screen(found, out))
        return
    show(found, out)


def _active(found: Mapping[str, Any]) -> bool:
    return any(one["state"] in ACTIVE for one in (*found["stages"], *found["jobs"]))


def _screen(found: Mapping[str, Any], out: Console) -> Group:
    """The rows that matter most, and how many more there are."""
    order = {state: place for place, state in enumerate(URGENT)}
    rows = sorted(found["stages"], key=lambda stage: order.get(stage["state"], len(order)))
    shown = rows[: max(out.size.height - FRAME, 3)]
    table = stages_table(shown, f"sweep {found['sweep']}, {time.strftime('%H:%M:%S')}")
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    left = [f"... and {len(rows) - len(shown)} more stages"] if len(rows) > len(shown) else []
    jobs = other_lines(found["jobs"])
    lines = [*left, *jobs[-OTHERS:], *map(escape, summary(found))]
    return Group(table, *(Text.from_markup(line, overflow="ellipsis") for line in lines))
