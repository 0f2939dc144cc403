"""How long before its end a job is warned: twice what saving its resume state takes, and at least the configured time.

What saving took is known from the stage's own resume states, or else from finished stages of the same model; until
something was measured it is estimated from the state's size.
"""

import math
from collections.abc import Sequence

from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import cost
from sft_sweeps.store.resume_states import save_seconds
from sft_sweeps.store.survey import Survey


def warning_seconds(jobs: Sequence[Job], survey: Survey, least: int) -> dict[str, int]:
    """Seconds of warning for each training job, at least `least`, by its id."""
    by_model = _measured(survey)
    seconds = {}
    for job in jobs:
        if job.stage:
            model, own = job.stage.model, save_seconds(survey.store.folder(job.stage))
            to_save = own or by_model.get(model.id, 0.0) or cost.save_seconds(model.shape, job.stage.recipe.adapter)
            seconds[job.id] = max(least, math.ceil(2 * to_save))
    return seconds


def _measured(survey: Survey) -> dict[str, float]:
    """Seconds that the longest save of a finished stage took, by its model's id; 0 where none is recorded."""
    longest: dict[str, float] = {}
    for stage in survey.plan.stages:
        seconds = float(survey.records.get(stage.id, {}).get("save_seconds", 0.0))
        longest[stage.model.id] = max(longest.get(stage.model.id, 0.0), seconds)
    return longest
