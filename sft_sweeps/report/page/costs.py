"""What was planned and what it took: GPU-hours by model, and what sharing stages saves."""

from collections.abc import Mapping, Sequence
from typing import Any

from sft_sweeps.plan import cost
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.spec.training import Stage
from sft_sweeps.terminal import counted, duration

HEADER = ("model", "stages done", "GPU-hours planned", "of those done", "they took", "time of their training")


def rows(sweep: Evidence) -> list[tuple[str, ...]]:
    """A row for each model that trains."""
    found: list[tuple[str, ...]] = []
    for model in sweep.plan.models:
        stages = [stage for stage in sweep.plan.stages if stage.model.id == model.id]
        done = [stage for stage in stages if sweep.survey.states[stage.id].trained]
        if not stages:
            continue
        records = [sweep.survey.records.get(stage.id, {}) for stage in done]
        seconds = sum(_number(record, "seconds") for record in records)
        planned, of_done = sum(map(cost.gpu_hours, stages)), sum(map(cost.gpu_hours, done))
        taken = sum(map(gpu_hours, done, records))
        hours = (f"{planned:,.1f}", f"{of_done:,.1f}", f"{taken:,.1f}") if planned else ("no GPU", "-", "-")
        found.append((model.name, f"{len(done)} of {len(stages)}", *hours, duration(seconds) if done else "-"))
    return found


def sharing(sweep: Evidence) -> str:
    """What sharing stages saves, in a sentence."""
    plan = sweep.plan
    if not plan.stages:
        return "Nothing is trained."
    hours = sum(map(cost.gpu_hours, plan.stages))
    saved = f": {hours:,.1f} GPU-hours instead of {plan.gpu_hours_naive:,.1f}" if hours else ""
    alone = counted(plan.stages_naive, "stage")
    return f"{counted(len(plan.runs), 'run')} need {len(plan.stages)} stages; each alone would train {alone}{saved}."


def gpu_hours(stage: Stage, record: Mapping[str, Any]) -> float:
    """What a finished stage took of GPUs; 0 where its model needs none."""
    if not stage.model.gpus:
        return 0.0
    execution = record.get("execution", {})
    processes = _number(execution, "processes") if isinstance(execution, Mapping) else 0.0
    return _number(record, "seconds") * processes / 3600


def _number(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def command(points: Sequence[str]) -> list[str]:
    """The overrides that launch these points: one line where they are a study or the product of their values."""
    words = [dict(word.partition("=")[::2] for word in point.split()) for point in points]
    if not words:
        return []
    studies = {point.get("study") for point in words}
    if len(studies) == 1 and None not in studies:
        return [_of_a_study(words)]
    values: dict[str, dict[str, None]] = {}
    for point in words:
        for key, value in point.items():
            values.setdefault(key, {})[value] = None
    size = 1
    for of in values.values():
        size *= len(of)
    if size == len({tuple(sorted(point.items())) for point in words}) and all(p.keys() == values.keys() for p in words):
        return [" ".join(f"{key}={','.join(of)}" for key, of in values.items())]
    return list(points)


def _of_a_study(points: Sequence[Mapping[str, str]]) -> str:
    """The study with every key that all of its points have, over the values that they have of it.

    That is exact: a command line keeps, of a study's lines, those that have all of its keys, and of these the values
    that it names (config/grid.py). A key that some points lack was in no command line.
    """
    keys = [key for key in points[0] if all(key in point for point in points)]
    return " ".join(f"{key}={','.join(dict.fromkeys(point[key] for point in points))}" for key in keys)
