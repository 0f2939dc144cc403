"""The plan as JSON, both ways: what scripts read, and what `status` and `report` make the plan of again."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import Any, TypeVar

from sft_sweeps.identity import plain, revive
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, Run, State, Subject, score_of
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.spec.evaluation import Generation, Representations, Score
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.stats import ASSUMED_DISCORDANT, ASSUMED_GRADE_SD, detectable, detectable_mean

Identified = TypeVar("Identified", Stage, Model, Merge, Generation, Score, Representations)


def to_json(plan: Plan, states: Mapping[str, State]) -> dict[str, Any]:
    """What scripts read, and (`spec`) what `from_json` makes the plan of again."""
    return {
        "runs": [_run_json(run) for run in plan.runs],
        "stages": [_stage_json(plan, stage, states) for stage in plan.stages],
        "merges": [_merge_json(plan, merge, states) for merge in plan.merges],
        "generations": [
            {"id": g.id, "subject": g.subject.id, "benchmark": g.benchmark.name, "engine": plain(g.engine)}
            for g in plan.generations
        ],
        "scores": [{"id": s.id, "generation": s.generation.id, "scorer": s.scorer} for s in plan.scores],
        "analyses": [_analysis_json(one, states) for one in plan.analyses],
        "totals": totals(plan, states),
        "detectable": {name: value for name, (_, value, _) in detectable_differences(plan).items()},
        "notes": list(plan.notes),
        "unscored": list(plan.unscored),
        "hypotheses": [asdict(one) for one in plan.hypotheses],
        "spec": _spec_json(plan),
    }


def totals(plan: Plan, states: Mapping[str, State]) -> dict[str, Any]:
    """The sums of a plan, which need nothing else of its JSON."""
    done = sum(stage.id in states and states[stage.id].state == "done" for stage in plan.stages)
    return {
        "runs": plan.rows,
        "distinct_runs": len(plan.runs),
        "stages_naive": plan.stages_naive,
        "stages": len(plan.stages),
        "stages_done": done,
        "stages_to_run": len(plan.stages) - done,
        "merges": len(plan.merges),
        "merges_done": sum(one.id in states and states[one.id].state == "done" for one in plan.merges),
        "gpu_hours_naive": round(plan.gpu_hours_naive, 2),
        "gpu_hours": round(sum(round(cost.gpu_hours(stage), 3) for stage in plan.stages), 2),
        "disk_gb": round(sum(map(cost.model_gb, plan.derived)), 3),
    }


def detectable_differences(plan: Plan) -> dict[str, tuple[int, float, bool]]:
    """By benchmark: its items, the smallest paired difference that they show, whether it is of shares (or of means).

    Assumed is what statistics.py says; results tell it for what was seen. Held-out losses have no such experience.
    """
    differences = {}
    for benchmark in dict.fromkeys(g.benchmark for g in plan.generations):
        if not benchmark.generates:
            continue
        judged = benchmark.judge is not None
        n = benchmark.examples
        least = detectable_mean(n, ASSUMED_GRADE_SD) if judged else detectable(n, ASSUMED_DISCORDANT)
        differences[benchmark.name] = (n, least, not judged)
    return differences


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "label": run.label,
        "model": run.model.name,
        "strategy": run.strategy,
        "k": None if run.k is None else str(run.k),
        "stages": [stage.id for stage in run.stages],
        "points": list(run.points),
        **({"merge": run.merge.id} if run.merge else {}),
    }


def _stage_json(plan: Plan, stage: Stage, states: Mapping[str, State]) -> dict[str, Any]:
    state = states.get(stage.id, State("missing", "new"))
    mixture = [
        {
            "ability": c.source.ability,
            "source": c.source.name,
            "fraction": str(c.fraction),
            "examples": c.examples,
            **({"repeat": c.repeat, "weight": str(c.weight)} if c.shown_otherwise else {}),
        }
        for c in stage.mixture.components
    ]
    return {
        "id": stage.id,
        "label": stage.label,
        "parent": stage.parent.id,
        "mixture": mixture,
        "model": stage.model.name,
        "steps": stage.steps,
        "gpus": stage.model.gpus,
        "gpu_hours": round(cost.gpu_hours(stage), 3),
        "state": state.state,
        "why": state.why,
        "runs": plan.runs_of(stage),
    }


def _merge_json(plan: Plan, merge: Merge, states: Mapping[str, State]) -> dict[str, Any]:
    state = states.get(merge.id, State("missing", "new"))
    return {
        "id": merge.id,
        "label": merge.label,
        "parents": [{"stage": stage.id, "weight": str(weight)} for stage, weight in merge.shares],
        "model": merge.model.name,
        "cpu_seconds": round(cost.merge_seconds(merge), 3),
        "state": state.state,
        "why": state.why,
        "runs": plan.runs_of(merge),
    }


def _analysis_json(one: Representations, states: Mapping[str, State]) -> dict[str, Any]:
    state = states.get(one.id, State("missing", "new"))
    return {
        "id": one.id,
        "kind": "representations",
        "label": one.label,
        "subject": one.subject.id,
        "source": one.queries.source.name,
        "queries": one.queries.examples,
        "layer": one.layer,
        "pooling": one.pooling,
        "gpu_hours": round(cost.representation_gpu_hours(one), 4),
        "state": state.state,
        "why": state.why,
    }


def _spec_json(plan: Plan) -> dict[str, Any]:
    """Each value once; stages name their parents by id. Payloads are kept, with the versions of their day."""
    items: tuple[Subject | Generation | Score | Representations, ...] = (
        *plan.subjects,
        *plan.generations,
        *plan.scores,
        *plan.analyses,
    )
    return {
        "payloads": {item.id: item.payload for item in items},
        "models": {m.id: plain(m) for m in plan.models},
        "stages": {s.id: {**plain(s), "parent": s.parent.id} for s in plan.stages},
        "merges": {m.id: {**plain(m), "parents": [stage.id for stage in m.parents]} for m in plan.merges},
        "generations": {g.id: {**plain(g), "subject": g.subject.id} for g in plan.generations},
        "analyses": {one.id: {**plain(one), "subject": one.subject.id} for one in plan.analyses},
    }


def from_json(data: Mapping[str, Any]) -> Plan:
    """The plan that `to_json` wrote, under the ids it was written with (versions may have been raised since)."""
    spec = data["spec"]

    def under(key: str, value: Identified) -> Identified:
        """The value with what it was stored under, in place of what follows from today's versions."""
        vars(value).update(id=key, payload=spec["payloads"][key])
        return value

    subjects: dict[str, Subject] = {key: under(key, revive(Model, value)) for key, value in spec["models"].items()}
    for key, value in spec["stages"].items():
        subjects[key] = under(key, revive(Stage, {**value, "parent": subjects[value["parent"]]}))
    for key, value in spec.get("merges", {}).items():
        subjects[key] = under(key, revive(Merge, {**value, "parents": [subjects[one] for one in value["parents"]]}))
    generations = tuple(
        under(key, revive(Generation, {**value, "subject": subjects[value["subject"]]}))
        for key, value in spec["generations"].items()
    )
    analyses = tuple(
        under(key, revive(Representations, {**value, "subject": subjects[value["subject"]]}))
        for key, value in spec.get("analyses", {}).items()  # there were none once
    )
    scores = {g.id: under(s["id"], score_of(g)) for g, s in zip(generations, data["scores"], strict=True)}
    stages = {key: value for key, value in subjects.items() if isinstance(value, Stage)}
    models = {key: value for key, value in subjects.items() if isinstance(value, Model)}
    merges = {key: value for key, value in subjects.items() if isinstance(value, Merge)}
    return Plan(
        runs=tuple(_run_from(run, stages, models, merges) for run in data["runs"]),
        stages=tuple(stages.values()),
        generations=generations,
        scores=tuple(scores.values()),
        rows=data["totals"]["runs"],
        stages_naive=data["totals"]["stages_naive"],
        gpu_hours_naive=data["totals"]["gpu_hours_naive"],
        notes=tuple(data["notes"]),
        models=tuple(models.values()),
        analyses=analyses,
        hypotheses=tuple(
            revive(Hypothesis, one) for one in data.get("hypotheses", [])
        ),  # plans of version 1.0 have neither
        unscored=tuple(data.get("unscored", ())),
        merges=tuple(merges.values()),
    )


