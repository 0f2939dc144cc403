"""What `sft-sweeps status --json` says, without a sweep: rows of stages and jobs, and the whole of them."""

from collections import Counter
from typing import Any

Row = dict[str, Any]
NOTHING_FAILED = {"log": "", "log_tail": [], "hint": ""}


def stage(n: int, state: str, **fields: Any) -> Row:
    """One that has done nothing."""
    made = {"id": f"{n:012x}", "label": "a", "mixture": "", "state": state, "why": "", "step": 0, "steps": 9}
    made |= {
        "loss": None,
        "heldout_loss": {},
        "curve": [],
        "tokens_per_second": None,
        "seconds_left": None,
        "folder": "",
        "mirror": "",
    }
    made |= {"runs": [], "job": "", "reason": "", "starts": 0, "gpu_hours": 0.0, "gpu_hours_lost": 0.0}
    return {**made, "gpu_hours_estimated": 0.0, **NOTHING_FAILED, **fields}


def job(kind: str, subject: int, state: str, **fields: Any) -> Row:
    """One that trains nothing."""
    key = f"{subject:012x}"
    made = {"id": f"{kind}-{key}", "kind": kind, "subject": key, "label": "a", "state": state, "why": ""}
    return {**made, "job": "", "reason": "", "progress": None, **NOTHING_FAILED, **fields}


def whole(stages: list[Row], jobs: list[Row] | None = None, **totals: Any) -> Row:
    """A sweep of such stages and jobs, without scores."""
    used, lost, planned = (sum(row[key] for row in stages) for key in HOURS)
    states = dict(Counter(row["state"] for row in stages))
    made = {"states": states, "runs": 0, "scores_to_judge": 0, "runs_scored": 0, "trained": 0.5, "seconds_left": None}
    made |= dict(zip(HOURS, (used, lost, planned), strict=True))
    nothing = {"done": 0, "total": 0}
    sweep = {
        "schema": 1,
        "sweep": "20261129-050111-mine-565f87",
        "store": "multirun_outputs",
        "time": "2026-11-29T05:12:31+0000",
        "runs": [],
    }
    counts = {"scores": nothing, "analyses": nothing}
    return {**sweep, "stages": stages, "jobs": jobs or [], **counts, "totals": {**made, **totals}}


HOURS = ("gpu_hours", "gpu_hours_lost", "gpu_hours_estimated")
