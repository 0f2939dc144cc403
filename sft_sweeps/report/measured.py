"""What finished stages really took, against what the plan assumes: MFU and GPU-hours by model."""

import statistics
from collections.abc import Iterator

from sft_sweeps.plan import cost
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.survey import Survey


def lines(survey: Survey) -> Iterator[str]:
    """For each model with finished stages that measured their MFU: what that makes of the rest."""
    states = survey.states
    by_model: dict[str, list[Stage]] = {}
    for stage in survey.plan.stages:
        by_model.setdefault(stage.model.id, []).append(stage)
    for model in survey.plan.models:
        stages = by_model.get(model.id, [])
        finished = [(stage, *measured) for stage in stages if (measured := _measured(stage, survey))]
        if not finished:
            continue
        mfu = statistics.median(share for _, share, _ in finished)
        planned, taken = sum(cost.gpu_hours(stage) for stage, _, _ in finished), sum(hours for *_, hours in finished)
        left = sum(cost.gpu_hours(stage) for stage in stages if states[stage.id].state != "done")
        yield (
            f"{model.name}: {len(finished)} finished stages took {taken:,.1f} GPU-hours (planned {planned:,.1f}), MFU "
            f"{mfu:.0%} (assumed {cost.ASSUMED_UTILIZATION:.0%}); at that rate the rest takes "
            f"{left * taken / planned if planned else 0.0:,.1f} GPU-hours (planned {left:,.1f})"
        )


def _measured(stage: Stage, survey: Survey) -> tuple[float, float] | None:
    """(MFU, GPU-hours) of a finished stage that measured it."""
    if stage.id not in survey.states or survey.states[stage.id].state != "done":
        return None
    try:
        record = survey.records[stage.id]
        return float(record["mfu"]), float(record["seconds"]) * int(record["execution"]["processes"]) / 3600
    except (KeyError, TypeError, ValueError):
        return None
