"""How long before its end a job is warned: twice what saving its resume state takes, and at least the configured time.

What saving took is known from the stage's own resume states, or else from finished stages of the same model; until
something was measured it is estimated from the state's size.
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import cost
from sft_sweeps.store.resume_states import save_seconds
from sft_sweeps.store.store import RecordError
from sft_sweeps.store.survey import Survey


def warnings(jobs: Sequence[Job], survey: Survey, least: int) -> dict[str, int]:
    """Seconds of warning for each training job, by its id."""
    measured = _measured(survey)
    found = {}
    for job in jobs:
        if job.stage:
            own, model = save_seconds(survey.store.folder(job.stage)), job.stage.model
            takes = own or measured.get(model.id, 0.0) or cost.save_seconds(model.shape)
            found[job.id] = max(least, math.ceil(2 * takes))
    return found


def _measured(survey: Survey) -> dict[str, float]:
    """The longest save of finished stages, by model."""
    found: dict[str, float] = {}
    for stage in survey.plan.stages:
        record: dict[str, Any] | None = None
        if survey.states[stage.id].state == "done":
            with contextlib.suppress(RecordError):
                record = survey.store.record(stage)
        takes = float((record or {}).get("save_seconds", 0.0))
        found[stage.model.id] = max(found.get(stage.model.id, 0.0), takes)
    return found
