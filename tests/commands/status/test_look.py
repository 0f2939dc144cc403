"""Looking again asks a store for little, however large the sweep is, and comes to see what one look would."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outcomes import accuracy, finish
from pretended_slurm import Pretended, row, start, submit
from test_growth import file_operations
from values import RECIPE, benchmark, mixed, request

from sft_sweeps.commands.status import rows
from sft_sweeps.commands.status.look import MOST, TURNS, Look
from sft_sweeps.files.json_files import write_json
from sft_sweeps.jobs import attempts
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, freeze

EACH = 6  # questions about a stage that runs: its folder, metrics, attempts, what went wrong at a tracker
SWEEP = 12  # about a sweep itself: what it submitted, what was cancelled, what encodes


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return start(tmp_path / "slurm", monkeypatch)


def swept(seeds: int) -> Plan:
    """Chains of three stages, with a score each."""
    points = (
        request(mixed(), "sequential", recipe=replace(RECIPE, seed=n), benchmarks=(benchmark(),)) for n in range(seeds)
    )
    return build([(f"train.seed={n}", point) for n, point in enumerate(points)])


def begin(store: Store, stage: Stage, steps: int) -> None:
    folder = store.folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    attempts.begin(folder, "1", 0, 8)
    lines = [
        {"step": n, "steps": 12000, "loss": 1.5, "seconds": 1.0, "tokens_per_second": 9.0} for n in range(1, steps)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def made(root: Path, seeds: int, slurm: Pretended) -> tuple[Plan, Store, Sweep]:
    """A sweep of which two stages run."""
    plan, store = swept(seeds), Store(root)
    finish(store, plan.models[0])
    sweep = freeze(plan, store, "mine", "", [])
    submit(sweep, "c", {f"train-{stage.id}": f"1_{n}" for n, stage in enumerate(plan.stages)})
    for stage in plan.stages[:2]:
        begin(store, stage, 3000)
    queue(slurm, plan, running=2)
    return plan, store, sweep


def queue(slurm: Pretended, plan: Plan, running: int, done: int = 0) -> None:
    states = ["RUNNING" if n < running else "PENDING" for n in range(len(plan.stages))]
    slurm.write(*(row(f"1_{n}", "c", state, "Dependency") for n, state in enumerate(states) if n >= done))


def test_a_look_costs_as_much_in_a_large_sweep(tmp_path: Path, slurm: Pretended) -> None:
    """With two stages at work, and some that take turns; the first look is at everything."""
    counts = []
    for seeds in (6, 30):
        _, store, sweep = made(tmp_path / str(seeds), seeds, slurm)
        look = Look(sweep, store.root)
        look()
        again = []
        for _ in range(3):
            with file_operations() as asked:
                look()
            again.append(len([path for path in asked if str(tmp_path / str(seeds)) in str(path)]))
        counts.append(max(again))
    assert counts[1] <= counts[0] <= 2 * EACH + TURNS + SWEEP


def test_all_run_at_once(tmp_path: Path, slurm: Pretended) -> None:
    """Sixty stages at work take turns."""
    plan, store, sweep = made(tmp_path / "s", 20, slurm)
    for stage in plan.stages:
        begin(store, stage, 3000)
    queue(slurm, plan, running=len(plan.stages))
    look = Look(sweep, store.root)
    look()
    with file_operations() as asked:
        look()
    assert len(asked) <= MOST * EACH + TURNS + SWEEP


def comes_to_see(look: Look, store: Store, sweep: Sweep, most: int) -> None:
    """After so many looks, the same as a look at everything sees."""
    for _ in range(most):
        found = look()
    expected = rows.status(sweep.plan(), Store(store.root), sweep.name)
    for one in (found, expected):
        del one["time"]
        for stage in one["stages"]:  # what runs costs more every moment, and its curve is gathered look by look
            del stage["gpu_hours"], stage["curve"]
        del one["totals"]["gpu_hours"]
    assert found == expected


def failed(store: Store, stage: Stage) -> None:
    write_json(store.folder(stage) / "failure.json", {"reason": "loss is nan", "job": f"train-{stage.id}"})


def claimed(store: Store, stage: Stage) -> None:
    store.folder(stage).mkdir(parents=True)
    claims.take(store.folder(stage), "theirs")


CHANGES: dict[str, Callable[[Plan, Store, Pretended], Any]] = {
    "nothing": lambda *_: None,
    "a stage ends": lambda plan, store, slurm: (finish(store, plan.stages[0]), queue(slurm, plan, 3, 1)),
    "a stage fails": lambda plan, store, slurm: (failed(store, plan.stages[0]), queue(slurm, plan, 2, 1)),
    "all begin": lambda plan, _, slurm: queue(slurm, plan, running=99),
    "all vanish": lambda _, __, slurm: slurm.write(),
    "another sweep does one": lambda plan, store, _: finish(store, plan.stages[5]),
    "a score comes": lambda plan, store, _: accuracy(store, plan.scores[0], 1, 4),
    "another claims one": lambda plan, store, slurm: (claimed(store, plan.stages[4]), slurm.write()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_happens_is_seen(change: str, tmp_path: Path, slurm: Pretended) -> None:
    plan, store, sweep = made(tmp_path / "s", 2, slurm)
    look = Look(sweep, store.root)
    look()
    CHANGES[change](plan, store, slurm)
    comes_to_see(look, store, sweep, 1 + 2 * len(plan.stages) // TURNS)


def test_a_curve_goes_on_where_it_was(tmp_path: Path, slurm: Pretended) -> None:
    plan, store, sweep = made(tmp_path / "s", 2, slurm)
    look = Look(sweep, store.root)
    before = look()["stages"][0]["curve"]
    begin(store, plan.stages[0], 4000)
    after = look()["stages"][0]["curve"]
    assert after[: len(before)] == before
    assert after[-1][0] == 3999
