"""Scores by another judge than the sweep's: shown with how far the two agree, and never among the sweep's own."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sweeps import train
from values import benchmark, component, request

from sft_sweeps.analysis import rank_agreement
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import current, judges, tables
from sft_sweeps.report.collect import Results, collect, to_json
from sft_sweeps.report.page import build as page
from sft_sweeps.report.page import evidence
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Judge, Score
from sft_sweeps.stats import clustered_mean, paired_means
from sft_sweeps.store.answers import ITEMS, VERDICTS, write_rows
from sft_sweeps.store.store import RECORD, Store, write_record
from sft_sweeps.store.sweeps import freeze

QUESTIONS = 12
FIRST = Judge("gpt-4", "", "p", "r", 0.0, 2048, 1)
OTHER = replace(FIRST, model="prometheus-7b")
Grades = Callable[[int, int], float]  # of a model, of a question


@pytest.fixture(autouse=True, scope="module")
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_agreement, "RESAMPLES", 60)
        yield


@pytest.fixture
def plan() -> Plan:
    asked = replace(benchmark("mt_bench", ability="general", examples=QUESTIONS), judge=FIRST)
    points = [
        (f"data={name}", request((component(name),), benchmarks=(asked,))) for name in ("math", "code", "general")
    ]
    return build(points)


def grade(store: Store, score: Score, grades: list[float]) -> Path:
    folder = store.generation(score.generation)
    rows = [{"id": str(81 + n), "sample": 0, "answers": ["a", "b"]} for n in range(len(grades))]
    write_rows(folder / ITEMS, rows)
    write_record(folder, score.generation.payload, [ITEMS], {})
    folder = store.score(score)
    write_rows(folder / VERDICTS, [{"item": str(81 + n), "turn": 1, "score": g} for n, g in enumerate(grades)])
    found = clustered_mean([[one] for one in grades])
    value = {"metric": "rating", "n": len(grades), "value": found.value, "low": found.low, "high": found.high}
    write_record(folder, score.payload, [VERDICTS], {"score": value})
    return folder


def by(score: Score, judge: Judge) -> Score:
    own = score.generation
    return replace(score, generation=replace(own, benchmark=replace(own.benchmark, judge=judge)))


def judged(plan: Plan, root: Path, first: Grades | None, other: Grades) -> Store:
    store = Store(root)
    train(store, plan, 3)
    for number, score in enumerate(plan.scores):
        for judge, grades in ((FIRST, first), (OTHER, other)):
            if grades:
                grade(store, by(score, judge), [grades(number, n) for n in range(QUESTIONS)])
    return store


def one_point_less(model: int, question: int) -> float:
    return min(10, 2 + model + question % 5) - 1


def test_scores_stand_beside_the_first_judges_and_nowhere_else(plan: Plan, tmp_path: Path) -> None:
    alone = collect(plan, judged(plan, tmp_path / "a", lambda m, q: one_point_less(m, q) + 1, lambda *_: 1.0), "s")
    store = judged(plan, tmp_path / "b", lambda m, q: one_point_less(m, q) + 1, one_point_less)
    results = collect(plan, store, "s")
    (found,) = results.other_judges
    assert (found.benchmark, found.judge, found.first) == ("mt_bench", "prometheus-7b", "gpt-4")
    assert [(m.label, m.first, m.other.value) for m in found.models] == [
        (row.run.label, row.scores["mt_bench"], pytest.approx(row.scores["mt_bench"].value - 1)) for row in results.rows
    ]
    assert all(m.apart and m.apart.value == pytest.approx(-1) and m.apart.low < -1 < m.apart.high for m in found.models)
    assert found.tau is not None
    assert (found.tau.value, found.tau.low, found.tau.high) == pytest.approx((1, 1, 1)), "one order of all answers"
    assert found.tau_of_runs is not None
    assert (found.tau_of_runs.value, found.tau_of_runs.low) == pytest.approx((1, 1)), "and of all runs"
    kept = ("rows", "missing", "comparisons", "replicated", "observed")
    assert all(getattr(results, name) == getattr(alone, name) for name in kept), "the second judge moves no score"
    assert len(results.observed) == len(plan.scores)


def test_of_answers_that_only_another_judge_graded_there_is_no_agreement(plan: Plan, tmp_path: Path) -> None:
    results = collect(plan, judged(plan, tmp_path, None, one_point_less), "s")
    (found,) = results.other_judges
    assert [(m.first, m.apart) for m in found.models] == [(None, None)] * 3
    assert (found.apart, found.tau, found.tau_of_runs) == (None, None, None)
    assert len(results.missing) == len(plan.scores), "they are missing as scores of the sweep"
    assert "gpt-4 none of them" in judges.said(found)


def test_a_record_that_cannot_be_trusted_is_no_score(plan: Plan, tmp_path: Path) -> None:
    store = judged(plan, tmp_path, one_point_less, one_point_less)
    folders = [store.score(by(score, OTHER)) for score in plan.scores]
    (folders[0] / RECORD).write_text("{")
    record = json.loads((folders[1] / RECORD).read_text())
    (folders[1] / RECORD).write_text(json.dumps(record | {"payload": record["payload"] | {"version": 99}}))
    assert [m.label for m in collect(plan, store, "s").other_judges[0].models] == [plan.runs[2].label]


def test_they_are_in_every_form_of_a_report_and_read_again(plan: Plan, tmp_path: Path) -> None:
    store = judged(plan, tmp_path, one_point_less, lambda m, q: one_point_less(m, q) + 0.5)
    results = collect(plan, store, "s")
    again = collect(plan, store, "s", made=json.loads(json.dumps(to_json(results))))
    assert again.other_judges == results.other_judges
    (said,) = map(judges.said, results.other_judges)
    assert said in tables.markdown(results)
    sweep = freeze(plan, store, "s", "?", [])
    text = page.html([evidence.read(sweep, tmp_path)])
    assert "by prometheus-7b" in text
    assert 'id="judges"' in text


def test_a_report_is_made_again_when_another_judge_was_asked(plan: Plan, tmp_path: Path) -> None:
    store = judged(plan, tmp_path, one_point_less, one_point_less)
    key = current.key(plan, Scores(store), "s", "")
    grade(store, by(plan.scores[0], replace(OTHER, model="third")), [5.0] * QUESTIONS)
    assert current.key(plan, Scores(Store(tmp_path)), "s", "") != key


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(1, 10), min_size=4, max_size=4), min_size=2, max_size=3))
def test_agreement_is_of_the_order_and_lies_between_its_ends(grades: list[list[int]]) -> None:
    first = np.asarray(grades, dtype=float)
    found = rank_agreement.of_answers(first, 11 - first)
    if found is None:
        assert len(set(first.ravel())) == 1, "no order in one grade"
    else:
        assert found.value == pytest.approx(-1)
        assert found.low <= found.value + 1e-9


def test_tau_agrees_with_counting_pairs() -> None:
    """Kendall's tau-b by its definition: pairs in one order less those in the other, of those that both order."""
    stream = np.random.default_rng(1)
    first, other = (stream.permutation(20).reshape(4, 5).astype(float) for _ in range(2))
    a, b = first.ravel(), other.ravel()
    pairs = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i in range(20) for j in range(i)]
    found = rank_agreement.of_answers(first, other)
    assert found is not None
    assert found.value == pytest.approx(sum(pairs) / len(pairs))
    assert found.low < found.value < found.high


def test_the_difference_over_models_is_the_questions(plan: Plan, tmp_path: Path) -> None:
    def other(model: int, question: int) -> float:
        return one_point_less(model, question) + question / 4 - model / 2

    results: Results = collect(plan, judged(plan, tmp_path, one_point_less, other), "s")
    (found,) = results.other_judges
    means = [np.mean([question / 4 - model / 2 for model in range(3)]) for question in range(QUESTIONS)]
    assert found.apart is not None
    assert found.apart.value == pytest.approx(np.mean(means))
    assert set(asdict(found)["models"][0]) == {"label", "other", "first", "apart"}
    assert (
        found.models[0].apart
        == paired_means(
            [other(0, n) for n in range(QUESTIONS)], [one_point_less(0, n) for n in range(QUESTIONS)]
        ).interval
    )
