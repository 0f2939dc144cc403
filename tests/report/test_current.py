"""A report is written when it would say something new, and left alone when it would not; its bytes are the same."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import accuracy
from values import RECIPE, mixed, request

from sft_sweeps import stats
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import current, scores, tables
from sft_sweeps.report.collect import collect
from sft_sweeps.report.scores import Scores
from sft_sweeps.store.answers import VERDICTS, write_rows
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey


@pytest.fixture
def plan() -> Plan:
    """Two points of two seeds each, and one of one."""
    fractions = (Fraction(1), Fraction(1, 2))
    points = [(f"{f} {n}", request(mixed(f), recipe=replace(RECIPE, seed=n))) for f in fractions for n in (0, 1)]
    return build([*points, ("one", request(mixed(Fraction(1, 4))))])


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    for number, score in enumerate(plan.scores):
        folder = accuracy(made, score, 10 - number, 10)
        rows = [{"item": f"i{n}", "correct": n >= number, "reason": ""} for n in range(10)]
        write_rows(folder / VERDICTS, rows)
    return Store(made.root)


def write(plan: Plan, store: Store, folder: Path) -> bool:
    """As a launch does; whether it was made anew."""
    known = Scores(store, survey(plan, store))
    made_from = current.key(plan, known, "s", "?")
    made = current.read(folder, made_from)
    results = collect(plan, known, "s", "?", made)
    if made is None:
        current.note(folder, made_from, tables.write(results, folder))
    again = folder.parent / "again"
    tables.write(results, again)
    for name in tables.FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    return made is None


def test_a_current_report_is_left_alone_and_read_back_to_the_same_bytes(
    plan: Plan, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write(plan, store, tmp_path / "report")
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert found["comparisons"]
    assert found["replicated"]
    monkeypatch.setattr(scores, "read_rows", lambda path: pytest.fail(f"{path} was read"))
    assert not write(plan, store, tmp_path / "report")


@pytest.mark.parametrize("what", ["score", "edited", "lost", "note", "question"])
def test_whatever_it_follows_from_makes_it_anew(what: str, plan: Plan, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(plan, store, folder)
    if what == "score":
        accuracy(store, plan.scores[0], 1, 10)
    elif what == "edited":
        (folder / "results.md").write_text("mine")
    elif what == "lost":
        (folder / "results.csv").unlink()
    elif what == "note":
        (folder / current.MADE).write_text("{")
    else:
        known = Scores(store)
        assert current.key(plan, known, "s", "?") != current.key(plan, known, "s", "!")
        return
    assert write(plan, Store(store.root), folder)


def test_a_scores_verdicts_are_read_once(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By comparisons and by the means over seeds, with a survey and without."""
    reading, read = scores.read_rows, []
    monkeypatch.setattr(scores, "read_rows", lambda path: read.append(path) or reading(path))
    with_survey = collect(plan, Scores(store, survey(plan, store)), "s")
    assert len(read) == len(set(read)) == len(plan.scores)
    assert collect(plan, store, "s") == with_survey
    assert len(read) == 2 * len(plan.scores)


@given(data=st.lists(st.floats(-9, 9), min_size=1, max_size=12), seeds=st.integers(1, 4))
def test_resamples_that_are_reused_are_those_that_would_be_drawn(data: list[float], seeds: int) -> None:
    """To the last bit, in any order of asking."""
    table: Any = [[value + n for value in data] for n in range(seeds)]

    def every() -> list[object]:
        return [
            stats.two_level(table),
            stats.two_level_difference(table, table[:1]),
            stats.paired_means(data, table[-1]),
            stats.weighted_mean(data, [1.0] * len(data)),
        ]

    first = every()
    assert every() == first
    stream = np.random.default_rng(0)
    rows = stream.multinomial(seeds, np.full(seeds, 1 / seeds), size=stats.RESAMPLES) / seeds
    columns = stream.multinomial(len(data), np.full(len(data), 1 / len(data)), size=stats.RESAMPLES) / len(data)
    means = np.einsum("rs,si,ri->r", rows, np.asarray(table), columns, optimize=True)
    low, high = np.quantile(means, [(1 - stats.CONFIDENCE) / 2, (1 + stats.CONFIDENCE) / 2])
    if np.ptp(table) > 0:
        assert (stats.two_level(table).low, stats.two_level(table).high) == (float(low), float(high))
