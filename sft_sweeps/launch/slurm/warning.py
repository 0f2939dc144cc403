"""How long before its end a job is warned: twice what saving its resume state takes, and at least the configured time.

What saving took is known from the stage's own resume states, or else from finished stages of the same model; until
something was measured it is estimated from the state's size.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.spec import Stage
from sft_sweeps.store.resume_states import save_seconds
from sft_sweeps.store.store import RecordError, Store


def warnings(jobs: Sequence[Job], plan: Plan, states: Mapping[str, State], store: Store, least: int) -> dict[str, int]:
    """Seconds of warning for each training job, by its id."""
    measured = _measured(plan, states, store)
    found = {}
    for job in jobs:
        if job.kind == "train" and isinstance(job.subject, Stage):
            own = save_seconds(store.folder(job.subject))
            takes = own or measured.get(job.subject.model.id, 0.0) or cost.save_seconds(job.subject.model.shape)
            found[job.id] = max(least, math.ceil(2 * takes))
    return found


def _measured(plan: Plan, states: Mapping[str, State], store: Store) -> dict[str, float]:
    """The longest save of finished stages, by model."""
    found: dict[str, float] = {}
    for stage in plan.stages:
        record: dict[str, Any] | None = None
        if states[stage.id].state == "done":
            with contextlib.suppress(RecordError):
                record = store.record(stage)
        takes = float((record or {}).get("save_seconds", 0.0))
        found[stage.model.id] = max(found.get(stage.model.id, 0.0), takes)
    return found
