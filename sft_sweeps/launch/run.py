"""What `launch.py` does with the points of a sweep: check all of them, plan, then print the plan or launch it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.checks import problems
from sft_sweeps.config.grid import Point
from sft_sweeps.config.resolve import Request, request
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import Interrupted, RequestError, RunError, SweepError, summary
from sft_sweeps.identity import canonical, digest
from sft_sweeps.jobs import retention
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.launch import preflight, sources
from sft_sweeps.launch.disk import Use
from sft_sweeps.launch.local import launcher
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.launch.slurm import preflight as preflight_slurm
from sft_sweeps.launch.slurm import warning
from sft_sweeps.plan import build as planning
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.plan.serialize import dumps
from sft_sweeps.plan.show import console, say, show_plan
from sft_sweeps.report import measured, tables
from sft_sweeps.report.collect import collect
from sft_sweeps.score.judge_cost import Bill, capped, foresee
from sft_sweeps.slurm import queue
from sft_sweeps.spec import Execution, Isolation, Stage
from sft_sweeps.store import sharing
from sft_sweeps.store.store import Store, resume_step, survey
from sft_sweeps.store.sweeps import Sweep, freeze
from sft_sweeps.tracking.wandb import Tracking

# What belongs to the launch as a whole, so that no point may differ in it.
GLOBAL = ("action", "name", "output_dir", "store", "cluster", "deepspeed", "sandbox", "tracking", "plan", "inspect")
NOTHING_JUDGED = Bill()


def run(points: Sequence[Point]) -> int:
    """Exit status of a launch; errors are printed as their message alone."""
    try:
        check(points)
        config = points[0].config
        if config.action == "prepare":
            from sft_sweeps.launch import prepare  # what only this needs

            return prepare.run([point.config for point in points], lambda: [r for _, r in requests(points)], console())
        asked = requests(points)
        if config.action == "inspect":
            from sft_sweeps.launch import inspect  # what only this needs

            return inspect.run([request for _, request in asked], config, console())
        plan = planning.build(asked)
        check_columns(plan)
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
    judges = {digest(canonical(judge)): judge.model for judge in plan.judges}
    if len(judges) > 1:
        raise RequestError(
            f"{len(judges)} judges ({', '.join(sorted(judges.values()))}) would grade one column, and their grades "
            "differ; keys of evaluate.mt_bench.judge cannot be swept. Launch once for each judge."
        )


def show(plan: Plan, config: Config) -> int:
    """`action=plan`: print, and write JSON where asked; creates nothing else."""
    store = Store(config.output_dir, config.store.read_from)
    states = survey(plan, store)
    bill = foresee(plan, states, store)
    show_plan(plan, states, console())
    _say_notes(sources.notes(plan, store), console())
    first = sources.lines(_missing(plan, states, store, config))
    told = filter(None, [bill.line()])
    for line in (*first, *measured.lines(plan, states, store), *_memory(plan, config), *told):
        say(console(), escape(line))
    if problem := bill.problem():
        say(console(), f"[yellow]a launch would be refused[/] {escape(problem)}")
    write_plan(plan, states, bill, config)
    return 0


def write_plan(plan: Plan, states: Mapping[str, State], bill: Bill, config: Config) -> None:
    """`plan.output=FILE`, whatever the action."""
    if config.plan.output:
        told = {"judging": {"judge": bill.judge.model, **asdict(bill.total)}} if bill.judge else {}
        try:
            Path(config.plan.output).write_text(dumps(plan, states, **told), encoding="utf-8")
        except OSError as error:
            raise RequestError(f"plan.output={config.plan.output} cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class Launch:
    """What a launch has to do, and how: the missing jobs, and the seconds of warning that each needs to save."""

    plan: Plan
    states: Mapping[str, State]
    jobs: Sequence[Job]
    warnings: Mapping[str, int]
    store: Store
    config: Config
    bill: Bill = NOTHING_JUDGED

    @property
    def place(self) -> str:
        """Where it runs: `local` or `slurm`; `auto` is Slurm where `sbatch` is found."""
        name = self.config.cluster.name
        return name if name != "auto" else "slurm" if queue.available() else "local"

    @property
    def width(self) -> int:
        """Processes that run side by side on this machine."""
        cluster = self.config.cluster
        return launcher.slots(cluster.jobs, cluster.processes, cluster.threads)

    def problems(self, unfetched: Mapping[str, str]) -> list[str]:
        """What this machine, and the cluster where it runs on one, cannot do."""
        cluster, retained = self.config.cluster, self.config.store.retention
        if self.place == "local":
            use = Use(max(1, self.width // cluster.processes), "cluster.jobs", retained)
        else:
            use = Use(cluster.max_running, "cluster.max_running", retained)
        found = preflight.problems(
            self.plan, self.states, self.jobs, self.store, use, place=self.place, unfetched=unfetched
        )
        asked = self.place == "slurm" and self.jobs
        fits = dict.fromkeys(
            memory.problem(job.subject, job.execution, cluster.gpu_memory_gb)
            for job in self.jobs
            if job.kind == "train" and isinstance(job.subject, Stage)
        )
        found += filter(None, (*fits, self.bill.problem()))
        return [*found, *(preflight_slurm.check(self.jobs, cluster, self.warnings) if asked else ())]


def prepared(plan: Plan, config: Config) -> Launch:
    """What is missing of a plan now."""
    store = Store(config.output_dir, config.store.read_from)
    states = survey(plan, store)
    jobs = [_settled(job, config) for job in _missing(plan, states, store, config)]
    bill = foresee(plan, states, store)
    warnings = warning.warnings(jobs, plan, states, store, config.cluster.signal_seconds)
    return Launch(plan, states, [capped(job, bill) for job in jobs], warnings, store, config, bill)


def _missing(plan: Plan, states: Mapping[str, State], store: Store, config: Config) -> list[Job]:
    """The jobs, before which what they need of sources is encoded."""
    others = [str(other.root.absolute()) for other in store.others]
    found = missing(plan, states, str(store.root.absolute()), _execution(config), others)
    return sources.encoded_first(found, store)


def _say_notes(texts: Iterable[str], out: Console) -> None:
    for text in texts:
        say(out, f"[yellow]note[/] {escape(text)}")


def _settled(job: Job, config: Config) -> Job:
    """The job with what its model and the GPUs decide of how it runs."""
    stage = job.subject
    if job.kind != "train" or not isinstance(stage, Stage):
        return job
    gigabytes, asked = config.cluster.gpu_memory_gb, config.deepspeed.recompute
    return replace(job, execution=memory.settled(stage, job.execution, gigabytes, asked))


def _memory(plan: Plan, config: Config) -> list[str]:
    """The memory plan of each model."""
    gigabytes, found = config.cluster.gpu_memory_gb, dict[str, None]()
    for stage in plan.stages:
        execution = memory.settled(stage, _execution(config), gigabytes, config.deepspeed.recompute)
        found[memory.verdict(stage, execution, gigabytes)] = None
    return [f"memory: {text}" for text in found if text]


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
    _say_notes((*plan.notes, *sources.notes(plan, wanted.store)), out)
    if told := wanted.bill.line():
        say(out, escape(told))
    write_plan(plan, wanted.states, wanted.bill, config)
    store = wanted.store
    if config.store.shared:
        sharing.share(store.root)
    sharing.join(store.root)
    name = config.name or config.study.name
    sweep = freeze(plan, store, name, config.study.question, [point.name for point in points])
    retention.declare(sweep, config.store.retention)
    wanted = replace(wanted, jobs=[tracked(job, plan, config, sweep.name) for job in wanted.jobs])
    say(out, f"sweep {sweep.name}: {_summary(wanted)}")
    for line in sources.lines(wanted.jobs):
        say(out, escape(line))
    if wanted.jobs and wanted.place == "slurm":
        return _submit(wanted, sweep, out)
    return _run(wanted, sweep, out)


def _refuse(wanted: Launch, unfetched: Mapping[str, str]) -> None:
    if found := wanted.problems(unfetched):
        raise RequestError("\n".join(found))


def tracked(job: Job, plan: Plan, config: Config, group: str) -> Job:
    """The job with where its metrics are mirrored, and the axes by which people find it there."""
    stage, where = job.subject, config.tracking
    if job.kind != "train" or not isinstance(stage, Stage):
        return job
    runs = [run for run in plan.runs if stage in run.stages]
    axes = {
        "model": stage.model.name,
        "strategy": ",".join(dict.fromkeys(run.strategy for run in runs)),
        "k": ",".join(dict.fromkeys(str(run.k) for run in runs if run.k is not None)),
        "train_seed": str(stage.recipe.seed),
        "data_seed": ",".join(dict.fromkeys(str(c.seed) for c in stage.mixture.components)),
        **{f"fraction_{c.source.ability}": str(c.fraction) for c in stage.mixture.components},
    }
    tags = tuple(dict.fromkeys(filter(None, (config.study.name, *(run.label for run in runs)))))
    given = Tracking(where.name, where.project, where.entity or "", where.mode, group, tags, tuple(axes.items()))
    return replace(job, tracking=given)


def _submit(wanted: Launch, sweep: Sweep, out: Console) -> int:
    """Give the jobs to Slurm and return; whatever goes wrong later is `status`'s to tell."""
    from sft_sweeps.launch.slurm.launcher import SlurmLauncher  # submitit, 0.2 s that only this pays

    found = SlurmLauncher(wanted.jobs, wanted.store, sweep, wanted.config.cluster, wanted.warnings).run()
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
            failed = launcher.LocalLauncher(wanted.jobs, wanted.store, sweep, wanted.width, progress).run()
    if failed:
        say(out, f"[red]{_count(failed, 'job')} of {len(wanted.jobs):,} failed[/]; launch again: what is saved goes on")
    store = sweep.store(wanted.store.root)
    for text in retention.free(sweep, store):
        say(out, escape(text))
    results = collect(wanted.plan, store, sweep.name, sweep.question)
    tables.show(results, out)
    written = tables.write(results, sweep.folder / "report")
    say(out, f"written: {', '.join(map(str, written))}")
    return RunError.exit_status if failed else 0


