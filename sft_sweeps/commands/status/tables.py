"""The tables of `sft-sweeps status`: every run and stage, what runs, what failed, and how far all of it is."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sft_sweeps.commands import fit
from sft_sweeps.commands.fit import Column
from sft_sweeps.commands.status.parts import (
    BROKEN,
    STATE_COLORS,
    at_work,
    failed,
    failure_lines,
    notes,
    running_table,
    urgent_first,
)
from sft_sweeps.plan.build import TRAINED
from sft_sweeps.terminal import duration, say

FAILURES, RUNNING = 10, 40  # that are told of


def show(status: Mapping[str, Any], out: Console) -> None:
    """The status as tables and a summary."""
    fit.show(_run_columns(status["runs"]), "runs", out)
    title, stages = f"sweep {status['sweep']}", status["stages"]
    if not fit.show_lines(_stage_columns(urgent_first(stages) if out.is_terminal else stages), title, out):
        table = stages_table(stages, title, out.width)
        out.print(table)
        for line in reason_lines(stages, table):
            say(out, line)
    if running := at_work(status):
        out.print(running_table(running[:RUNNING], out.width))
    for line in _failures(status, out.width if out.is_terminal else None):
        out.print(line, no_wrap=True, overflow="ellipsis" if out.is_terminal else "ignore", crop=out.is_terminal)
    for line in (*other_lines(status["jobs"]), *map(escape, summary(status))):
        say(out, line)


def _failures(status: Mapping[str, Any], width: int | None) -> list[str]:
    """What failed with the end of its log and what to type, in rich's markup."""
    broken = failed(status)
    lines = [line for row in broken[:FAILURES] for line in failure_lines(row, width)]
    more = len(broken) - FAILURES
    return lines + ([f"... and {more:,} more failed; {fit.MORE}"] if more > 0 else [])


def other_lines(jobs: list[Mapping[str, Any]]) -> list[str]:
    """How many jobs that train nothing are in each state, of those that neither run nor failed."""
    counts = Counter((job["kind"], job["state"]) for job in jobs if job["state"] not in (*BROKEN, "running"))
    parts = (f"{n} to {kind} {state}" for (kind, state), n in sorted(counts.items()))
    return [f"other jobs: {', '.join(parts)}"] if counts else []


def _run_columns(runs: list[Mapping[str, Any]]) -> list[Column]:
    """A row for each run; its reason is left out first, for the stage's row has it too."""
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
    return fit.table([column for column in _stage_columns(stages) if any(column.cells)], title, width)


def _stage_columns(stages: list[Mapping[str, Any]]) -> list[Column]:
    hours = any(stage["gpu_hours"] for stage in stages)
    left = ["" if stage["seconds_left"] is None else duration(stage["seconds_left"]) for stage in stages]
    loss = ["" if stage["loss"] is None else f"{stage['loss']:.3f}" for stage in stages]
    used, lost = (
        [f"{stage[key]:,.2f}" if hours else "" for stage in stages] for key in ("gpu_hours", "gpu_hours_lost")
    )
    steps = [f"{stage['step']:,} of {stage['steps']:,}" for stage in stages]
    heldout = [" ".join(f"{name} {value:.3f}" for name, value in stage["heldout_loss"].items()) for stage in stages]
    return [
        Column("id", [stage["id"] for stage in stages], good=12, least=6),
        Column("stage", [stage["label"] for stage in stages], good=26, least=12, ends=True),
        _states(stages),
        Column("step", steps, dropped=1, right=True),
        Column("loss", loss, dropped=4, right=True),
        Column("held out", heldout, good=24, least=8, dropped=9),
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
    """The whole reasons of what was cancelled, where the table had no room for them; in rich's markup."""
    cells = {str(cell) for column in shown.columns for cell in column.cells}
    return [
        f"{escape(row['label'])} ({row['id']}): [red]cancelled[/] {escape(row['why'])}"
        for row in rows
        if row["state"] == "cancelled" and row["why"] not in cells
    ]


def summary(status: Mapping[str, Any]) -> list[str]:
    """What is done of all, and what it has cost."""
    stages, scores, totals = status["stages"], status["scores"], status["totals"]
    done = sum(stage["state"] in TRAINED for stage in stages)
    parts = [f"{done} of {len(stages)} stages", f"{scores['done']} of {scores['total']} scores"]
    if status["analyses"]["total"]:
        parts.append(f"{status['analyses']['done']} of {status['analyses']['total']} analyses")
    lines = [f"{', '.join(parts[:-1])} and {parts[-1]} are done"]
    if gone := totals["states"].get("weights gone", 0):
        lines.append(f"the weights of {gone} of them are gone")
    others = [f"{count} {state}" for state, count in sorted(totals["states"].items()) if state not in TRAINED]
    if others:
        lines.append(f"the other stages: {', '.join(others)}")
    if totals["gpu_hours"]:
        lines.append(
            f"{totals['gpu_hours']:,.1f} GPU-hours spent on its stages, {totals['gpu_hours_lost']:,.1f} of them lost "
            f"to requeues; the plan estimates {totals['gpu_hours_estimated']:,.1f} for everything"
        )
    if totals["trained"] < 1 and totals["seconds_left"] is not None:
        left = f"about {duration(totals['seconds_left'])} at this pace"
        lines.append(f"{totals['trained']:.0%} of the training is done, the rest takes {left}")
    return lines + notes(status)
