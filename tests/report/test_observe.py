"""From a plan and a store to observations: where each score stands, and what never falls together."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from outcomes import accuracy
from values import RECIPE, benchmark, component, mixed, model, request

from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report.observe import observations, setting_of
from sft_sweeps.store.answers import VERDICTS, write_rows
from sft_sweeps.store.store import Store

SCORED = (benchmark(ability="math"),)


@pytest.fixture
def plan() -> Plan:
    k = Fraction(1, 4)
    points = [
        ("base", request(strategy="base", benchmarks=SCORED)),
        ("alone", request((component("math", fraction=Fraction(1, 4)),), benchmarks=SCORED)),
        ("dmt", request(mixed(Fraction(1, 2)), "dmt", k=k, benchmarks=SCORED, every_stage=True)),
    ]
    return build(points)


def test_every_stage_of_every_run_is_observed_with_its_base_first(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, score in enumerate(plan.scores):
        accuracy(store, score, number + 1, 10)
    seen = [(one.label, one.stage, one.final, one.stage_label, one.setting.arm) for one in observations(plan, store)]
    base, alone, dmt = (run.label for run in plan.runs)
    assert seen == [
        (base, 0, True, "base", "base"),
        (alone, 0, False, "base", "alone"),
        (alone, 1, True, "math", "alone"),
        (dmt, 0, False, "base", "dmt"),
        (dmt, 1, False, "code+math", "dmt"),
        (dmt, 2, True, "code+general+math", "dmt"),
    ]


def test_what_is_not_scored_is_left_out(plan: Plan, tmp_path: Path) -> None:
    assert observations(plan, Store(tmp_path)) == []


def test_a_replayed_source_counts_with_what_its_first_stage_took(plan: Plan) -> None:
    parts = {part.ability: (part.fraction, part.examples) for part in setting_of(plan.runs[2]).parts}
    assert parts == {name: (Fraction(1, 2), 500) for name in ("code", "math", "general")}


def test_an_observation_carries_its_evidence(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = accuracy(store, plan.scores[1], 3, 10)
    write_rows(folder / VERDICTS, [{"item": f"m/{number}", "correct": number < 3} for number in range(10)])
    (one,) = observations(plan, store)
    assert (one.value, one.n, one.share, one.ability, len(one.items)) == (0.3, 10, True, "math", 10)
    assert one.low < 0.3 < one.high
    assert sum(one.items.values()) == 3


def test_categories_are_those_of_the_verdicts(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = accuracy(store, plan.scores[1], 1, 2)
    rows = [{"item": f"m/{number}", "correct": not number, "category": f"c{number}"} for number in range(2)]
    write_rows(folder / VERDICTS, rows)
    (one,) = observations(plan, store)
    assert one.categories == {"m/0": "c0", "m/1": "c1"}


def test_settings_differ_where_anything_but_the_seed_does() -> None:
    def setting(**changes: object) -> object:
        recipe = replace(RECIPE, **{key: value for key, value in changes.items() if key in ("seed", "learning_rate")})
        base = model(**{key: value for key, value in changes.items() if key == "weights"})
        content = str(changes.get("content", "sha256:math"))
        parts = (component("math", content=content),)
        (run,) = build([("x", request(parts, model=base, recipe=recipe))]).runs
        return setting_of(run).cell

    first = setting()
    assert setting(seed=3) == first
    assert first not in (setting(learning_rate=1e-4), setting(weights="init:other"), setting(content="sha256:other"))
