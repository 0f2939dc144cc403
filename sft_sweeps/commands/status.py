"""`sft-sweeps status`: how far a sweep is. Every run, stage and score of its frozen plan, as JSON or as tables.

All of it comes from the store and from one question to Slurm's queue; status_tables.py draws it.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sft_sweeps.commands import list as listing
from sft_sweeps.commands import status_tables
from sft_sweeps.commands.command import Command, add_json, add_output_dir
from sft_sweeps.jobs import attempts
from sft_sweeps.jobs.attempts import Usage
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.status import JobStatus, SweepStatus, status_of
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.plan.show import mixture_text
from sft_sweeps.spec import Generation, Stage
from sft_sweeps.store.claims import holder
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find, sweeps
from sft_sweeps.terminal import console
from sft_sweeps.tracking import metrics as tracking
from sft_sweeps.tracking import problems as mirrors

TRAINED = ("done", "weights gone")
NEWEST = 5  # sweeps that are listed where none is named


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweep", nargs="?", help="part of a sweep's name (default: a list of the newest, and the newest of all)"
    )
    add_output_dir(parser)
    output = parser.add_mutually_exclusive_group()
    add_json(output)
    output.add_argument("--watch", action="store_true", help="draw it anew until everything has ended")


def _run(options: argparse.Namespace) -> int:
    store = Store(options.output_dir)
    sweep = find(store, options.sweep)
    plan = sweep.plan()

    def now() -> dict[str, Any]:
        return status(plan, sweep.store(options.output_dir), sweep.name)

    if options.json:
        print(json.dumps(now(), indent=1))
    elif options.watch:
        status_tables.watch(now, console())
    else:
        if options.sweep is None and len(newest := sweeps(store)[-NEWEST:]) > 1:
            listing.show(listing.listed(newest, store), console())
        status_tables.show(now(), console())
    return 0


def status(plan: Plan, store: Store, sweep: str) -> dict[str, Any]:
    """The state of every run, stage and other job, as JSON can hold it; hours are GPU-hours."""
    sweep_status = status_of(plan, store, store.root / "sweeps" / sweep)
    stages = [_stage(stage, sweep_status) for stage in plan.stages]
    scores = _scores(plan, sweep_status)
    by_id = {stage["id"]: stage for stage in stages}
    runs = [_run_row(run, by_id, sweep_status, scores) for run in plan.runs]
    return {
        "sweep": sweep,
        "runs": runs,
        "stages": stages,
        "jobs": list(_other_jobs(plan, sweep_status)),
        "mirror": mirrors.problem_of(store.root / "sweeps" / sweep),
        "scores": {"done": sum(done for done, _ in scores.values()), "total": len(plan.scores)},
        "analyses": {
            "done": sum(sweep_status.states[one.id].state == "done" for one in plan.analyses),
            "total": len(plan.analyses),
        },
        "totals": {
            "states": dict(Counter(stage["state"] for stage in stages)),
            "runs": len(runs),
            "scores_to_judge": sum(
                sweep_status.states[score.id].state != "done" and _unjudged(score.generation, sweep_status)
                for score in plan.scores
            ),
            "runs_scored": sum(run["state"] == "scored" for run in runs),
            "gpu_hours": round(sum(stage["gpu_hours"] for stage in stages), 3),
            "gpu_hours_lost": round(sum(stage["gpu_hours_lost"] for stage in stages), 3),
            "gpu_hours_estimated": round(sum(map(cost.gpu_hours, plan.stages)), 3),
        },
    }


def _stage(stage: Stage, sweep_status: SweepStatus) -> dict[str, Any]:
    survey, job = sweep_status.survey, sweep_status.jobs[f"train-{stage.id}"]
    folder, here, record = survey.store.folder(stage), survey.held[stage.id], survey.records.get(stage.id, {})
    running, written = job.state == "running", tracking.METRICS in here and not record.get("last")
    steps = tracking.recent(folder, tracking.RECENT if running else 1) if written else []
    metrics = record.get("last") or (steps[-1] if steps else {})
    used = attempts.usage(folder, running) if attempts.ATTEMPTS in here else Usage()
    return {
        "id": stage.id,
        "label": survey.plan.labels[stage.id],
        "mixture": mixture_text(stage),
        "state": job.state,
        "why": job.why,
        "step": metrics.get("step", 0),
        "steps": metrics.get("steps", stage.steps),
        "loss": metrics.get("loss"),
        "seconds_left": tracking.seconds_left(steps) if running else None,
        "folder": str(folder),
        "mirror": mirrors.problem_of(folder) if metrics else "",
        "runs": survey.plan.runs_of(stage),
        "job": job.job,
        "reason": job.reason,
        "starts": used.starts,
        "gpu_hours": round(used.gpu_hours, 3),
        "gpu_hours_lost": round(used.gpu_hours_lost, 3),
    }


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
    if chain and chain[-1]["state"] not in TRAINED:
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
    for kind in ("prepare", *(kind.name for kind in KINDS.values() if kind.evaluates)):
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


def _other_jobs(plan: Plan, sweep_status: SweepStatus) -> Iterator[dict[str, Any]]:
    """Jobs other than training that are not done; a base model that no job was submitted for is left out."""
    for id_, job in sweep_status.jobs.items():
        kind, _, subject = id_.partition("-")
        if kind != "train" and job.state != "done" and (job.job or job.state not in ("missing", "weights gone")):
            yield {
                "id": id_,
                "kind": kind,
                "subject": subject,
                "label": plan.labels[subject],
                "state": job.state,
                "why": job.why,
                "job": job.job,
                "reason": job.reason,
            }


COMMAND = Command("status", "every run and stage of a sweep: state, step, loss, time left, why", _run, _add_arguments)
