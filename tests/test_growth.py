"""What is done for each job, stage or step costs as much in a large sweep as in a small one.

Calls of functions are counted, Python's own included, which no load of the machine changes: of twice as much, at most
twice as many, and a tenth for what is sorted.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from values import RECIPE, benchmark, component, mixed, request

from sft_sweeps.benchmarks.judging import Spending
from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.config.schema import Config
from sft_sweeps.data.encode.batches import batch
from sft_sweeps.execution import Executions
from sft_sweeps.jobs.job import missing
from sft_sweeps.launch.settings import with_tracking
from sft_sweeps.plan import memory, serialize
from sft_sweeps.plan.build import Plan, State, build
from sft_sweeps.report import measured
from sft_sweeps.score.judge_cost import Bill
from sft_sweeps.spec import Judge
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey

MOST = 2.2
SMALL = 24  # seeds


def calls(work: Callable[[], object]) -> int:
    """How many functions are called."""
    count = 0

    def seen(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def swept(seeds: int, **changes: Any) -> Plan:
    """Chains of three stages that differ in their seeds."""
    points = (request(mixed(), "sequential", recipe=replace(RECIPE, seed=n), **changes) for n in range(seeds))
    return build([(f"train.seed={n}", point) for n, point in enumerate(points)])


def growth(work: Callable[[Any], object], make: Callable[[int], Any], size: int = SMALL) -> float:
    """How many times as many calls work on something of twice the size takes, each made afresh."""
    work(make(size))  # for what is loaded once in a process
    small, large = make(size), make(2 * size)
    return calls(lambda: work(large)) / calls(lambda: work(small))


def surveyed(plan: Plan, state: str) -> Survey:
    items = (*plan.subjects, *plan.generations, *plan.scores)
    return Survey(plan, Store("none"), {item.id: State(state) for item in items})


def tracked(plan: Plan) -> object:
    tracking = SimpleNamespace(name="wandb", project="p", entity="", mode="offline")
    config = cast(Config, SimpleNamespace(tracking=tracking, study=SimpleNamespace(name="s")))
    jobs = missing(surveyed(plan, "missing"), Executions())
    return [with_tracking(job, plan, config, "sweep") for job in jobs]


def billed(plan: Plan) -> object:
    judge = Judge("gpt", "r", "p", "x", 0.0, 10, 1, max_cost_usd=10.0)
    bill = Bill(judge, {g.id: Spending(calls=1) for g in plan.generations})
    return [bill.share(generation) for generation in plan.generations]


@pytest.mark.parametrize(
    "work",
    [
        tracked,
        billed,
        lambda plan: serialize.totals(plan, {}),
        lambda plan: list(measured.lines(surveyed(plan, "missing"))),
        lambda plan: [plan.runs_of(stage) for stage in plan.stages],
        lambda plan: memory.alike(plan.stages),
    ],
)
def test_work_for_each_job_or_stage_is_as_much_in_a_large_sweep(work: Callable[[Plan], object]) -> None:
    assert growth(work, swept) <= MOST


def test_what_finished_stages_took_is_told_by_model_in_one_pass() -> None:
    """As many models as stages."""

    def plan(models: int) -> Plan:
        base = request().model
        return build([(str(n), request(base=replace(base, seed=n, name=f"m{n}"))) for n in range(models)])

    assert growth(lambda made: list(measured.lines(surveyed(made, "missing"))), plan) <= MOST


def test_a_step_takes_as_long_of_a_million_examples_as_of_a_hundred() -> None:
    """Once an epoch's order is made, no id is looked at."""
    looked = 0

    class Id(str):
        def __hash__(self) -> int:
            nonlocal looked
            looked += 1
            return str.__hash__(self)

        def __eq__(self, other: object) -> bool:
            nonlocal looked
            looked += 1
            return str.__eq__(self, other)

    ids: tuple[str, ...] = tuple(Id(f"math/{n}") for n in range(200))
    expected = batch(ids, 3, 16, 0)
    looked = 0
    assert [batch(ids, 3, 16, step) for step in (0, 1, 11)][0] == expected  # noqa: RUF015
    assert looked == 0


def test_memory_is_told_once_for_each_model_and_recipe() -> None:
    plan = swept(5)
    assert len(memory.alike(plan.stages)) == 1
    other = build([("a", request((component("math"),), recipe=replace(RECIPE, max_length=64)))])
    assert len(memory.alike((*plan.stages, *other.stages))) == 2


def test_the_registered_benchmarks_are_checked_once() -> None:
    planned = benchmark()
    definition_of(planned)
    assert calls(lambda: definition_of(planned)) < 20


def test_totals_are_those_of_the_whole_json() -> None:
    plan = swept(3)
    states = {plan.stages[0].id: State("done")}
    assert serialize.totals(plan, states) == serialize.to_json(plan, states)["totals"]
    assert serialize.totals(plan, states)["stages_done"] == 1
