"""What stands behind each point: a run's configuration, its neighbours, its losses, cost and sample answers."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Run
from sft_sweeps.report.messages import without_folders
from sft_sweeps.report.page import text
from sft_sweeps.report.page.answers import Sample, sample
from sft_sweeps.report.page.charts import ALL_LOSS_POINTS, LOSS_POINTS
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.report.page.nearest import Setting, differences, nearest
from sft_sweeps.report.replicates import seed_of
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.sweeps import portable
from sft_sweeps.terminal import LAUNCH, duration
from sft_sweeps.tracking import metrics

NEIGHBOURS = 4
FEW_DIFFERENCES = 3  # beyond which runs are no neighbours
ANSWERS = (2, 12)  # of one benchmark of one run, at least and at most
ALL_ANSWERS = 700  # of a page, about 1 MB


@dataclass(frozen=True)
class StageView:
    """A stage as a run's details show it."""

    id: str
    label: str
    mixture: str
    steps: int
    state: str
    why: str
    loss: str
    heldout: str
    planned: str
    took: str
    folder: str
    shared: int


@dataclass(frozen=True)
class Neighbour:
    """Another run, how few fields differ, and by how much its scores do."""

    run: str
    label: str
    differs: tuple[str, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """The losses of a stage at some of its steps."""

    label: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class RunView:
    """Everything that a run's details show; `losses` are its stages with a curve (`curves`), and their steps."""

    id: str
    label: str
    sweep: str
    command: str
    scores: tuple[tuple[str, str], ...]
    configuration: tuple[tuple[str, str], ...]
    stages: tuple[StageView, ...]
    neighbours: tuple[Neighbour, ...]
    answers: tuple[Sample, ...]
    losses: tuple[tuple[str, int], ...]


def views(sweep: Evidence, drawn: Mapping[str, Curve], others: int = 0) -> list[RunView]:
    """Of every run of a sweep, whose stages' curves are `drawn`.

    `others` are runs of the page's other sweeps, which share the room for answers.
    """
    scores = _by_subject(sweep)
    most = answers_each(len(sweep.plan.runs) + others, len(sweep.results.benchmarks))
    settings = {run.id: setting(run) for run in sweep.plan.runs}
    values = {row.run.id: row.scores for row in sweep.results.rows}
    neighbours = _neighbours(sweep, settings, values)
    return [
        RunView(
            id=run.id,
            label=run.label,
            sweep=sweep.name,
            command=f"{LAUNCH} {portable(run.points[0])}" if run.points else "",
            scores=tuple((text.title(name), scored.text()) for name, scored in values[run.id].items()),
            configuration=tuple(settings[run.id].items()),
            stages=tuple(_stage(sweep, stage, drawn.get(stage.id)) for stage in run.stages),
            neighbours=neighbours[run.id],
            answers=tuple(found for score in scores.get(run.id, ()) if (found := sample(score, sweep.scores, most))),
            losses=tuple((stage.id, stage.steps) for stage in run.stages) if _any_drawn(run, drawn) else (),
        )
        for run in sweep.plan.runs
    ]


def answers_each(runs: int, benchmarks: int) -> int:
    """How many answers of each benchmark of each run a page has room for."""
    least, most = ANSWERS
    return min(most, max(least, ALL_ANSWERS // max(1, runs * benchmarks)))


def _by_subject(sweep: Evidence) -> dict[str, list[Score]]:
    by_subject: dict[str, list[Score]] = {}
    for score in sweep.plan.scores:
        by_subject.setdefault(score.generation.subject.id, []).append(score)
    return by_subject


def setting(run: Run) -> dict[str, str]:
    """Every field in which runs of a sweep can differ, by the name that people know."""
    found = {"model": run.model.name, "strategy": run.strategy if run.stages else "base"}
    if run.k is not None:
        found["k"] = str(run.k)
    if run.stages:
        found["train.seed"] = str(seed_of(run))
    for stage in run.stages:
        for c in stage.mixture.components:
            found.setdefault(f"fraction of {c.source.name}", str(c.fraction))
            found.setdefault("data.seed", str(c.seed))
            shown = {"limit": (c.limit, None), "repeat": (c.repeat, 1), "weight": (c.weight, 1)}
            found |= {f"{name} of {c.source.name}": str(own) for name, (own, usual) in shown.items() if own != usual}
    recipe = run.stages[-1].recipe if run.stages else None
    names = [field.name for field in fields(recipe) if field.name != "seed"] if recipe else []
    return found | {f"train.{name}": str(getattr(recipe, name)) for name in names}


def _neighbours(
    sweep: Evidence, settings: Mapping[str, Setting], values: Mapping[str, Mapping[str, Scored]]
) -> dict[str, tuple[Neighbour, ...]]:
    """Of each run those that differ from it in the fewest fields."""
    runs = sweep.plan.runs
    found = {}
    for run, places in zip(runs, nearest([settings[run.id] for run in runs], NEIGHBOURS), strict=True):
        others = [(runs[place], differences(settings[run.id], settings[runs[place].id])) for place in places]
        few = max(FEW_DIFFERENCES, len(others[0][1])) if others else 0
        found[run.id] = tuple(
            Neighbour(
                other.id, other.label, tuple(changed), tuple(_score_differences(values[run.id], values[other.id]))
            )
            for other, changed in others
            if len(changed) <= few
        )
    return found


def _score_differences(ours: Mapping[str, Scored], theirs: Mapping[str, Scored]) -> Iterator[str]:
    for name, scored in ours.items():
        if name in theirs and scored.n == theirs[name].n:
            apart = text.signed(scored, scored.value - theirs[name].value)
            yield f"{text.title(name)} {apart}{text.unit(scored.share)}"


def _stage(sweep: Evidence, stage: Stage, curve: Curve | None) -> StageView:
    state, record = sweep.survey.states[stage.id], sweep.survey.records.get(stage.id, {})
    hours = cost.gpu_hours(stage)
    return StageView(
        id=stage.id,
        label=sweep.plan.labels[stage.id],
        mixture=", ".join(f"{c.source.name} {c.fraction} ({c.examples:,})" for c in stage.mixture.components),
        steps=stage.steps,
        state="done" if state.trained else state.state,  # where its weights are now is nothing that came out
        why="" if state.trained else without_folders(state.why, sweep.survey.store),
        loss=f"{curve.losses[-1]:.3f}" if curve else "",
        heldout=", ".join(f"{name} {value:.3f}" for name, value in heldout_loss(record).items()),
        planned=f"{hours:,.1f} GPU-hours" if hours else "no GPU",
        took=took(record),
        folder=f"stages/{sweep.survey.store.folder(stage).name}",
        shared=len(sweep.plan.runs_through(stage)),
    )


def heldout_loss(record: Mapping[str, Any]) -> dict[str, float]:
    """By source, after a stage's last step; empty where none was taken, or the record has no such numbers."""
    losses: dict[str, float] = metrics.whole(record.get("last")).get(metrics.HELDOUT_LOSS, {})
    return losses


def took(record: Mapping[str, Any]) -> str:
    """How long a stage took, by its record."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return duration(float(record["seconds"]))
    return ""


def curves(sweep: Evidence) -> dict[str, Curve]:
    """Of every stage that has losses, each once however many runs share it."""
    points = max(LOSS_POINTS // 5, min(LOSS_POINTS, ALL_LOSS_POINTS // (len(sweep.plan.stages) or 1)))
    found = ((stage, _losses(sweep, stage, points)) for stage in sweep.plan.stages)
    return {stage.id: Curve(stage.label, *zip(*of, strict=True)) for stage, of in found if of}


def _any_drawn(run: Run, drawn: Mapping[str, Curve]) -> bool:
    return any(stage.id in drawn for stage in run.stages)


def _losses(sweep: Evidence, stage: Stage, points: int) -> list[tuple[int, float]]:
    """Steps and losses of a stage, where it lies; of many steps the means of as many groups as a curve has points."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        rows = metrics.read(sweep.survey.store.read_folder(stage))
        curve = [(int(row["step"]), float(row["loss"])) for row in rows if row.get("loss") is not None]
        return _thinned(curve, points)
    return []


def _thinned(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    size = -(-len(points) // most) or 1
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(group[-1][0], round(sum(loss for _, loss in group) / len(group), 4)) for group in groups]
