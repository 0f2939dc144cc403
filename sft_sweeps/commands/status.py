"""How far a sweep is: every run, stage and score of its frozen plan, from the store and Slurm's queue alone."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sft_sweeps.jobs import attempts
from sft_sweeps.jobs.attempts import Usage
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.status import ACTIVE, JobStatus, SweepStatus, sweep_status
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.plan.show import mixture_text
from sft_sweeps.spec import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import COLORS, say
from sft_sweeps.tracking import metrics as tracking

SHADES = {**COLORS, "scored": "green", "training": "cyan", "scoring": "cyan", "requeued": "yellow", "cancelled": "red"}
TRAINED = ("done", "weights gone")
RIGHT = ("step", "loss", "left", "runs", "GPU-h", "lost", "scores", "stages")


def status(plan: Plan, store: Store, sweep: str) -> dict[str, Any]:
    """The state of every run, stage and other job, as JSON can hold it; hours are GPU-hours."""
    look = sweep_status(plan, store, store.root / "sweeps" / sweep)
    stages = [_stage(plan, stage, store, look.jobs[f"train-{stage.id}"]) for stage in plan.stages]
    scores = _scores(plan, look)
    by_id = {stage["id"]: stage for stage in stages}
    runs = [_run(run, by_id, look, scores) for run in plan.runs]
    return {
        "sweep": sweep,
        "runs": runs,
        "stages": stages,
        "jobs": list(_other_jobs(plan, look)),
        "scores": {"done": sum(done for done, _ in scores.values()), "total": len(plan.scores)},
        "totals": {
            "states": dict(Counter(stage["state"] for stage in stages)),
            "runs": len(runs),
            "runs_scored": sum(run["state"] == "scored" for run in runs),
            "gpu_hours": round(sum(stage["gpu_hours"] for stage in stages), 3),
            "gpu_hours_lost": round(sum(stage["gpu_hours_lost"] for stage in stages), 3),
            "gpu_hours_estimated": round(sum(map(cost.gpu_hours, plan.stages)), 3),
        },
    }


def _stage(plan: Plan, stage: Stage, store: Store, standing: JobStatus) -> dict[str, Any]:
    folder = store.folder(stage)
    metrics = tracking.last(folder)
    running = standing.state == "running"
    used = attempts.usage(folder, running) if metrics or standing.job else Usage()
    return {
        "id": stage.id,
        "label": stage.label,
        "mixture": mixture_text(stage),
        "state": standing.state,
        "why": standing.why,
        "step": metrics.get("step", 0),
        "steps": metrics.get("steps", stage.steps),
        "loss": metrics.get("loss"),
        "seconds_left": tracking.seconds_left(metrics) if running else None,
        "folder": str(folder),
        "runs": plan.runs_of(stage),
        "job": standing.job,
        "reason": standing.reason,
        "starts": used.starts,
        "gpu_hours": round(used.gpu_hours, 3),
        "gpu_hours_lost": round(used.gpu_hours_lost, 3),
    }


def _scores(plan: Plan, look: SweepStatus) -> dict[str, tuple[int, int]]:
    """Done and wanted scores of each subject."""
    found: dict[str, tuple[int, int]] = {}
    for score in plan.scores:
        subject = score.generation.subject.id
        done, wanted = found.get(subject, (0, 0))
        found[subject] = (done + (look.states[score.id].state == "done"), wanted + 1)
    return found


def _run(
    run: Run, stages: Mapping[str, Mapping[str, Any]], look: SweepStatus, scores: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """A run is as far as its first stage that is not trained, or else as its scores."""
    chain = [stages[stage.id] for stage in run.stages]
    trained = sum(stage["state"] in TRAINED for stage in chain)
    done, wanted = scores.get(run.id, (0, 0))
    if chain and chain[-1]["state"] not in TRAINED:
        first = next(stage for stage in chain if stage["state"] not in TRAINED)
        state = "training" if first["state"] == "running" else first["state"]
        why = f"step {first['step']:,} of {first['steps']:,}" if state == "training" else first["why"]
    elif done == wanted:
        state, why = ("scored" if wanted else "done"), ""
    else:
        state, why = _scoring(run, look)
    return {
        "label": run.label,
        "id": run.id,
        "state": state,
        "why": why,
        "stages_done": trained,
        "stages": len(chain),
        "scores_done": done,
        "scores": wanted,
    }


def _scoring(run: Run, look: SweepStatus) -> tuple[str, str]:
    """What a run's scores wait for, all its stages being trained."""
    for kind in ("prepare", *(kind.name for kind in KINDS.values() if kind.evaluates)):
        found = look.jobs.get(f"{kind}-{run.id}", JobStatus("done"))
        if found.state != "done":
            return ("scoring" if found.state == "running" else found.state), f"{kind}: {found.why}"
    end = look.states[run.id]
    return (end.state, end.why) if end.state in ("running", "failed", "weights gone") else ("missing", "not scored yet")


def _other_jobs(plan: Plan, look: SweepStatus) -> Iterator[dict[str, Any]]:
    """Jobs but training that are not done; a base model that nobody asked for is not missed."""
    labels = {subject.id: subject.label for subject in plan.subjects}
    for job, found in look.jobs.items():
        kind, _, subject = job.partition("-")
        if kind != "train" and found.state != "done" and (found.job or found.state not in ("missing", "weights gone")):
            yield {
                "id": job,
                "kind": kind,
                "subject": subject,
                "label": labels[subject],
                "state": found.state,
                "why": found.why,
                "job": found.job,
                "reason": found.reason,
            }


def show(found: Mapping[str, Any], out: Console) -> None:
    """The status as tables and a summary."""
    out.print(runs_table(found["runs"]))
    out.print(stages_table(found["stages"], f"sweep {found['sweep']}"))
    for line in other_lines(found["jobs"]):
        say(out, line)
    for line in summary(found):
        say(out, line)


def other_lines(jobs: list[Mapping[str, Any]]) -> list[str]:
    """What failed, job by job, and how many others there are in each state; in rich's markup."""
    told = [job for job in jobs if job["state"] in ("failed", "corrupted")]
    counts = Counter((job["kind"], job["state"]) for job in jobs if job not in told)
    lines = [
        f"{job['kind']} {escape(job['label'])} ({job['subject']}): {_state(job)} {escape(job['why'])}" for job in told
    ]
    if counts:
        lines.append(
            "other jobs: " + ", ".join(f"{n} to {kind} {state}" for (kind, state), n in sorted(counts.items()))
        )
    return lines


def _state(one: Mapping[str, Any]) -> str:
    return f"[{SHADES.get(one['state'], 'default')}]{one['state']}[/]"


def runs_table(runs: list[Mapping[str, Any]]) -> Table:
    """A row for each run; its reason is one line, for the stage's row has it whole."""
    why = ["why"] if any(run["why"] for run in runs) else []
    table = _table("runs", "run", "state", "stages", "scores", *why)
    if why:
        table.columns[-1].no_wrap, table.columns[-1].overflow = True, "ellipsis"
    for run in runs:
        stages, scores = f"{run['stages_done']} of {run['stages']}", f"{run['scores_done']} of {run['scores']}"
        table.add_row(escape(run["label"]), _state(run), stages, scores, *([escape(run["why"])] if why else []))
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
            _state(stage),
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
        table.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    return table


def summary(found: Mapping[str, Any]) -> list[str]:
    """What is done of all, and what it has cost."""
    stages, scores, totals = found["stages"], found["scores"], found["totals"]
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
