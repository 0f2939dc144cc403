"""A launch: what is missing of a sweep is checked, then run on this machine or handed to the cluster."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.grid import Point
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs import retention
from sft_sweeps.launch import benchmark_files, preflight, sources
from sft_sweeps.launch.download import download_all
from sft_sweeps.launch.hints import sweep_command
from sft_sweeps.launch.launchers import fallback, launcher_of
from sft_sweeps.launch.missing import MissingWork, missing_work
from sft_sweeps.launch.outcome import Outcome
from sft_sweeps.launch.points import planned
from sft_sweeps.launch.results import show_results
from sft_sweeps.launch.settings import tracking_of, with_tracking
from sft_sweeps.launch.show import say_notes, write_plan
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import freeing, sharing
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.store.survey import made_again
from sft_sweeps.store.sweeps import Sweep, freeze
from sft_sweeps.terminal import console, counted, say
from sft_sweeps.tracking import remembered


def launch(plan: Plan, points: Sequence[Point]) -> Outcome:
    """Run what is missing of a sweep and show its table, or hand it to the cluster and return."""
    config, out = points[0].config, console()
    freed = freeing.settled_mark(Path(config.output_dir))
    work = _checked_work(plan, points, out)
    _show_notes(work, out)
    planned_as = write_plan(work.survey, work.bill, config)
    sweep = _freeze(work, points)
    if freeing.last_mark(work.store.root) != freed:
        work = _looked_again(work, points)
    if sweep.hypotheses != work.plan.hypotheses:
        say_notes(["the study's hypotheses are not those of the first launch, which are frozen and stay"], out)
    remembered.remember(sweep.folder, tracking_of(config, sweep.name))
    work = replace(work, jobs=[with_tracking(job, work.plan, config, sweep.name) for job in work.jobs])
    say(out, f"sweep {sweep.name}: {_summary(work)}")
    for line in sources.encoding_lines(work.jobs):
        say(out, escape(line))
    if work.jobs and (line := fallback(config)):
        say(out, escape(line))
    status = 0
    if work.jobs:
        status = launcher_of(config).launch(work, sweep, out)
    else:
        show_results(work, sweep, out)
    if why := work.bill.left_open:
        command = sweep_command("judge", sweep.name, config)
        say(out, escape(f"judging is left open ({why}); afterwards, wherever there is a key and a network: {command}"))
    return Outcome(status, sweep.name, planned_as)


def _checked_work(plan: Plan, points: Sequence[Point], out: Console) -> MissingWork:
    """What is missing, with the files that it needs downloaded; RequestError with all that stands in its way."""
    config = points[0].config
    work = missing_work(plan, config)
    configs = [point.config for point in points]
    absent = {**sources.to_download(work.jobs, configs), **benchmark_files.to_download(work.jobs, configs)}
    entries = sources.entries(configs)
    _check(work, dict.fromkeys(absent, ""), entries)
    if absent:
        failures = download_all(absent, out)
        # The content of a file is part of the ids of its stages, so everything is planned again.
        work = missing_work(planned(points), config)
        _check(work, failures, entries)
    return work


def _looked_again(work: MissingWork, points: Sequence[Point]) -> MissingWork:
    """What is missing now that the plan is frozen: something that was there may have been freed before it was."""
    work = missing_work(work.plan, work.config)
    _check(work, {}, sources.entries([point.config for point in points]))
    return work


def _check(work: MissingWork, failed_downloads: Mapping[Path, str], entries: Mapping[Path, SourceConfig]) -> None:
    """RequestError with every problem, in the order in which they are to be solved: the machine before its disk.

    A file in `failed_downloads` without a reason is yet to be downloaded.
    """
    config, launcher = work.config, launcher_of(work.config)
    policy = launcher.disk_policy(config)
    problems = [
        *launcher.problems(work),
        *dict.fromkeys(_too_little_gpu_memory(work)),
        *preflight.problems(work.survey, work.jobs, policy, failed_downloads, entries),
        *filter(None, [work.bill.problem()]),
    ]
    if problems:
        raise RequestError("\n".join(problems))


def _too_little_gpu_memory(work: MissingWork) -> Iterator[str]:
    ways: dict[TrainExecution, list[Stage]] = {}
    for job in work.jobs:
        if job.stage and isinstance(job.execution, TrainExecution):
            ways.setdefault(job.execution, []).append(job.stage)
    for execution, stages in ways.items():
        for stage in memory.alike(stages):
            gpus = execution.processes if stage.model.gpus else 0
            if text := memory.problem(stage, execution, work.config.cluster.gpu_memory_gb, gpus):
                yield text


def _show_notes(work: MissingWork, out: Console) -> None:
    """The plan's notes, what was dropped of the sources, what judging will cost."""
    if warning := work.plan.warning:
        say(out, f"[red]{escape(warning)}[/]")
    notes = (*work.plan.notes[bool(warning) :], *sources.dropped_notes(work.plan, work.store))
    say_notes((*notes, *made_again(work.survey)), out)
    if line := work.bill.line():
        say(out, escape(line))


def _freeze(work: MissingWork, points: Sequence[Point]) -> Sweep:
    """The sweep's folder in the store, with the frozen plan: the first thing that a launch writes."""
    config, store = work.config, work.store
    if config.store.shared:
        sharing.share(store.root)
    sharing.join(store.root)
    name = config.name or config.study.name
    sweep = freeze(work.plan, store, name, config.study.question, [point.name for point in points])
    retention.declare(sweep, config.store.retention)
    return sweep


def _summary(work: MissingWork) -> str:
    """How much is missing, in a line."""
    plan, kinds = work.plan, Counter(job.kind for job in work.jobs)
    left_open = f", judging of {counted(len(work.bill.parts), 'model')} left open" if work.bill.left_open else ""
    if not work.jobs and left_open:
        return f"nothing to do here: all {len(plan.stages)} stages are trained{left_open}"
    if not work.jobs:
        there = f"all {len(plan.scores)} scores" + (f", all {len(plan.analyses)} analyses" if plan.analyses else "")
        return f"nothing to do: all {len(plan.stages)} stages are trained, {there} are there"
    resumed = sum(resume_step(work.store.folder(job.stage)) > 0 for job in work.jobs if job.stage)
    parts = [
        f"{kinds['train']} of {len(plan.stages)} stages to train (each run alone would train {plan.stages_naive})",
        *([f"{resumed} of them from a resume state"] if resumed else []),
        *([f"{counted(kinds['merge'], 'merge')} to average"] if kinds["merge"] else []),
        f"{counted(kinds['score'], 'model')} to score",
        *([f"{kinds['judge']} to be judged"] if kinds["judge"] else []),
        *([f"representations of {kinds['represent']} to take"] if kinds["represent"] else []),
    ]
    return ", ".join(parts) + left_open
