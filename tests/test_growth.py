"""What is done for each job, stage or step costs as much in a large sweep as in a small one.

Calls of functions are counted, Python's own included, which no load of the machine changes: of twice as much, at most
twice as many, and a tenth for what is sorted.
"""

import contextlib
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from values import RECIPE, benchmark, component, mixed, request

from sft_sweeps.benchmarks.judging import Spending
from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.commands.status.look import Look
from sft_sweeps.config.schema import Config
from sft_sweeps.data.encode.batches import Shown, batch
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Executions
from sft_sweeps.files.json_files import write_json
from sft_sweeps.jobs.job import missing
from sft_sweeps.launch.missing import looked_up
from sft_sweeps.launch.settings import with_tracking
from sft_sweeps.plan import memory, serialize
from sft_sweeps.plan.build import Plan, State, build
from sft_sweeps.report import measured
from sft_sweeps.score.judge_cost import Bill
from sft_sweeps.spec.evaluation import Judge
from sft_sweeps.store import seen
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.store.survey import Survey, survey
from sft_sweeps.store.sweeps import freeze

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
    shown = Shown(ids)
    expected = batch(shown, 3, 16, 0)
    looked = 0
    assert [batch(shown, 3, 16, step) for step in (0, 1, 11)][0] == expected  # noqa: RUF015
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


@contextlib.contextmanager
def file_operations() -> Iterator[list[str]]:
    """What a file system is asked meanwhile: opened, looked at, listed."""
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((os, "stat"), (os, "lstat"), (os, "open"), (os, "listdir"), (os, "scandir"), (io, "open")):
            real = getattr(module, name)
            patch.setattr(module, name, partial(_asked, real, name, asked))
        yield asked


def _asked(real: Callable[..., Any], name: str, asked: list[str], *given: Any, **more: Any) -> Any:
    asked.append(f"{name} {given[0] if given else ''}")
    return real(*given, **more)


def finished(root: Path, plan: Plan) -> Store:
    """A store with all of a plan done, with the files that a stage leaves."""
    store = Store(root)
    for item in (*plan.subjects, *plan.generations, *plan.scores):
        folder, name = store.write_folder(item), "metrics.jsonl" if item in plan.subjects else "rows.jsonl"
        (folder / "model").mkdir(parents=True)
        files = [*(f"model/{n}" for n in range(6) if item in plan.subjects), name]
        for file in files:
            (folder / file).write_text("{}\n")
        write_record(folder, item.payload, files, {"last": {"step": 1, "steps": 1, "loss": 1.0}})
    return Store(root)


MINI = tuple(benchmark(name) for name in ("mini_math", "mini_code", "mini_general"))


def three_scores(seeds: int) -> Plan:
    """Every stage scored on three benchmarks."""
    return swept(seeds, benchmarks=MINI, every_stage=True)


@pytest.mark.parametrize(("thorough", "most"), [(False, 6), (True, 16)])
def test_a_finished_stage_costs_few_questions_to_the_file_system(thorough: bool, most: int, tmp_path: Path) -> None:
    """With three scores: its folder and model listed, four records; thorough, eleven files beside them."""
    found = []
    for seeds in (8, 16):
        plan = three_scores(seeds)
        store = finished(tmp_path / str(seeds), plan)
        with file_operations() as asked:
            surveyed = survey(plan, store, thorough=thorough)
        assert {surveyed.states[item.id].state for item in (*plan.subjects, *plan.scores)} == {"done"}
        found.append(len(asked) / len(plan.stages))
    assert found[1] <= found[0] <= most + 1


