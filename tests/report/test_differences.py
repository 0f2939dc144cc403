"""Differences between runs: paired by item, against the reference, and nothing where items differ."""

from pathlib import Path

import pytest
from values import benchmark, component, request

from sft_sweeps.analysis.cells import finals
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import tables
from sft_sweeps.report.collect import collect
from sft_sweeps.report.differences import Comparison, comparisons
from sft_sweeps.report.observe import observations
from sft_sweeps.stats import holm, mcnemar
from sft_sweeps.store.answers import VERDICTS, write_rows
from sft_sweeps.store.store import Store, write_record

GRADED = benchmark("mt_bench")


@pytest.fixture
def plan() -> Plan:
    shared = {"benchmarks": (benchmark(), GRADED)}
    return build(
        [
            ("a", request((component("math"),), **shared)),
            ("b", request(**shared)),
            ("c", request(strategy="sequential", **shared)),
        ]
    )


def keep(store: Store, plan: Plan, name: str, run: int, rows: list[dict]) -> None:
    (score,) = (
        s for s in plan.scores if s.generation.benchmark.name == name and s.generation.subject.id == plan.runs[run].id
    )
    folder = store.score(score)
    write_rows(folder / VERDICTS, rows)
    metric, value = ("rating", 5.0) if name == "mt_bench" else ("accuracy", 0.5)
    found = {"metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1, "n": len(rows), "k": None}
    write_record(folder, score.payload, [VERDICTS], {"score": found})


def compare(plan: Plan, store: Store) -> list[Comparison]:
    return list(comparisons(plan, finals(observations(plan, store))))


def right(count: int, n: int = 100) -> list[dict]:
    return [{"item": str(i), "correct": i < count, "reason": ""} for i in range(n)]


def test_every_run_is_compared_with_the_widest_mixture(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run, count in enumerate((50, 60, 52)):
        keep(store, plan, "mini_math", run, right(count))
    first, last = compare(plan, store)
    assert (first.run, first.against) == ("mini math only", "mini multi_task")
    assert (first.difference.value, first.n) == (pytest.approx(-0.10), 100)
    assert (last.run, last.difference.value) == ("mini sequential", pytest.approx(-0.08))
    assert first.p == mcnemar(0, 10)
    assert [first.adjusted, last.adjusted] == holm([mcnemar(0, 10), mcnemar(0, 8)])
    assert first.detectable is not None
    assert 0.05 < first.detectable <= 0.1
    results = collect(plan, store, "s")
    assert results.comparisons == (first, last)
    page = tables.markdown(results)
    assert "| mini math only | mini multi_task | mini_math | -10.00 points [" in page
    assert "0.00195 (0.00391)" in page


def test_the_base_model_is_the_reference_where_it_is_scored(tmp_path: Path) -> None:
    plan = build([("a", request()), ("b", request(strategy="base"))])
    store = Store(tmp_path)
    keep(store, plan, "mini_math", 0, right(40))
    keep(store, plan, "mini_math", 1, right(40))
    (only,) = compare(plan, store)
    assert (only.run, only.against, only.p, only.detectable) == ("mini multi_task", "mini base", 1.0, None)
    assert tables.differences(collect(plan, store, "s"))[1][0][3] == "+0.00 points [-3.70, +3.70]"


def test_grades_are_means_of_questions(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run, grade in enumerate((6.0, 5.0)):
        rows = [
            {"item": str(q), "turn": turn, "score": grade + q % 3 + turn, "reason": "graded"}
            for q in range(80)
            for turn in (1, 2)
        ]
        rows[0]["score"] += 0.5 * run  # what differs by the same everywhere would show however few items there were
        keep(store, plan, "mt_bench", run, [*rows, {"item": "0", "turn": 1, "score": None, "reason": "no rating"}])
    (only,) = compare(plan, store)
    assert (only.difference.value, only.n, only.p, only.adjusted) == (pytest.approx(1 - 0.25 / 80), 80, None, None)
    assert tables.differences(collect(plan, store, "s"))[1][0][3:] == ["+1.00 [+0.94, +1.06]", "-", "0.01", "-"]


def test_other_items_are_not_compared(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, plan, "mini_math", 0, right(50, 99))
    keep(store, plan, "mini_math", 1, right(50, 100))
    assert compare(plan, store) == []
    found: list[Comparison] = compare(plan, Store(tmp_path / "empty"))
    assert found == []
