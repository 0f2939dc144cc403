"""`sft-sweeps predict` on a store, on the paper's tables, and where there is nothing to predict from."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from outcomes import accuracy
from values import benchmark, component, model, request

from sft_sweeps.commands.main import main
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import freeze

SCORED = (benchmark(ability="math"),)
RIGHT = {"1/64": 200, "1/16": 400, "1/4": 520}


@pytest.fixture
def plan() -> Plan:
    """Math alone at four fractions."""
    fractions = [Fraction(text) for text in (*RIGHT, "1")]
    parts = [(component("math", fraction=fraction),) for fraction in fractions]
    return build([(str(part[0].fraction), request(part, benchmarks=SCORED, model=model())) for part in parts])


@pytest.fixture
def store(tmp_path: Path, plan: Plan) -> Store:
    store = Store(tmp_path)
    freeze(plan, store, "mine", "", [])
    return store


def run(*arguments: str) -> int:
    return main(["predict", *arguments])


def test_a_run_that_is_not_scored_is_predicted(plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for score, right in zip(plan.scores, RIGHT.values(), strict=False):
        accuracy(store, score, right, 1000)
    assert run("mine", "--output-dir", str(store.root), "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (one["fraction"], one["measured"], one["why_not"]) == ("1", ["1/64", "1/16", "1/4"], "")
    assert 0.5 < one["value"] < 0.7
    assert one["low"] < one["value"] < one["high"]
    assert run("mine", "--output-dir", str(store.root), "--at", "1/2") == 0
    shown = capsys.readouterr().out
    assert "1/2" in shown
    assert "no backtest: it needs a curve of four fractions" in shown


def test_too_few_fractions_are_said(plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy(store, plan.scores[0], 3, 10)
    assert run("--output-dir", str(store.root), "--json") == 0
    made = json.loads(capsys.readouterr().out)["predictions"]
    assert {(one["why_not"], one["value"]) for one in made} == {("1 fraction measured, 3 are needed", None)}
    assert len(made) == 3


def test_nothing_scored_is_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--output-dir", str(store.root)) == 2
    assert "no trained run of " in (said := capsys.readouterr().err)
    assert "sft-sweeps status" in said


def test_a_fraction_that_is_none_is_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--output-dir", str(store.root), "--at", "2") == 2
    assert "--at=2 is not a fraction in (0, 1]" in capsys.readouterr().err


def test_the_papers_tables_have_a_backtest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--paper") == 0
    shown = capsys.readouterr().out
    assert "backtest" in shown
    assert "log-linear" in shown
