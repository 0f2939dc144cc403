"""Launching: what is missing is made here, or handed to Slurm."""

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.grid import Point
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.jobs import retention
from sft_sweeps.launch import sources
from sft_sweeps.launch.local import launcher
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.launch.missing import Launch, prepared
from sft_sweeps.launch.points import requests
from sft_sweeps.launch.settings import with_tracking
from sft_sweeps.launch.show import say_notes, write_plan
from sft_sweeps.plan import build as planning
from sft_sweeps.plan.build import Plan
from sft_sweeps.report import tables
from sft_sweeps.report.collect import collect
from sft_sweeps.store import sharing
from sft_sweeps.store.survey import resume_step
from sft_sweeps.store.sweeps import Sweep, freeze
from sft_sweeps.terminal import console, say


def launch(plan: Plan, points: Sequence[Point]) -> int:
    """Make what is missing of a sweep: here, with progress and the table at the end, or on the cluster, and return."""
    config, out = points[0].config, console()
    wanted = prepared(plan, config)
    fetched = sources.to_fetch(wanted.jobs, [point.config for point in points])
    _refuse(wanted, {str(path): "" for path in fetched})
    if fetched:  # what a file has may name its stages anew
        unfetched = sources.fetch(fetched, out)
        plan = planning.build(requests(points))
        wanted = prepared(plan, config)
        _refuse(wanted, unfetched)
    say_notes((*plan.notes, *sources.notes(plan, wanted.survey.store)), out)
    if told := wanted.bill.line():
        say(out, escape(told))
    write_plan(plan, wanted.survey.states, wanted.bill, config)
    store = wanted.survey.store
    if config.store.shared:
        sharing.share(store.root)
    sharing.join(store.root)
    name = config.name or config.study.name
    sweep = freeze(plan, store, name, config.study.question, [point.name for point in points])
    retention.declare(sweep, config.store.retention)
    wanted = replace(wanted, jobs=[with_tracking(job, plan, config, sweep.name) for job in wanted.jobs])
    say(out, f"sweep {sweep.name}: {_summary(wanted)}")
    for line in sources.lines(wanted.jobs):
        say(out, escape(line))
    if wanted.jobs and wanted.place == "slurm":
        return _submit(wanted, sweep, out)
    return _run(wanted, sweep, out)


def _refuse(wanted: Launch, unfetched: Mapping[str, str]) -> None:
    if found := wanted.problems(unfetched):
        raise RequestError("\n".join(found))


def _submit(wanted: Launch, sweep: Sweep, out: Console) -> int:
    """Give the jobs to Slurm and return; whatever goes wrong later is `status`'s to tell."""
    from sft_sweeps.launch.slurm.launcher import SlurmLauncher  # submitit, 0.2 s that only this pays

    found = SlurmLauncher(wanted.jobs, wanted.survey.store, sweep, wanted.config.cluster, wanted.warnings).run()
    if found.numbers:
        kinds = Counter(job.kind for job in wanted.jobs if job.id in found.numbers)
        parts = ", ".join(f"{count} to {kind}" for kind, count in kinds.items())
        say(out, f"submitted {_count(found.numbers, 'job')} in {found.calls} sbatch calls ({parts})")
    for name, count in Counter(claim.sweep for claim in found.held.values()).items():
        whose = "already" if name == sweep.name else f"in sweep {name}; what stands on them waits for them"
        say(out, f"{count} {'job is' if count == 1 else 'jobs are'} on {'its' if count == 1 else 'their'} way {whose}")
    for job, reason in found.blocked.items():
        say(out, f"[yellow]not submitted[/] {job}: {escape(reason)}")
    say(out, f"follow it with: sft-sweeps status {sweep.name} --watch")
    return RunError.exit_status if found.blocked else 0


def _count(things: Sized, name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _run(wanted: Launch, sweep: Sweep, out: Console) -> int:
    """Do the jobs here, and show the table."""
    failed: dict[str, str] = {}
    if wanted.jobs:
        with Progress(wanted.jobs, out) as progress:
            failed = launcher.LocalLauncher(wanted.jobs, wanted.survey.store, sweep, wanted.width, progress).run()
    if failed:
        say(out, f"[red]{_count(failed, 'job')} of {len(wanted.jobs):,} failed[/]; launch again: what is saved goes on")
    store = sweep.store(wanted.survey.store.root)
    for text in retention.free(sweep, store):
        say(out, escape(text))
    results = collect(wanted.survey.plan, store, sweep.name, sweep.question)
    tables.show(results, out)
    written = tables.write(results, sweep.folder / "report")
    say(out, f"written: {', '.join(map(str, written))}")
    return RunError.exit_status if failed else 0


def _summary(wanted: Launch) -> str:
    plan, jobs = wanted.survey.plan, wanted.jobs
    kinds = Counter(job.kind for job in jobs)
    resumed = sum(job.stage is not None and resume_step(wanted.survey.store.folder(job.stage)) > 0 for job in jobs)
    if not jobs:
        return f"nothing to do: all {len(plan.stages)} stages are trained, all {len(plan.scores)} scores are there"
    judged = f", {kinds['judge']} to be judged" if kinds["judge"] else ""
    return (
        f"{kinds['train']} of {len(plan.stages)} stages to train (each run alone would train {plan.stages_naive})"
        f"{f', {resumed} of them from a resume state' if resumed else ''}, {kinds['score']} models to score{judged}"
    )