@pytest.mark.parametrize(("again", "most", "files"), [(False, 12, None), (True, 6, 2)])
def test_questions_of_status_grow_no_faster_than_the_sweep(
    again: bool, most: int, files: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time it signs what it reads; once it has kept that, it reads its sweep's plan and that alone."""
    monkeypatch.setattr(seen, "SETTLED_SECONDS", 0.0)
    found = []
    for seeds in (2, 4, 8):
        plan = three_scores(seeds)
        sweep = freeze(plan, finished(tmp_path / str(seeds), plan), "mine", "", [])
        look = Look(sweep, tmp_path / str(seeds))
        if again:
            Look(sweep, tmp_path / str(seeds))()
        with file_operations() as asked:
            assert look()["totals"]["runs_scored"] == seeds
        of_stages = [one for one in asked if "/stages/" in one]
        assert len(of_stages) <= most * len(plan.stages)
        assert files is None or not any(one.startswith(("open", "listdir")) for one in of_stages)
        found.append(len(asked))
    assert max(math.log2(large / small) for small, large in pairwise(found)) <= 1.1


def test_relaunching_what_is_finished_reads_nothing_of_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks whether the files of the scores are there; where one is not, everything is looked at closely."""
    monkeypatch.setattr(seen, "SETTLED_SECONDS", 0.0)
    plan = three_scores(4)
    store = finished(tmp_path, plan)
    Look(freeze(plan, store, "mine", "", []), tmp_path)()
    config = cast(Config, SimpleNamespace(output_dir=str(tmp_path), store=SimpleNamespace(read_from=())))
    with file_operations() as asked:
        found = looked_up(plan, config)
    of_stages = [one for one in asked if "/stages/" in one]
    assert {state.state for state in found.states.values()} == {"done"}
    assert not any(one.startswith(("open", "listdir")) for one in of_stages)
    assert len(of_stages) <= 9 * len(plan.stages)
    (store.write_folder(plan.scores[5]) / "rows.jsonl").unlink()
    assert looked_up(plan, config).states[plan.scores[5].id].state == "weights gone"


def test_why_a_stage_is_new_costs_as_much_beside_many_namesakes(tmp_path: Path) -> None:
    """As many new stages as there are stages that differ from them in the seed."""

    def store(seeds: int) -> Store:
        root = tmp_path / f"{seeds}-{len(list(tmp_path.iterdir()))}"
        for stage in swept(2 * seeds).stages[: 3 * seeds]:
            write_json(Store(root).folder(stage) / "identity.json", stage.payload, durable=False)
        return Store(root)

    def look(made: Store) -> None:
        new = swept(int(made.root.name.partition("-")[0]) * 2)
        found = survey(new, made).states
        why = [found[stage.id].why for stage in new.stages if found[stage.id].why]
        assert all("recipe.seed" in text for text in why)

    assert growth(look, store, 16) <= MOST


@pytest.mark.parametrize("seeds", [4, 8])
def test_what_follows_from_one_stage_is_made_without_the_rest_of_its_plan(
    seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is the same: that stage and those after it, with their answers and scores."""
    plan = three_scores(seeds)
    sweep = freeze(plan, Store(tmp_path), "mine", "", [])
    asked = plan.stages[4]
    wanted = [asked, *(stage for stage in plan.stages if stage.parent.id == asked.id)]
    made: list[Any] = []
    reviving = serialize.revive
    monkeypatch.setattr(serialize, "revive", lambda kind, value: made.append(kind) or reviving(kind, value))
    found = sweep.plan([asked.id])
    assert [stage for stage in found.stages if stage != asked.parent] == wanted
    assert list(found.scores) == [score for score in plan.scores if score.generation.subject in wanted]
    assert [run.id for run in found.runs] == [run.id for run in plan.runs if run.subject in wanted]
    assert len(made) == 1 + 3 + 2 * 3


def test_a_frozen_plan_is_read_once_until_its_file_changes(tmp_path: Path) -> None:
    plan = three_scores(2)
    sweep = freeze(plan, Store(tmp_path), "mine", "", [])
    first = sweep.plan()
    assert first == replace(plan, judges=(), not_scored=first.not_scored)
    assert sweep.plan() is first
    (sweep.folder / "plan.json").write_text("{")
    with pytest.raises(RequestError, match="cannot be read"):
        sweep.plan()