def _summary(wanted: Launch) -> str:
    plan, jobs = wanted.plan, wanted.jobs
    kinds = Counter(job.kind for job in jobs)
    resumed = sum(job.kind == "train" and resume_step(wanted.store.folder(job.subject)) > 0 for job in jobs)
    if not jobs:
        return f"nothing to do: all {len(plan.stages)} stages are trained, all {len(plan.scores)} scores are there"
    judged = f", {kinds['judge']} to be judged" if kinds["judge"] else ""
    return (
        f"{kinds['train']} of {len(plan.stages)} stages to train (each run alone would train {plan.stages_naive})"
        f"{f', {resumed} of them from a resume state' if resumed else ''}, {kinds['score']} models to score{judged}"
    )


def _interpreter(python: str) -> str:
    """A relative path from where the command was typed; a name is left to PATH."""
    return str(Path(python).absolute()) if "/" in python else python


def _execution(config: Config) -> Execution:
    cluster = config.cluster
    return Execution(
        processes=cluster.processes,
        threads=cluster.threads,
        token_budget=config.deepspeed.token_budget,
        zero_stage=config.deepspeed.zero_stage,
        offload=config.deepspeed.offload,
        recompute=bool(config.deepspeed.recompute),
        save_every_seconds=cluster.save_every_seconds,
        save_every_steps=cluster.save_every_steps,
        generation_batch=config.evaluate.batch_size,
        replicas=cluster.replicas,
        engine_python=_interpreter(config.evaluate.engine_python),
        isolation=Isolation(
            mode=config.sandbox.isolation,
            require=tuple(config.sandbox.require),
            strict=config.sandbox.strict,
            accept=config.sandbox.i_accept_running_untrusted_code,
        ),
    )