def part(data: Mapping[str, Any], ids: Collection[str]) -> dict[str, Any]:
    """Of a plan's JSON, some stages and all that follows from them; their parents stay, which they are made of.

    For who asks about two stages of ten thousand: making the whole plan again takes seconds.
    """
    spec = data["spec"]
    parents = {key: [value["parent"]] for key, value in spec["stages"].items()}
    parents |= {key: value["parents"] for key, value in spec.get("merges", {}).items()}
    below = {key for key in ids if key in parents}
    for key, above in parents.items():  # parents come first
        if below & set(above):
            below.add(key)
    kept, waiting = set(below), [key for key in below if key in ids or key in spec.get("merges", {})]
    while waiting:
        above = [key for key in parents[waiting.pop()] if key in parents]
        kept.update(above)
        waiting += above
    generations = {key: value for key, value in spec["generations"].items() if value["subject"] in below}
    return {
        **data,
        "runs": [run for run in data["runs"] if run["id"] in below],
        "scores": [score for score in data["scores"] if score["generation"] in generations],
        "spec": {
            **spec,
            "stages": {key: value for key, value in spec["stages"].items() if key in kept},
            "merges": {key: value for key, value in spec.get("merges", {}).items() if key in kept},
            "generations": generations,
            "analyses": {key: v for key, v in spec.get("analyses", {}).items() if v["subject"] in below},
        },
    }


def _run_from(
    run: Mapping[str, Any], stages: Mapping[str, Stage], models: Mapping[str, Model], merges: Mapping[str, Merge]
) -> Run:
    chain_ = tuple(stages[key] for key in run["stages"])
    model = chain_[0].model if chain_ else models[run["id"]]
    k = None if run["k"] is None else revive(Fraction, run["k"])
    merge = merges[run["merge"]] if "merge" in run else None
    return Run(run["label"], run["strategy"], model, chain_, k, tuple(run["points"]), merge)


def dumps(plan: Plan, states: Mapping[str, State], **more: Any) -> str:
    """The JSON text of a plan and what its store knows; `more` are further keys."""
    return json.dumps(to_json(plan, states) | more, indent=1)
