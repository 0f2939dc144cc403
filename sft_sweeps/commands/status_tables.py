"""The tables of `sft-sweeps status`, once or until everything has ended; `status` is the JSON that status.py makes."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sft_sweeps.jobs.status import ACTIVE
from sft_sweeps.terminal import COLORS, say

STATE_COLORS = {
    **COLORS,
    "scored": "green",
    "training": "cyan",
    "scoring": "cyan",
    "requeued": "yellow",
    "cancelled": "red",
}
RIGHT_ALIGNED = ("step", "loss", "left", "runs", "GPU-h", "lost", "scores", "stages")
SECONDS = 5.0  # between two questions of --watch
OTHERS = 3  # lines about jobs that train nothing
FRAME = 12  # lines around the rows of the table
URGENT = ("failed", "cancelled", "corrupted", "running", "requeued", "unknown", "interrupted", "pending", "missing")


def show(status: Mapping[str, Any], out: Console) -> None:
    """The status as tables and a summary."""
    out.print(runs_table(status["runs"]))
    out.print(stages_table(status["stages"], f"sweep {status['sweep']}"))
    for line in other_lines(status["jobs"]):
        say(out, line)
    for line in summary(status):
        say(out, line)


def other_lines(jobs: list[Mapping[str, Any]]) -> list[str]:
    """What failed, job by job, and how many others there are in each state; in rich's markup."""
    named = [job for job in jobs if job["state"] in ("failed", "corrupted")]
    counts = Counter((job["kind"], job["state"]) for job in jobs if job not in named)
    lines = [
        f"{job['kind']} {escape(job['label'])} ({job['subject']}): {_colored_state(job)} {escape(job['why'])}"
        for job in named
    ]
    if counts:
        lines.append(
            "other jobs: " + ", ".join(f"{n} to {kind} {state}" for (kind, state), n in sorted(counts.items()))
        )
    return lines


def _colored_state(row: Mapping[str, Any]) -> str:
    return f"[{STATE_COLORS.get(row['state'], 'default')}]{row['state']}[/]"


def runs_table(runs: list[Mapping[str, Any]]) -> Table:
    """A row for each run; its reason is one line, for the stage's row has it whole."""
    why = ["why"] if any(run["why"] for run in runs) else []
    table = _table("runs", "run", "state", "stages", "scores", *why)
    if why:
        table.columns[-1].no_wrap, table.columns[-1].overflow = True, "ellipsis"
    for run in runs:
        stages, scores = f"{run['stages_done']} of {run['stages']}", f"{run['scores_done']} of {run['scores']}"
        table.add_row(escape(run["label"]), _colored_state(run), stages, scores, *([escape(run["why"])] if why else []))
    return table


def stages_table(stages: list[Mapping[str, Any]], title: str) -> Table:
    """A row for each stage; columns of Slurm and GPUs where they hold anything."""
    jobs, hours = any(stage["job"] for stage in stages), any(stage["gpu_hours"] for stage in stages)
    more = [*(["job"] if jobs else []), *(["GPU-h", "lost"] if hours else [])]
    left = ["left"] if any(stage["seconds_left"] is not None for stage in stages) else []
    why = ["why"] if any(stage["why"] for stage in stages) else []
    table = _table(title, "id", "stage", "state", "step", "loss", *left, "runs", *more, *why)
    table.columns[0].no_wrap = True
    for stage in stages:
        used = [f"{stage['gpu_hours']:,.2f}", f"{stage['gpu_hours_lost']:,.2f}"] if hours else []
        table.add_row(
            stage["id"],
            escape(stage["label"]),
            _colored_state(stage),
            f"{stage['step']:,} of {stage['steps']:,}",
            "" if stage["loss"] is None else f"{stage['loss']:.3f}",
            *(["" if stage["seconds_left"] is None else f"{stage['seconds_left']:,.0f} s"] if left else []),
            str(len(stage["runs"])),
            *([stage["job"]] if jobs else []),
            *used,
            *([escape(stage["why"])] if why else []),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in RIGHT_ALIGNED else "left", overflow="fold")
    return table


def summary(status: Mapping[str, Any]) -> list[str]:
    """What is done of all, and what it has cost."""
    stages, scores, totals = status["stages"], status["scores"], status["totals"]
    done = sum(stage["state"] == "done" for stage in stages)
    lines = [f"{done} of {len(stages)} stages and {scores['done']} of {scores['total']} scores are done"]
    others = [f"{count} {state}" for state, count in sorted(totals["states"].items()) if state != "done"]
    if others:
        lines.append(f"the other stages: {', '.join(others)}")
    if totals["gpu_hours"]:
        lines.append(
            f"{totals['gpu_hours']:,.1f} GPU-hours spent on its stages, {totals['gpu_hours_lost']:,.1f} of them lost "
            f"to requeues; the plan estimates {totals['gpu_hours_estimated']:,.1f} for everything"
        )
    return lines


def watch(ask: Callable[[], dict[str, Any]], out: Console) -> None:
    """Until nothing of the sweep can go on by itself, and then all of it; or until Ctrl-C. Without a terminal, once."""
    status = ask()
    idle = 0 if _active(status) else 2
    try:
        with Live(_screen(status, out), console=out, auto_refresh=False, transient=True) as live:
            while out.is_terminal and idle < 2:  # between two jobs of this machine nothing runs for a moment
                time.sleep(SECONDS)
                status = ask()
                live.update(_screen(status, out), refresh=True)
                idle = 0 if _active(status) else idle + 1
    except KeyboardInterrupt:
        out.print(_screen(status, out))
        return
    show(status, out)


def _active(status: Mapping[str, Any]) -> bool:
    return any(one["state"] in ACTIVE for one in (*status["stages"], *status["jobs"]))


def _screen(status: Mapping[str, Any], out: Console) -> Group:
    """The rows that matter most, and how many more there are."""
    order = {state: n for n, state in enumerate(URGENT)}
    rows = sorted(status["stages"], key=lambda stage: order.get(stage["state"], len(order)))
    shown = rows[: max(out.size.height - FRAME, 3)]
    table = stages_table(shown, f"sweep {status['sweep']}, {time.strftime('%H:%M:%S')}")
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    left = [f"... and {len(rows) - len(shown)} more stages"] if len(rows) > len(shown) else []
    jobs = other_lines(status["jobs"])
    lines = [*left, *jobs[-OTHERS:], *map(escape, summary(status))]
    return Group(table, *(Text.from_markup(line, overflow="ellipsis") for line in lines))
