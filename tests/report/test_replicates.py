"""Training seeds: what differs in nothing else is one point, and its interval holds both kinds of noise."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from values import RECIPE, benchmark, component, request, source

from sft_sweeps.analysis.cells import Cell, finals
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.plan.serialize import to_json as to_plan
from sft_sweeps.plan.show import visible
from sft_sweeps.report import tables
from sft_sweeps.report.collect import collect, to_json
from sft_sweeps.report.differences import comparisons
from sft_sweeps.report.observe import observations
from sft_sweeps.report.replicates import points, replicated
from sft_sweeps.report.scores import Scores
from sft_sweeps.stats import proportion, two_level, two_level_difference, weighted_mean
from sft_sweeps.store.answers import VERDICTS, write_rows
from sft_sweeps.store.store import Store, write_record

HELD = benchmark("heldout_loss:math", source=source("math"), examples=8)


@pytest.fixture
def plan() -> Plan:
    """Math alone with three seeds, multi-task with two and another learning rate with one, and the base model."""

    def recipe(**changes: object) -> dict:
        return {"recipe": replace(RECIPE, **changes)}

    return build(
        [
            *(
                (f"data=math train.seed={seed}", request((component("math"),), **recipe(seed=seed)))
                for seed in (2, 0, 1)
            ),
            *((f"mixed {seed}", request(**recipe(seed=seed))) for seed in (0, 1)),
            ("data=math train.learning_rate=1e-4", request((component("math"),), **recipe(learning_rate=1e-4))),
            ("base", request(strategy="base")),
        ]
    )


def keep(store: Store, plan: Plan, run: int, verdicts: list[bool]) -> None:
    (score,) = (s for s in plan.scores if s.generation.subject.id == plan.runs[run].id)
    write_rows(store.score(score) / VERDICTS, [{"item": str(n), "correct": v} for n, v in enumerate(verdicts)])
    found = proportion(sum(verdicts), len(verdicts))
    value = {"value": found.value, "low": found.low, "high": found.high, "n": len(verdicts), "k": sum(verdicts)}
    write_record(store.score(score), score.payload, [VERDICTS], {"score": {"metric": "accuracy", **value}})


def ends(plan: Plan, store: Store) -> list[Cell]:
    return finals(observations(plan, store))


def first(count: int, n: int = 200) -> list[bool]:
    return [place < count for place in range(n)]


def test_points_are_runs_but_for_their_seed(plan: Plan) -> None:
    found = points(plan)
    assert [len(point.runs) for point in found] == [3, 2, 1, 1]
    assert [point.label for point in found[:2]] == ["mini math only", "mini multi_task"]
    assert [run.stages[-1].recipe.seed for run in found[0].runs] == [0, 1, 2]
    assert len({point.label for point in found}) == 4


def test_means_and_spreads_over_seeds(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for run, count in enumerate((120, 100, 110, 60, 64, 100, 50)):
        keep(store, plan, run, first(count))
    math, mixed = replicated(plan, ends(plan, store))
    assert (math.point, math.seeds, math.values, math.n) == ("mini math only", (0, 1, 2), (0.5, 0.55, 0.6), 200)
    assert (math.mean.value, math.sd) == (pytest.approx(0.55), pytest.approx(0.05))
    single = proportion(110, 200)
    assert math.mean.high - math.mean.low > (single.high - single.low) * 0.95  # items' noise is in it, and the seeds'
    assert (mixed.seeds, mixed.values) == ((0, 1), (0.30, 0.32))
    found = {one.run: one for one in comparisons(plan, ends(plan, store))}
    assert set(found) == {"mini math only", "mini multi_task", plan.runs[5].label}
    assert found["mini math only"].seeds == (3, 1)
    assert (found["mini math only"].p, found["mini math only"].difference.value) == (None, pytest.approx(0.30))
    assert found[plan.runs[5].label].seeds == (1, 1)
    assert found[plan.runs[5].label].p is not None
    results = collect(plan, store, "s")
    page = tables.markdown(results)
    assert "## Over training seeds" in page
    assert "| mini math only | mini_math | 3 | 55.0% (n=200) [" in page
    assert "| 5.0 | 0: 50.0, 1: 55.0, 2: 60.0 |" in page
    assert "+30.00 points [" in page
    data = json.loads(json.dumps(to_json(results)))
    assert [run["seed"] for run in data["runs"]] == [2, 0, 1, 0, 1, 0, 0]
    assert [one["sd"] for one in data["replicated"]] == [pytest.approx(0.05), pytest.approx(0.02 / 2**0.5)]
    tables.write(results, tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 7 + 2
    assert [row["seed"] for row in rows] == ["2", "0", "1", "0", "1", "0", "0", "mean", "mean"]
    assert [(row["value"], row["correct"], row["n"]) for row in rows[:1]] == [("0.6", "120", "200")]
    assert (rows[-2]["seeds"], float(rows[-2]["sd"])) == ("3", pytest.approx(0.05))


def test_a_seed_that_is_missing_or_on_other_items_is_left_out(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, plan, 0, first(120))
    assert list(replicated(plan, ends(plan, store))) == []
    keep(store, plan, 1, first(100, 199))
    assert list(replicated(plan, ends(plan, store))) == []
    keep(store, plan, 2, first(110, 199))
    (only,) = replicated(plan, ends(plan, store))
    assert (only.seeds, only.n) == ((0, 1), 199)


def test_nothing_right_is_not_certainly_nothing(plan: Plan, tmp_path: Path) -> None:
    """A bootstrap of zeros is zero wide."""
    store = Store(tmp_path)
    for run in (0, 1, 2):
        keep(store, plan, run, first(0, 120))
    (only,) = replicated(plan, ends(plan, store))
    assert (only.mean, only.sd) == (proportion(0, 120), 0.0)


def test_no_seeds_no_table(tmp_path: Path) -> None:
    plan = build([("a", request())])
    keep(Store(tmp_path), plan, 0, first(3, 9))
    assert "Over training seeds" not in tables.markdown(collect(plan, Store(tmp_path), "s"))


def test_two_level_intervals_cover_what_they_should() -> None:
    """Simulated: 12 seeds of standard deviation 11 points, 40 items; item noise alone would cover far less."""
    stream = np.random.default_rng(1)
    both = alone = apart = 0
    for _ in range(100):
        items = stream.normal(0, 1, 40)

        def seeds(mean: float, items: np.ndarray = items) -> np.ndarray:
            return mean + stream.normal(0, 0.11, (12, 1)) + 0.2 * items + stream.normal(0, 0.1, (12, 40))

        table, other = seeds(0.5), seeds(0.45)
        found, difference = two_level(table), two_level_difference(table, other)
        both += found.low <= 0.5 <= found.high
        apart += difference.low <= 0.05 <= difference.high
        means = table.mean(axis=0)
        narrow = weighted_mean(list(means - 0.2 * items), [1.0] * 40)
        alone += narrow.low <= 0.5 <= narrow.high
    assert 0.85 * 100 <= both <= 100
    assert 0.82 * 100 <= apart <= 100
    assert alone < 0.8 * 100
    with pytest.raises(ValueError, match="two tables"):
        two_level_difference([[1.0]], [[1.0, 2.0]])


def test_a_held_out_losss_difference_is_of_a_token(tmp_path: Path) -> None:
    """Examples have different lengths: the mean of the values is the score."""
    plan = build([("a", request(strategy="base", benchmarks=(HELD,)))])
    store, (score,) = Store(tmp_path), plan.scores
    rows = [{"item": str(n), "loss": float(n * n + 3), "tokens": 2 * n + 1} for n in range(8)]
    write_rows(store.score(score) / VERDICTS, rows)
    write_record(store.score(score), score.payload, [VERDICTS], {"score": {}})
    kept = Scores(store).values(score)
    whole = sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows)
    assert sum(kept.values()) / len(kept) == pytest.approx(whole)


def test_the_plan_says_what_so_many_items_can_show() -> None:
    """Of GSM8K's 1,319 items and HumanEval's 164, at a fifth discordant; held-out losses have no such number."""
    sizes = (("gsm8k", 1319), ("humaneval", 164))
    plan = build([("a", request(benchmarks=(*(benchmark(name, examples=n) for name, n in sizes), HELD)))])
    assert to_plan(plan, {})["detectable"] == {
        "gsm8k": pytest.approx(0.0345, abs=1e-3),
        "humaneval": pytest.approx(0.097, abs=1e-3),
    }
    (line,) = visible(plan)
    assert "gsm8k (1,319 items) 3.4 points, humaneval (164 items) 9.7 points; one training seed" in line
    assert visible(build([("a", request(benchmarks=(HELD,)))])) == []
