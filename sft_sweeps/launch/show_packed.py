"""`action=plan plan.gpus=N`: the packed sweep on a terminal of 80 columns, and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.errors import visible
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.packed import Packed
from sft_sweeps.plan.build import Plan, Subject
from sft_sweeps.plan.schedule import Placed, Schedule, busy
from sft_sweeps.terminal import BARS, FIRST, LONG, counted, say

BAR, NAME = 33, 21  # columns
POINTS = 6  # of the front
UNMEASURED = (
    "times are estimates: 40 % of peak, the fullest GPU's tokens, and an exchange between GPUs of which nothing was "
    "measured (docs/speed.md, Packing)"
)


def show(packed: Packed, jobs: Sequence[Job], plan: Plan, out: Console) -> None:
    """What it takes, how near to the bounds, the other choices, and a row of time for each model."""
    for line in (*summary(packed), *choices(packed), *corrections(packed), UNMEASURED):
        say(out, escape(line))
    rows = list(_rows(packed.shown, jobs, plan))
    shown = rows[:FIRST] if out.is_terminal and len(rows) > LONG else rows
    end = f"{packed.shown.hours:,.0f} h"
    lines = [
        f"{'':>3} {'█ trains, ░ answers':<{NAME}} {'GPUs':>4} {'from':>6} {'to':>6} |0{end:>{BAR - 1}}|",
        *shown,
        _at_work(packed),
    ]
    if len(shown) < len(rows):
        lines.append(
            f"... and {len(rows) - len(shown):,} more; all of them are in the file that plan.output=FILE names"
        )
    out.file.write(visible("\n".join(lines)) + "\n")


def summary(packed: Packed) -> list[str]:
    """The schedule's figures beside what none can be below, and beside what is configured."""
    made, schedule = packed.packing, packed.shown
    machine, now = made.machine, made.configured
    within = "" if packed.deadline is None else f", within {_hours(packed.deadline)}"
    within = ", the shortest that was found" if packed.refusal else within
    share = schedule.gpu_hours / (machine.gpus * schedule.hours) if schedule.hours else 0.0
    lines = [
        f"packed into {counted(machine.gpus, 'GPU')} ({counted(len(machine.nodes), 'node')}){within}: "
        f"{_hours(schedule.hours)}, {schedule.gpu_hours:,.0f} GPU-hours, {share:.0%} of the GPUs at work",
        f"no schedule takes less than {_hours(made.least_hours)} (longest chain {_hours(made.longest_chain)}, all work "
        f"over all GPUs {_hours(made.least_gpu_hours / machine.gpus)}), nor than {made.least_gpu_hours:,.0f} GPU-hours",
    ]
    if now:
        lines.append(f"each stage on its model.gpus: {_hours(now.hours)}, {now.gpu_hours:,.0f} GPU-hours")
    else:
        lines.append("each stage on its model.gpus: not possible on these GPUs")
    return lines


def choices(packed: Packed) -> list[str]:
    """Other schedules of the front, evenly spread over it."""
    front = packed.packing.front
    places = sorted({round(n * (len(front) - 1) / (POINTS - 1)) for n in range(POINTS)})
    told = "; ".join(f"{_hours(front[p].hours)} {front[p].gpu_hours:,.0f}" for p in places)
    return [f"GPU-hours by plan.deadline: {told}"] if len(front) > 1 else []


def corrections(packed: Packed) -> list[str]:
    """What finished stages say of the estimates."""
    return [
        f"{name}: {counted(count, 'finished stage')} took {factor:.2f} times the estimate, which is corrected by it"
        for name, (factor, count) in packed.corrections.items()
    ]


def _rows(schedule: Schedule, jobs: Sequence[Job], plan: Plan) -> list[str]:
    """A model each, in the order in which they start: its number among the stages, its GPUs, hours, and a bar."""
    number = {stage.id: str(n) for n, stage in enumerate(plan.stages, 1)}
    by_job = {job.id: job for job in jobs}
    subjects: dict[str, tuple[Subject, list[Placed]]] = {}
    for one in schedule.placed:
        subject = by_job[one.task].subject
        subjects.setdefault(subject.id, (subject, []))[1].append(one)
    return [_row(number.get(key, ""), *found, schedule.hours, by_job) for key, found in subjects.items()]


def _row(number: str, subject: Subject, placed: Sequence[Placed], hours: float, by_job: dict[str, Job]) -> str:
    bar = [" "] * BAR
    for one in placed:
        first = min(BAR - 1, int(one.start / hours * BAR))
        for column in range(first, max(first + 1, round(one.end / hours * BAR))):
            mark = "█" if by_job[one.task].stage else "░"
            bar[column] = mark if bar[column] != "█" else "█"
    label = subject.label if len(subject.label) <= NAME else f"{subject.label[: NAME - 9]}~{subject.label[-8:]}"
    gpus = max(one.gpus for one in placed)
    start, end = placed[0].start, max(one.end for one in placed)
    return f"{number:>3} {label:<{NAME}} {gpus:>4} {start:>6,.1f} {end:>6,.1f} |{''.join(bar)}|"


def _at_work(packed: Packed) -> str:
    """The share of the GPUs at work over time."""
    schedule, most = packed.shown, packed.packing.machine.gpus
    steps, columns = list(busy(schedule)), []
    for column in range(BAR):
        first, last = (schedule.hours * edge / BAR for edge in (column, column + 1))
        area = 0.0
        for (start, count), (end, _) in zip(steps, [*steps[1:], (schedule.hours, 0)], strict=True):
            area += count * max(0.0, min(end, last) - max(start, first))
        share = area / ((last - first) * most) if last > first else 0.0
        columns.append(BARS[min(len(BARS) - 1, int(share * len(BARS)))])
    return f"{'':>3} {'GPUs at work':<{NAME}} {most:>4} {'':>6} {'':>6} |{''.join(columns)}|"


def _hours(value: float) -> str:
    return f"{value:,.1f} h" if value < 100 else f"{value:,.0f} h"


def to_json(packed: Packed, jobs: Sequence[Job]) -> dict[str, Any]:
    """What scripts read."""
    made, by_job = packed.packing, {job.id: job for job in jobs}
    return {
        "gpus": made.machine.gpus,
        "deadline_hours": packed.deadline,
        "kept": packed.chosen is not None,
        "hours": round(packed.shown.hours, 3),
        "gpu_hours": round(packed.shown.gpu_hours, 3),
        "least_hours": round(made.least_hours, 3),
        "longest_chain_hours": round(made.longest_chain, 3),
        "least_gpu_hours": round(made.least_gpu_hours, 3),
        "configured": made.configured
        and {"hours": round(made.configured.hours, 3), "gpu_hours": round(made.configured.gpu_hours, 3)},
        "front": [{"hours": round(one.hours, 3), "gpu_hours": round(one.gpu_hours, 3)} for one in made.front],
        "jobs": [
            {
                "job": one.task,
                "kind": by_job[one.task].kind,
                "subject": by_job[one.task].subject.id,
                "gpus": one.gpus,
                "nodes": list(one.nodes),
                "start": round(one.start, 3),
                "end": round(one.end, 3),
            }
            for one in packed.shown.placed
        ],
        "refusal": packed.refusal,
    }
