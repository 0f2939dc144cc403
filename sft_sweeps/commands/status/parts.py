"""What the tables and the view that stays open have in common: what runs, what waits, what failed and what to type."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sft_sweeps.commands.fit import Column, fit, shortened
from sft_sweeps.config import site
from sft_sweeps.jobs.evidence import ACTIVE
from sft_sweeps.terminal import COLORS, duration, sparkline
from sft_sweeps.tracking import problems as mirrors

STATE_COLORS = {
    **COLORS,
    "scored": "green",
    "training": "cyan",
    "scoring": "cyan",
    "unjudged": "yellow",
    "requeued": "yellow",
    "cancelled": "red",
}
BROKEN = ("failed", "corrupted")
WAITING = ("pending", "requeued")
URGENT = ("failed", "cancelled", "corrupted", "running", "requeued", "unknown", "interrupted", "pending", "missing")
WIDE = 110  # columns of a terminal that has room for longer charts
Row = Mapping[str, Any]


def active(status: Row) -> bool:
    """Whether anything of it may change by itself."""
    return any(one["state"] in ACTIVE for one in (*status["stages"], *status["jobs"]))


def urgent_first(stages: Sequence[Row]) -> list[Row]:
    """The stages, those first that somebody should look at."""
    order = {state: n for n, state in enumerate(URGENT)}
    return sorted(stages, key=lambda stage: order.get(stage["state"], len(order)))


def failed(status: Row) -> list[Row]:
    """What failed: stages, then other jobs."""
    return [row for row in (*status["stages"], *status["jobs"]) if row["state"] in BROKEN]


def at_work(status: Row) -> list[Row]:
    """What runs: stages, then other jobs."""
    return [row for row in (*status["stages"], *status["jobs"]) if row["state"] == "running"]


def notes(status: Row) -> list[str]:
    """What else to know: trouble with trackers, scores that wait for a judge."""
    waits = status["totals"].get("scores_to_judge")
    ask, again = (site.command(status["store"], name, status["sweep"]) for name in ("judge", "sync"))
    judge = [f"{waits} wait for a judge alone: {ask}"] if waits else []
    absent = f"not all scores are shown at {status.get('mirror')}; when that is mended: {again}"
    scores = [absent] if status.get("mirror") else []
    return judge + scores + mirrors.lines({stage["label"]: stage.get("mirror", "") for stage in status["stages"]})


def hours(totals: Row) -> str:
    """The GPU-hours spent, lost and planned."""
    lost = f", {totals['gpu_hours_lost']:,.1f} lost" if totals["gpu_hours_lost"] else ""
    return f"{totals['gpu_hours']:,.1f} of {totals['gpu_hours_estimated']:,.1f} planned{lost}"


def running_table(rows: Sequence[Row], width: int) -> Table:
    """A row for each stage or other job that runs: how far, its loss as a chart, speed, time left."""
    room = 24 if width >= WIDE else 12
    return grid(
        [column for column in _running_columns(rows, room) if column.name == "loss" or any(column.cells)], width
    )


def _running_columns(rows: Sequence[Row], chart: int) -> list[Column]:
    charts = [sparkline(row["curve"], chart) if row.get("curve") else "" for row in rows]
    loss = ["" if row.get("loss") is None else f"{row['loss']:.3f}" for row in rows]
    speed = ["" if row.get("tokens_per_second") is None else f"{row['tokens_per_second']:,.0f}" for row in rows]
    left = ["" if row.get("seconds_left") is None else duration(row["seconds_left"]) for row in rows]
    return [
        Column("running", list(map(_name, rows)), ["cyan"] * len(rows), good=22, least=10, ends=True),
        Column("done", [_percent(row) for row in rows], right=True),
        Column("step", [_count(row) for row in rows], right=True, dropped=4),
        Column("loss", charts, ["green"] * len(rows), dropped=2),
        Column("", loss, right=True, dropped=1),
        Column("tokens/s", speed, right=True, dropped=3),
        Column("left", left, right=True),
        Column("where", [row["why"] for row in rows], ["dim"] * len(rows), good=8, least=6, dropped=5),
    ]


def _percent(row: Row) -> str:
    done, of = _done(row)
    return f"{100 * done / of:.0f}%" if of else ""


def _count(row: Row) -> str:
    done, of = _done(row)
    return f"{done:,} of {of:,}" if of else ""


def _done(row: Row) -> tuple[int, int]:
    if "kind" not in row:
        return row["step"], row["steps"]
    progress = row["progress"] or {"done": 0, "of": 0}
    return progress["done"], progress["of"]


def _name(row: Row) -> str:
    """Of a stage its label; of another job also what it does."""
    return f"{row['kind']} {row['label']}" if "kind" in row else str(row["label"])


def grid(columns: Sequence[Column], width: int) -> Table:
    """Columns without a frame."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    fitting = fit(columns, width)
    for column in fitting:
        made.add_column(column.name, justify="right" if column.right else "left", no_wrap=True)
    for cells in zip(*(zip(c.cells, c.styles or [""] * len(c.cells), strict=True) for c in fitting), strict=True):
        made.add_row(*(Text(cell, style) for cell, style in cells))
    return made


def waiting(status: Row) -> list[str]:
    """What waits in a queue, by why, and what was cancelled or never started, in rich's markup."""
    rows = [row for row in (*status["stages"], *status["jobs"]) if row["state"] in WAITING]
    why = Counter(row["why"] for row in rows)
    lines = [f"waiting: {', '.join(f'{count:,} {escape(text)}' for text, count in why.most_common())}"] if why else []
    states = Counter(stage["state"] for stage in status["stages"])
    others = [
        f"[{STATE_COLORS.get(state, 'default')}]{states[state]:,} {state}[/]"
        for state in ("cancelled", "interrupted", "unknown", "missing", "weights gone")
        if states[state]
    ]
    return [*lines, *([f"other stages: {', '.join(others)}"] if others else [])]


def failure_reason(row: Row, width: int | None = None) -> str:
    """What failed and why; of a long name both ends, where there is a `width`."""
    name = shortened([_name(row)], max(width // 2, 12), ends=True)[0] if width else _name(row)
    return f"{name} ({row.get('subject', row['id'])}): {row['state']} {row['why']}"


def failure_lines(row: Row, width: int | None = None) -> list[str]:
    """Why something failed, the end of its log, and what to type, in rich's markup; in lines of a `width`."""
    hints = [f"  > {text}" for text in row["hint"].split("; ") if text]
    return [
        *(f"[red]{escape(text)}[/]" for text in _wrapped(failure_reason(row, width), width)),
        *(f"[dim]  │ {escape(text)}[/]" for text in row["log_tail"]),
        *(escape(text) for hint in hints for text in _wrapped(hint, width)),
    ]


def _wrapped(text: str, width: int | None) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="    ") if width else [text]
