"""What there is to say of a sweep, as JSON can hold it (schema 1): every run, stage and other job of its frozen plan.

All of it comes from the store and from one question to Slurm's queue. tables.py and screen.py draw it.
"""

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from sft_sweeps.commands.status import remedies
from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs import attempts
from sft_sweeps.jobs.attempts import Usage
from sft_sweeps.jobs.evidence import JobStatus
from sft_sweeps.jobs.job import PROGRESS
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.status import SweepStatus, status_of
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import TRAINED, Plan, Run, Subject
from sft_sweeps.plan.show import mixture_text
from sft_sweeps.spec.evaluation import Generation
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.claims import holder
from sft_sweeps.store.store import Store
from sft_sweeps.tracking import metrics as tracking
from sft_sweeps.tracking import problems as mirrors

SCHEMA = 1
Row = dict[str, Any]


def status(plan: Plan, store: Store, sweep: str) -> Row:
    """The state of every run, stage and other job; hours are GPU-hours."""
    return rows(status_of(plan, store, store.root / "sweeps" / sweep), sweep)


def rows(found: SweepStatus, sweep: str, before: Row | None = None, subjects: Collection[str] = ()) -> Row:
    """The same of a status that is known; of what is in `before`, only what belongs to some subjects is made anew."""
    plan, states = found.survey.plan, found.states
    stages = list(_stages(found, sweep, _by_id(before, "stages"), subjects))
    scores = _scores(plan, found)
    return {
        "sweep": sweep,
        "store": str(found.survey.store.root),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "runs": (runs := list(_runs(found, stages, scores, _by_id(before, "runs"), subjects))),
        "stages": stages,
        "jobs": list(_other_jobs(found, sweep, _by_id(before, "jobs"), subjects)),
        "mirror": mirrors.problem_of(found.survey.store.root / "sweeps" / sweep),
        "scores": {"done": sum(done for done, _ in scores.values()), "total": len(plan.scores)},
        "analyses": {"done": sum(states[one.id].state == "done" for one in plan.analyses), "total": len(plan.analyses)},
        "totals": _totals(found, stages, runs),
    }


def _by_id(before: Row | None, kind: str) -> dict[str, Row]:
    return {row["id"]: row for row in before[kind]} if before else {}


def _totals(found: SweepStatus, stages: Sequence[Row], runs: Sequence[Row]) -> Row:
    unjudged = sum(
        found.states[score.id].state != "done" and _unjudged(score.generation, found)
        for score in found.survey.plan.scores
    )
    return {
        "states": dict(Counter(stage["state"] for stage in stages)),
        "runs": len(runs),
        "scores_to_judge": unjudged,
        "runs_scored": sum(run["state"] == "scored" for run in runs),
        "gpu_hours": round(sum(stage["gpu_hours"] for stage in stages), 3),
        "gpu_hours_lost": round(sum(stage["gpu_hours_lost"] for stage in stages), 3),
        "gpu_hours_estimated": round(sum(stage["gpu_hours_estimated"] for stage in stages), 3),
        **_pace(found.survey.plan.stages, stages),
    }


def _pace(planned: Sequence[Stage], stages: Sequence[Row]) -> Row:
    """How much of all training is done, by the work that the plan estimates; how long the rest takes as fast as now.

    None where nothing runs that says how fast. What waits in a queue is not waited for, so it may well take longer.
    """
    work = {stage.id: cost.a100_hours(stage) for stage in planned}
    parts = [(work[row["id"]], _part(row), row) for row in stages]
    left = sum(hours * (1 - part) for hours, part, _ in parts)
    speed = sum(hours * (1 - part) / row["seconds_left"] for hours, part, row in parts if row["seconds_left"])
    longest = max((row["seconds_left"] or 0.0 for row in stages), default=0.0)
    return {
        "trained": round(1 - left / total, 6) if (total := sum(work.values())) else 1.0,
        "seconds_left": round(max(left / speed, longest), 1) if speed else None,
    }


