"""How far a sweep is: every stage and score of its frozen plan, from the store alone."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sft_sweeps import tracking
from sft_sweeps.plan import Plan, State
from sft_sweeps.show import COLORS, mixture_text
from sft_sweeps.spec import Stage
from sft_sweeps.store import Store, survey


def status(plan: Plan, store: Store, sweep: str) -> dict[str, Any]:
    """The state of every stage and how many scores there are, as JSON can hold it."""
    states = survey(plan, store)
    return {
        "sweep": sweep,
        "stages": [_stage(plan, stage, store, states) for stage in plan.stages],
        "scores": {
            "done": sum(states[score.id].state == "done" for score in plan.scores),
            "total": len(plan.scores),
        },
    }


def _stage(plan: Plan, stage: Stage, store: Store, states: Mapping[str, State]) -> dict[str, Any]:
    state = states[stage.id]
    folder = store.folder(stage)
    metrics = tracking.last(folder)
    seconds = tracking.seconds_left(metrics) if state.state == "running" else None
    return {
        "id": stage.id,
        "label": stage.label,
        "mixture": mixture_text(stage),
        "state": state.state,
        "why": state.why,
        "step": metrics.get("step", 0),
        "steps": metrics.get("steps", stage.steps),
        "loss": metrics.get("loss"),
        "seconds_left": seconds,
        "folder": str(folder),
        "runs": plan.runs_of(stage),
    }


def show(found: Mapping[str, Any], out: Console) -> None:
    """The status as a table."""
    table = Table(title=escape(f"sweep {found['sweep']}"), title_justify="left")
    for name in ("id", "stage", "state", "step", "loss", "left", "runs", "why"):
        table.add_column(name, justify="right" if name in ("step", "loss", "left", "runs") else "left", overflow="fold")
    for stage in found["stages"]:
        color = COLORS.get(stage["state"], "default")
        loss = "" if stage["loss"] is None else f"{stage['loss']:.3f}"
        left = "" if stage["seconds_left"] is None else f"{stage['seconds_left']:,.0f} s"
        state = f"[{color}]{stage['state']}[/]"
        step = f"{stage['step']:,} of {stage['steps']:,}"
        label, why = escape(stage["label"]), escape(stage["why"])
        table.add_row(stage["id"], label, state, step, loss, left, str(len(stage["runs"])), why)
    out.print(table)
    done = sum(stage["state"] == "done" for stage in found["stages"])
    scores = found["scores"]
    out.print(f"{done} of {len(found['stages'])} stages and {scores['done']} of {scores['total']} scores are done")
