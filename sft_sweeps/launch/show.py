"""`action=plan`: the plan printed, and written where asked."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError
from sft_sweeps.launch import sources
from sft_sweeps.launch.missing import missing_jobs
from sft_sweeps.launch.settings import executions_of
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.plan.serialize import dumps
from sft_sweeps.plan.show import show_plan
from sft_sweeps.report import measured
from sft_sweeps.score.judge_cost import Bill, estimate
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.terminal import console, say


def show(plan: Plan, config: Config) -> int:
    """`action=plan`: print, and write JSON where asked; creates nothing else."""
    looked_up = survey(plan, Store(config.output_dir, config.store.read_from))
    states = looked_up.states
    bill = estimate(looked_up)
    show_plan(plan, states, console())
    say_notes(sources.notes(plan, looked_up.store), console())
    first = sources.lines(missing_jobs(looked_up, config))
    told = filter(None, [bill.line()])
    for line in (*first, *measured.lines(looked_up), *_memory(plan, config), *told):
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


def say_notes(texts: Iterable[str], out: Console) -> None:
    for text in texts:
        say(out, f"[yellow]note[/] {escape(text)}")


def _memory(plan: Plan, config: Config) -> list[str]:
    """The memory plan of each model."""
    gigabytes, found = config.cluster.gpu_memory_gb, dict[str, None]()
    for stage in plan.stages:
        execution = memory.with_recompute(stage, executions_of(config).train, gigabytes, config.deepspeed.recompute)
        found[memory.verdict(stage, execution, gigabytes)] = None
    return [f"memory: {text}" for text in found if text]
