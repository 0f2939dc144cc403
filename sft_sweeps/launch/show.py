"""`action=plan`: the plan printed, and written as JSON where `plan.output` names a file."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch import adapters, benchmark_files, cpu_time, preflight, show_packed, sources
from sft_sweeps.launch.missing import looked_up, missing_jobs
from sft_sweeps.launch.outcome import Outcome
from sft_sweeps.launch.packed import Packed, packed
from sft_sweeps.launch.settings import executions_of
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.serialize import dumps
from sft_sweeps.plan.show import show_plan
from sft_sweeps.report import measured
from sft_sweeps.score.judge_cost import Bill, estimate
from sft_sweeps.store.survey import Survey
from sft_sweeps.terminal import console, say


def show(plan: Plan, configs: Sequence[Config]) -> Outcome:
    """Print the plan and what it would take; writes nothing but `plan.output`."""
    config = configs[0]
    surveyed, out = looked_up(plan, config), console()
    bill, jobs = estimate(surveyed), missing_jobs(surveyed, config)
    show_plan(plan, surveyed.states, out)
    say_notes(sources.dropped_notes(plan, surveyed.store), out)
    lines = [
        *sources.encoding_lines(jobs),
        *filter(None, [benchmark_files.note(benchmark_files.to_download(jobs, configs))]),
        *measured.lines(surveyed),
        *adapters.lines(plan),
        *_memory_lines(plan, config),
        *filter(None, [bill.line(), cpu_time.line(jobs, plan, surveyed.store, config)]),
    ]
    for line in lines:
        say(out, escape(line))
    into, unpacked = _packed(jobs, surveyed, config, out)
    if into:
        show_packed.show(into, jobs, plan, out)
    for problem in (*filter(None, [unpacked, bill.problem()]), *_refusals(surveyed, jobs, configs)):
        say(out, f"[yellow]a launch would be refused[/] {escape(problem)}")
    return Outcome(0, plan=write_plan(surveyed, bill, config, jobs, into))


def _packed(jobs: Sequence[Job], surveyed: Survey, config: Config, out: Console) -> tuple[Packed | None, str]:
    """The packing that `plan.gpus` asks for, and why a launch with it would be refused."""
    try:
        into = packed(jobs, surveyed, config)
    except RequestError as error:
        return None, str(error)
    if config.plan.gpus and not into:
        say(out, f"plan.gpus={config.plan.gpus}: no job that is missing uses GPUs; there is nothing to pack")
    return into, into.refusal if into else ""


def _refusals(surveyed: Survey, jobs: Sequence[Job], configs: Sequence[Config]) -> list[str]:
    """What is wrong with what the jobs read, so far as it can be known before anything is fetched."""
    to_come = dict.fromkeys([*sources.to_download(jobs, configs), *benchmark_files.to_download(jobs, configs)], "")
    return preflight.inputs(surveyed, jobs, to_come, sources.entries(configs))


def write_plan(
    surveyed: Survey, bill: Bill, config: Config, jobs: Sequence[Job] = (), into: Packed | None = None
) -> str:
    """The plan as JSON, also in the file that `plan.output` names, whatever the action."""
    more: dict[str, Any] = {}
    if bill.judge:
        more["judging"] = {"judge": bill.judge.model, **asdict(bill.total), "left_open": bill.left_open}
    if into:
        more["packing"] = show_packed.to_json(into, jobs)
    text = dumps(surveyed.plan, surveyed.states, **more) if config.plan.output or config.plan.json else ""
    if config.plan.output:
        try:
            Path(config.plan.output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise RequestError(f"plan.output={config.plan.output} cannot be written: {error.strerror}") from error
    return text


def say_notes(texts: Iterable[str], out: Console) -> None:
    for text in texts:
        say(out, f"[yellow]note[/] {escape(text)}")


def _memory_lines(plan: Plan, config: Config) -> list[str]:
    """What a training step of each model needs of a GPU's memory, and the fastest settings that fit."""
    gigabytes, train = config.cluster.gpu_memory_gb, executions_of(config).train
    verdicts: dict[str, None] = {}
    for stage in memory.alike(plan.stages):
        execution = memory.with_recompute(stage, train, gigabytes, config.deepspeed.recompute)
        verdicts[memory.verdict(stage, execution, gigabytes)] = None
    return [f"memory: {text}" for text in verdicts if text]