def _part(stage: Row) -> float:
    """How much of a stage is done."""
    if stage["state"] in TRAINED:
        return 1.0
    return min(stage["step"] / stage["steps"], 1.0) if stage["steps"] else 0.0


def _stages(found: SweepStatus, sweep: str, before: Mapping[str, Row], subjects: Collection[str]) -> Iterator[Row]:
    for stage in found.survey.plan.stages:
        known = before.get(stage.id)
        yield known if known and stage.id not in subjects else _stage(stage, found, sweep, known)


def _stage(stage: Stage, found: SweepStatus, sweep: str, before: Row | None) -> Row:
    survey, job = found.survey, found.jobs[f"train-{stage.id}"]
    folder, here = survey.store.folder(stage), survey.held[stage.id]
    last = tracking.whole(survey.records.get(stage.id, {}).get("last"))
    running, written = job.state == "running", tracking.METRICS in here and not last
    steps = tracking.recent(folder, tracking.RECENT if running else 1) if written else []
    metrics = last or (steps[-1] if steps else {})
    used = _usage(stage, found, running) if attempts.ATTEMPTS in here else Usage()
    speeds = [step["tokens_per_second"] for step in steps if "tokens_per_second" in step]
    return {
        "id": stage.id,
        "label": survey.plan.labels[stage.id],
        "mixture": mixture_text(stage),
        "state": job.state,
        "why": job.why,
        "step": metrics.get("step", 0),
        "steps": metrics.get("steps", stage.steps),
        "loss": metrics.get("loss"),
        "heldout_loss": _heldout_loss(metrics, steps),
        "curve": _curve(survey.store, stage, steps, before) if running else [],
        "tokens_per_second": round(statistics.median(speeds), 1) if running and speeds else None,
        "seconds_left": tracking.seconds_left(steps) if running else None,
        "folder": str(folder),
        "mirror": mirrors.problem_of(folder) if metrics and mirrors.FILE in here else "",
        "runs": survey.plan.runs_of(stage),
        "job": job.job,
        "reason": job.reason,
        "starts": used.starts,
        "gpu_hours": round(used.gpu_hours, 3),
        "gpu_hours_lost": round(used.gpu_hours_lost, 3),
        "gpu_hours_estimated": round(cost.gpu_hours(stage), 3),
        **remedies.of(job, "train", stage, found, sweep),
    }


def _usage(stage: Stage, found: SweepStatus, running: bool) -> Usage:
    """What a stage has cost; once it is finished, and nobody works on it, that stays."""
    folder = found.survey.store.folder(stage)
    if running:
        return attempts.usage(folder, running)
    return Usage(*found.survey.seen.remembered(stage.id, "usage", lambda: astuple(attempts.usage(folder, False))))


def _heldout_loss(metrics: Row, steps: Sequence[Row]) -> dict[str, float]:
    """The newest that is known, by source; empty where none was taken (evaluate.heldout_every)."""
    return next((of for one in (metrics, *reversed(steps)) if (of := one.get(tracking.HELDOUT_LOSS))), {})


def _curve(store: Store, stage: Stage, steps: Sequence[Row], before: Row | None) -> tracking.Curve:
    """The loss by step; what an earlier look read of it is not read again."""
    if not steps:
        return []
    known = before["curve"] if before else []
    if known and known[-1][0] <= steps[-1]["step"]:
        return tracking.extended(known, steps)
    return tracking.curve(store.folder(stage))


def _runs(
    found: SweepStatus,
    stages: Sequence[Row],
    scores: Mapping[str, tuple[int, int]],
    before: Mapping[str, Row],
    subjects: Collection[str],
) -> Iterator[Row]:
    by_id, anew = {stage["id"]: stage for stage in stages}, set(subjects)
    for run in found.survey.plan.runs:
        same = run.id in before and not anew & {run.id, *(stage.id for stage in run.stages)}
        yield before[run.id] if same else _run_row(run, by_id, found, scores)


