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

from sft_sweeps.commands.fit import Column, table
from sft_sweeps.jobs.status import ACTIVE
from sft_sweeps.terminal import COLORS, duration, say, show_long
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
BAD = ("failed", "cancelled", "corrupted")
SECONDS = 5.0  # between two questions of --watch
OTHERS = 3  # lines about jobs that train nothing
FRAME = 12  # lines around the rows of the table
URGENT = ("failed", "cancelled", "corrupted", "running", "requeued", "unknown", "interrupted", "pending", "missing")


def show(status: Mapping[str, Any], out: Console) -> None:
    """The status as tables and a summary."""
    if not _show_long("runs", _run_columns(status["runs"]), out):
        out.print(runs_table(status["runs"], out.width))
    title, stages = f"sweep {status['sweep']}", status["stages"]
    if not _show_long(title, _stage_columns(_urgent_first(stages) if out.is_terminal else stages), out):
        table = stages_table(stages, title, out.width)
        out.print(table)
        for line in reason_lines(stages, table):
            say(out, line)
    for line in other_lines(status["jobs"]):
        say(out, line)
    for line in summary(status):
        say(out, escape(line))


def _show_long(title: str, columns: list[Column], out: Console) -> bool:
    """Many rows as plain lines, with every column that holds anything."""
    filled = [column for column in columns if any(column.cells)]
    rows = list(zip(*(column.cells for column in filled), strict=True))
    return show_long(out, title, [column.name for column in filled], rows, "all of them: add --json")


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


def runs_table(runs: list[Mapping[str, Any]], width: int) -> Table:
    """A row for each run; its reason is cut first, for the stage's row has it too."""
    return table(_run_columns(runs), "runs", width)


def _run_columns(runs: list[Mapping[str, Any]]) -> list[Column]:
    why = [run["why"] for run in runs]
    return [
        Column("run", [run["label"] for run in runs], good=40, least=12, ends=True),
        _states(runs),
        Column("stages", [f"{run['stages_done']} of {run['stages']}" for run in runs], dropped=2, right=True),
        Column("scores", [f"{run['scores_done']} of {run['scores']}" for run in runs], dropped=1, right=True),
        *([Column("why", why, good=24, least=8, dropped=3)] if any(why) else []),
    ]


def stages_table(stages: list[Mapping[str, Any]], title: str, width: int) -> Table:
    """A row for each stage; of the columns those that hold anything and that the terminal has room for."""
    return table([column for column in _stage_columns(stages) if any(column.cells)], title, width)


def _stage_columns(stages: list[Mapping[str, Any]]) -> list[Column]:
    hours = any(stage["gpu_hours"] for stage in stages)
    left = ["" if stage["seconds_left"] is None else duration(stage["seconds_left"]) for stage in stages]
    loss = ["" if stage["loss"] is None else f"{stage['loss']:.3f}" for stage in stages]
    used, lost = (
        [f"{stage[key]:,.2f}" if hours else "" for stage in stages] for key in ("gpu_hours", "gpu_hours_lost")
    )
    steps = [f"{stage['step']:,} of {stage['steps']:,}" for stage in stages]
    return [
        Column("id", [stage["id"] for stage in stages], good=12, least=6),
        Column("stage", [stage["label"] for stage in stages], good=26, least=12, ends=True),
        _states(stages),
        Column("step", steps, dropped=1, right=True),
        Column("loss", loss, dropped=4, right=True),
        Column("left", left, dropped=2, right=True),
        Column("runs", [str(len(stage["runs"])) for stage in stages], dropped=7, right=True),
        Column("job", [stage["job"] for stage in stages], dropped=3),
        Column("GPU-h", used, dropped=6, right=True),
        Column("lost", lost, dropped=8, right=True),
        Column("why", [stage["why"] for stage in stages], good=24, least=8, dropped=5),
    ]


def _states(rows: list[Mapping[str, Any]]) -> Column:
    states = [row["state"] for row in rows]
    return Column("state", states, [STATE_COLORS.get(state, "default") for state in states])


def reason_lines(rows: list[Mapping[str, Any]], shown: Table) -> list[str]:
    """The whole reasons of what failed, where the table had no room for them."""
    cells = {str(cell) for column in shown.columns for cell in column.cells}
    return [
        f"{escape(row['label'])} ({row['id']}): {_colored_state(row)} {escape(row['why'])}"
        for row in rows
        if row["state"] in BAD and row["why"] not in cells
    ]


def summary(status: Mapping[str, Any]) -> list[str]:
    """What is done of all, and what it has cost."""
    stages, scores, totals = status["stages"], status["scores"], status["totals"]
    done = sum(stage["state"] == "done" for stage in stages)
    parts = [f"{done} of {len(stages)} stages", f"{scores['done']} of {scores['total']} scores"]
    if status["analyses"]["total"]:
        parts.append(f"{status['analyses']['done']} of {status['analyses']['total']} analyses")
    lines = [f"{', '.join(parts[:-1])} and {parts[-1]} are done"]
    if totals.get("scores_to_judge"):
        lines.append(f"{totals['scores_to_judge']} wait for a judge alone: sft-sweeps judge {status['sweep']}")
    others = [f"{count} {state}" for state, count in sorted(totals["states"].items()) if state != "done"]
    if others:
        lines.append(f"the other stages: {', '.join(others)}")
    if totals["gpu_hours"]:
        lines.append(
            f"{totals['gpu_hours']:,.1f} GPU-hours spent on its stages, {totals['gpu_hours_lost']:,.1f} of them lost "
            f"to requeues; the plan estimates {totals['gpu_hours_estimated']:,.1f} for everything"
        )
    if status.get("mirror"):
        again = f"when that is mended: sft-sweeps sync {status['sweep']}"
        lines.append(f"not all scores are shown at {status['mirror']}; {again}")
    return lines + mirrors.lines({stage["label"]: stage.get("mirror", "") for stage in stages})


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


def _urgent_first(stages: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    order = {state: n for n, state in enumerate(URGENT)}
    return sorted(stages, key=lambda stage: order.get(stage["state"], len(order)))


def _screen(status: Mapping[str, Any], out: Console) -> Group:
    """The rows that matter most, and how many more there are."""
    rows = _urgent_first(status["stages"])
    shown = rows[: max(out.size.height - FRAME, 3)]
    made = stages_table(shown, f"sweep {status['sweep']}, {time.strftime('%H:%M:%S')}", out.width)
    left = [f"... and {len(rows) - len(shown)} more stages"] if len(rows) > len(shown) else []
    jobs = other_lines(status["jobs"])
    lines = [*left, *jobs[-OTHERS:], *map(escape, summary(status))]
    return Group(made, *(Text.from_markup(line, overflow="ellipsis") for line in lines))
