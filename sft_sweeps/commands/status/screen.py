"""What is seen of a sweep at work: how far it is, what runs, what failed and what to type, all in a terminal's size."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sft_sweeps.commands.fit import Column
from sft_sweeps.commands.status.parts import (
    BROKEN,
    STATE_COLORS,
    at_work,
    failed,
    failure_lines,
    failure_reason,
    grid,
    hours,
    notes,
    running_table,
    urgent_first,
    waiting,
)
from sft_sweeps.errors import visible
from sft_sweeps.plan.build import TRAINED
from sft_sweeps.terminal import duration

FAILURES = 3  # that are told of
LEAST = 3  # rows of what runs, for which room is kept
BARS, HEADER = 2, 2  # lines of the bars but the first; of a table besides its rows
Row = Mapping[str, Any]


def view(status: Row, width: int, height: int | None = None, footer: str = "") -> Group:
    """The whole: of a `height`, what matters most; the `footer` stands last."""
    top = [_head(status, width), _bars(status, width), *_lines(waiting(status), width)]
    below = [f"[yellow]{escape(line)}[/]" for line in notes(status)] + [f"[dim]{escape(footer)}[/]"] * bool(footer)
    end = _lines(below, width)
    room = height - len(top) - BARS - len(end) if height else 10**6
    running = at_work(status)
    broken = _lines(_failures(failed(status), width, room - HEADER - min(len(running), LEAST)), width)
    work = _running(running, width, room - len(broken))
    rest = _rest(status, width, room - len(broken) - _height(work)) if height else []
    return Group(*top, *work, *rest, *broken, *end)


def _height(parts: Sequence[RenderableType]) -> int:
    return sum(part.row_count + 1 if isinstance(part, Table) else 1 for part in parts)


def _failures(broken: Sequence[Row], width: int, room: int) -> list[str]:
    """What failed, a few in full where there is room, in rich's markup."""
    whole = [line for row in broken[:FAILURES] for line in failure_lines(row, width)]
    short = [f"[red]{escape(failure_reason(row, width))}[/]" for row in broken[:FAILURES]]
    told = whole if len(whole) + 2 <= room else short
    more = len(broken) - FAILURES
    return [*[""] * bool(told), *told, *[f"[red]... and {more:,} more failed[/]"] * (more > 0)]


def _running(running: Sequence[Row], width: int, room: int) -> list[RenderableType]:
    """What runs, as many rows as there is room for."""
    if not running:
        return []
    shown = running if len(running) + HEADER <= room else running[: max(1, room - HEADER - 1)]
    more = [f"... and {len(running) - len(shown):,} more are running"] * (len(shown) < len(running))
    return [Text(), running_table(shown, width), *_lines(more, width)]


def _rest(status: Row, width: int, room: int) -> list[RenderableType]:
    """The stages that neither run nor failed, each in a line, where there is room."""
    rows = [row for row in urgent_first(status["stages"]) if row["state"] not in ("running", *BROKEN)]
    rows = rows[: max(room - HEADER, 0)]
    if not rows:
        return []
    states = [row["state"] for row in rows]
    why = [row["why"] or (f"loss {row['loss']:.3f}" if row["loss"] is not None else "") for row in rows]
    columns = [
        Column("other stages", [row["label"] for row in rows], good=30, least=12, ends=True),
        Column("state", states, [STATE_COLORS.get(state, "default") for state in states]),
        Column("why", why, ["dim"] * len(rows), good=24, least=8, dropped=1),
    ]
    return [Text(), grid([column for column in columns if any(column.cells)], width)]


def _lines(lines: Sequence[str], width: int) -> list[RenderableType]:
    """Each in a line of the terminal, cut where it is longer."""
    made = [Text.from_markup(visible(line)) for line in lines]
    for text in made:
        text.truncate(width, overflow="ellipsis")
    return list(made)


def _head(status: Row, width: int) -> Text:
    clock = str(status["time"])[11:19]
    name = Text(f"sweep {status['sweep']}", style="bold")
    name.truncate(max(width - len(clock) - 2, 10), overflow="ellipsis")
    return Text.assemble(name, " " * max(width - name.cell_len - len(clock), 1), (clock, "dim"))


def _bars(status: Row, width: int) -> Table:
    """How much of the training, the scores and the planned GPU-hours is done."""
    totals, scores = status["totals"], status["scores"]
    stages = status["stages"]
    done = sum(stage["state"] in TRAINED for stage in stages)
    left = totals["seconds_left"]
    lines = [("stages", totals["trained"], f"{done:,} of {len(stages):,}{'' if left is None else f', {_pace(left)}'}")]
    if scores["total"]:
        lines.append(("scores", scores["done"] / scores["total"], f"{scores['done']:,} of {scores['total']:,}"))
    if totals["gpu_hours"] or totals["gpu_hours_estimated"]:
        share = totals["gpu_hours"] / totals["gpu_hours_estimated"] if totals["gpu_hours_estimated"] else 0.0
        lines.append(("GPU-hours", share, hours(totals)))
    made = Table.grid(padding=(0, 1))
    room = max(8, min(40, width - 10 - 6 - max(len(text) for _, _, text in lines) - 3))
    for name, share, text in lines:
        made.add_row(name, ProgressBar(1.0, min(share, 1.0), width=room), f"{100 * share:3.0f}%", Text(text))
    return made


def _pace(seconds: float) -> str:
    return f"about {duration(seconds)} at this pace"