def _scores(plan: Plan, sweep_status: SweepStatus) -> dict[str, tuple[int, int]]:
    """The number of done scores and of all scores, for each subject."""
    counts: dict[str, tuple[int, int]] = {}
    for score in plan.scores:
        subject = score.generation.subject.id
        done, wanted = counts.get(subject, (0, 0))
        counts[subject] = (done + (sweep_status.states[score.id].state == "done"), wanted + 1)
    return counts


def _run_row(
    run: Run, stages: Mapping[str, Mapping[str, Any]], sweep_status: SweepStatus, scores: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """A run is as far as its first stage that is not trained, or else as its scores."""
    chain = [stages[stage.id] for stage in run.stages]
    trained = sum(stage["state"] in TRAINED for stage in chain)
    done, wanted = scores.get(run.id, (0, 0))
    ends = chain if run.merge and sweep_status.states[run.id].state not in TRAINED else chain[-1:]
    if any(stage["state"] not in TRAINED for stage in ends):
        first = next(stage for stage in chain if stage["state"] not in TRAINED)
        state = "training" if first["state"] == "running" else first["state"]
        why = f"step {first['step']:,} of {first['steps']:,}" if state == "training" else first["why"]
    elif done == wanted:
        state, why = ("scored" if wanted else "done"), ""
    else:
        state, why = _scoring(run, sweep_status)
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


def _scoring(run: Run, sweep_status: SweepStatus) -> tuple[str, str]:
    """State and reason of a run whose stages are all trained and whose scores are not all done."""
    for kind in ("prepare", "merge", *(kind.name for kind in KINDS.values() if kind.evaluates)):
        job = sweep_status.jobs.get(f"{kind}-{run.id}", JobStatus("done"))
        if job.state != "done":
            return ("scoring" if job.state == "running" else job.state), f"{kind}: {job.why}"
    if _judging_alone(run.id, sweep_status):
        claim = holder(KINDS["judge"].claim_folder(sweep_status.survey.store.folder(run.subject)))
        return (
            ("scoring", f"judge: by {claim.who}")
            if claim
            else ("unjudged", "answered; sft-sweeps judge asks its judge")
        )
    end = sweep_status.states[run.id]
    return (end.state, end.why) if end.state in ("running", "failed", "weights gone") else ("missing", "not scored yet")


def _judging_alone(subject: str, sweep_status: SweepStatus) -> bool:
    """Whether a model's scores lack nothing but a judge's grades."""
    states, plan = sweep_status.states, sweep_status.survey.plan
    lacking = [s.generation for s in plan.scores if s.generation.subject.id == subject and states[s.id].state != "done"]
    return bool(lacking) and all(_unjudged(generation, sweep_status) for generation in lacking)


def _unjudged(generation: Generation, sweep_status: SweepStatus) -> bool:
    """Whether the answers of an unscored generation are there, for its judge to be asked."""
    return generation.benchmark.judge is not None and sweep_status.states[generation.id].state == "done"


def _other_jobs(found: SweepStatus, sweep: str, before: Mapping[str, Row], subjects: Collection[str]) -> Iterator[Row]:
    """Jobs other than training that are not done; a base model that no job was submitted for is left out."""
    plan = found.survey.plan
    of = {subject.id: subject for subject in plan.subjects}
    for id_, job in found.jobs.items():
        kind, _, subject = id_.partition("-")
        if kind == "train" or job.state == "done" or not (job.job or job.state not in ("missing", "weights gone")):
            continue
        if id_ in before and subject not in subjects:
            yield before[id_]
            continue
        yield {
            "id": id_,
            "kind": kind,
            "subject": subject,
            "label": plan.labels[subject],
            "state": job.state,
            "why": job.why,
            "job": job.job,
            "reason": job.reason,
            "progress": _progress(kind, found.survey.store, of[subject]) if job.state == "running" else None,
            **remedies.of(job, kind, of[subject], found, sweep),
        }


def _progress(kind: str, store: Store, subject: Subject) -> Row | None:
    """How far a running job says it is: {"what", "done", "of"}."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        said = read_json(KINDS[kind].claim_folder(store.folder(subject)) / PROGRESS) or {}
        return said if {"what", "done", "of"} <= said.keys() else None
    return None
