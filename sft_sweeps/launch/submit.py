"""What `launch.py` does with the points of a sweep: check all of them, plan, then print the plan or launch it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sft_sweeps import plan as planning
from sft_sweeps.config import problems
from sft_sweeps.errors import Interrupted, RequestError, RunError, SweepError, summary
from sft_sweeps.frozen import dumps
from sft_sweeps.grid import Point
from sft_sweeps.jobs import Job, missing
from sft_sweeps.launch import local, preflight
from sft_sweeps.launch.progress import Progress
from sft_sweeps.plan import Plan, State
from sft_sweeps.report import tables
from sft_sweeps.report.collect import collect
from sft_sweeps.resolve import Request, request
from sft_sweeps.schema import Config
from sft_sweeps.show import console, say, show_plan
from sft_sweeps.spec import Execution
from sft_sweeps.store import Store, resume_step, survey
from sft_sweeps.sweeps import Sweep, freeze

# What belongs to the launch as a whole, so that no point may differ in it.
GLOBAL = ("action", "name", "output_dir", "cluster", "deepspeed", "plan")


def run(points: Sequence[Point]) -> int:
    """Exit status of a launch; errors are printed as their message alone."""
    try:
        check(points)
        plan = planning.build(requests(points))
        check_columns(plan)
        config = points[0].config
        if config.action == "plan":
            return show(plan, config)
        return launch(plan, points)
    except KeyboardInterrupt:
        say(console(stderr=True), "interrupted before anything was started")
        return Interrupted.exit_status
    except OSError as error:
        say(console(stderr=True), f"[red]error[/] {escape(str(error))}; what is done stays done: launch again")
        return RunError.exit_status
    except SweepError as error:
        say(console(stderr=True), f"[red]error[/] {escape(str(error))}")
        return error.exit_status


def check(points: Sequence[Point]) -> None:
    """RequestError with every problem of every point."""
    found = [(point.name, problems(point.config)) for point in points]
    if any(texts for _, texts in found):
        raise RequestError(summary(found))
    for key in GLOBAL:
        values = {str(getattr(point.config, key)) for point in points}
        if len(values) > 1:
            raise RequestError(f"{key} cannot be swept: it belongs to the whole launch. Launch once for each value.")


def requests(points: Sequence[Point]) -> list[tuple[str, Request]]:
    """Every point's name and exact values; RequestError with what the files of all points show to be wrong."""
    found: list[tuple[str, Request]] = []
    wrong: list[tuple[str, list[str]]] = []
    for point in points:
        try:
            found.append((point.name, request(point.config)))
            wrong.append((point.name, []))
        except RequestError as error:
            wrong.append((point.name, [str(error)]))
    if len(found) < len(points):
        raise RequestError(summary(wrong))
    return found


def check_columns(plan: Plan) -> None:
    """RequestError where one model would be given two scores of one benchmark, which a table has one column for."""
    protocols: dict[tuple[str, str], str] = {}
    for generation in plan.generations:
        key = (generation.subject.id, generation.benchmark.name)
        if protocols.setdefault(key, generation.id) != generation.id:
            raise RequestError(
                f"{generation.subject.label} would be scored on {generation.benchmark.name} in two ways; "
                "keys of evaluate cannot be swept, nor train.template without training. Launch once for each value."
            )


def show(plan: Plan, config: Config) -> int:
    """`action=plan`: print, and write JSON where asked; creates nothing else."""
    states = survey(plan, Store(config.output_dir))
    show_plan(plan, states, console())
    write_plan(plan, states, config)
    return 0


def write_plan(plan: Plan, states: Mapping[str, State], config: Config) -> None:
    """`plan.output=FILE`, whatever the action."""
    if config.plan.output:
        try:
            Path(config.plan.output).write_text(dumps(plan, states), encoding="utf-8")
        except OSError as error:
            raise RequestError(f"plan.output={config.plan.output} cannot be written: {error.strerror}") from error


def launch(plan: Plan, points: Sequence[Point]) -> int:
    """Run what is missing of a sweep, wait for it, print its table."""
    config, store, out = points[0].config, Store(points[0].config.output_dir), console()
    states = survey(plan, store)
    for note in plan.notes:
        say(out, f"[yellow]note[/] {escape(note)}")
    jobs = missing(plan, states, str(store.root.absolute()), _execution(config))
    if found := preflight.problems(plan, states, jobs, store):
        raise RequestError("\n".join(found))
    write_plan(plan, states, config)
    name = config.name or config.study.name
    sweep = freeze(plan, store, name, config.study.question, [point.name for point in points])
    say(out, f"sweep {sweep.name}: {_summary(jobs, plan, store)}")
    failed = _run(jobs, sweep, config, out) if jobs else {}
    for job, reason in failed.items():
        say(out, f"[red]failed[/] {job}: {escape(reason)}")
    results = collect(plan, Store(store.root), sweep.name, sweep.question)
    tables.show(results, out)
    written = tables.write(results, sweep.folder / "report")
    say(out, f"written: {', '.join(map(str, written))}")
    return RunError.exit_status if failed else 0


def _run(jobs: Sequence[Job], sweep: Sweep, config: Config, out: Console) -> dict[str, str]:
    """Why jobs failed, by id."""
    cluster = config.cluster
    width = local.slots(cluster.jobs, cluster.processes, cluster.threads)
    with Progress(jobs, out) as progress:
        return local.LocalLauncher(jobs, Store(config.output_dir), sweep, width, progress).run()


def _summary(jobs: Sequence[Job], plan: Plan, store: Store) -> str:
    kinds = Counter(job.kind for job in jobs)
    resumed = sum(job.kind == "train" and resume_step(store.folder(job.subject)) > 0 for job in jobs)
    if not jobs:
        return f"nothing to do: all {len(plan.stages)} stages are trained, all {len(plan.scores)} scores are there"
    return (
        f"{kinds['train']} of {len(plan.stages)} stages to train (each run alone would train {plan.stages_naive})"
        f"{f', {resumed} of them from a resume state' if resumed else ''}, {kinds['evaluate']} models to score"
    )


def _execution(config: Config) -> Execution:
    cluster = config.cluster
    return Execution(
        processes=cluster.processes,
        threads=cluster.threads,
        token_budget=config.deepspeed.token_budget,
        zero_stage=config.deepspeed.zero_stage,
        recompute=config.deepspeed.recompute,
        save_every_seconds=cluster.save_every_seconds,
        save_every_steps=cluster.save_every_steps,
        generation_batch=config.evaluate.batch_size,
    )
