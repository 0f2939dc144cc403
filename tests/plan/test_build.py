"""Runs become a forest of distinct stages: properties over any requests, and the counts of every shipped study."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from common import Points
from hypothesis import given, settings
from hypothesis import strategies as st
from values import RECIPE, SHAPE, benchmark, component, mixed, model, request, source, stage

from sft_sweeps import identity
from sft_sweeps.config.resolve import request as resolved
from sft_sweeps.plan import cost, serialize
from sft_sweeps.plan.build import Plan, State, build
from sft_sweeps.plan.request import Request
from sft_sweeps.plan.serialize import from_json, to_json
from sft_sweeps.spec.training import Stage
from sft_sweeps.strategies import STRATEGIES

SHARES = [Fraction(1), Fraction(1, 3), Fraction(1, 4)]
PARTS = [component(name, fraction=share) for name in ("code", "math", "general", "law") for share in SHARES]


def one_of_each(parts: list[Any]) -> list[Any]:
    return list({part.source.name: part for part in parts}.values())


REQUESTS = st.builds(
    request,
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map(one_of_each),
    st.sampled_from(sorted(STRATEGIES.names)),
    st.sampled_from([*SHARES, Fraction(1, 2000)]),
    st.sampled_from([model("a"), model("b")]),
    every_stage=st.booleans(),
    benchmarks=st.sampled_from([(), (benchmark(),), (benchmark(), benchmark("mini_code"))]),
    recipe=st.sampled_from([RECIPE, replace(RECIPE, seed=1), replace(RECIPE, learning_rate=1.0)]),
)


def built(*requests: Request) -> Plan:
    return build([(f"point={n}", r) for n, r in enumerate(requests)])


@settings(max_examples=100)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_every_stage_once_parents_first_and_nothing_else(requests: list[Request]) -> None:
    whole = built(*requests)
    ids = [s.id for s in whole.stages]
    assert len(set(ids)) == len(ids)
    known = {m.id for m in whole.models}
    for s in whole.stages:
        assert s.parent.id in known
        known.add(s.id)
    alone = [built(r) for r in requests]
    assert {s.id for p in alone for s in p.stages} == set(ids)
    assert {g.id for p in alone for g in p.generations} == {g.id for g in whole.generations}
    assert len({g.id for g in whole.generations}) == len(whole.generations)
    assert [s.generation for s in whole.scores] == list(whole.generations)
    for p in alone:  # a run's chain is a path of the forest that ends in it; what is averaged stands side by side
        chain = p.runs[0].stages
        if p.merges:
            assert p.runs[0].subject == p.merges[0]
            assert p.merges[0].parents == chain
            assert {s.parent.id for s in chain} == {p.models[0].id}
            continue
        assert [s.parent.id for s in chain] == [p.models[0].id, *(s.id for s in chain)][: len(chain)]


@settings(max_examples=100)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_totals_add_up(requests: list[Request]) -> None:
    whole = built(*requests)
    states = {s.id: State("done") for s in whole.stages[::2]}
    t = to_json(whole, states)["totals"]
    assert t["runs"] == len(requests) == sum(len(run.points) for run in whole.runs)
    assert t["distinct_runs"] == len(whole.runs) == len({run.id for run in whole.runs})
    assert t["stages_naive"] == sum(len(built(r).stages) for r in requests) >= t["stages"] == len(whole.stages)
    assert t["stages_done"] == len(states)
    assert t["stages_done"] + t["stages_to_run"] == t["stages"]
    assert t["gpu_hours"] <= t["gpu_hours_naive"] + 0.01
    assert {label for s in whole.stages for label in whole.runs_of(s)} == {r.label for r in whole.runs if r.stages}


@settings(max_examples=100)
@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_each_run_has_a_label_of_its_own(requests: list[Request]) -> None:
    whole = built(*requests)
    assert len({run.label for run in whole.runs}) == len(whole.runs)


@given(st.lists(REQUESTS, min_size=1, max_size=5))
def test_a_plan_comes_back_from_json_text(requests: list[Request]) -> None:
    whole = built(*requests)
    text = serialize.dumps(whole, {})
    back = from_json(json.loads(text))
    assert serialize.dumps(back, {}) == text
    assert (back.runs, back.stages, back.generations, back.scores) == (
        whole.runs,
        whole.stages,
        whole.generations,
        whole.scores,
    )


def test_a_stored_plan_keeps_its_ids_and_payloads_when_versions_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = built(request(strategy="sequential", every_stage=True), request(strategy="base"))
    data = json.loads(serialize.dumps(whole, {}))
    for name in identity.VERSIONS:
        monkeypatch.setitem(identity.VERSIONS, name, 99)
    back = from_json(data)
    for kind in ("models", "stages", "generations", "scores"):
        old, new = getattr(whole, kind), getattr(back, kind)
        assert [(item.id, item.payload) for item in new] == [(item.id, item.payload) for item in old]
    assert [run.id for run in back.runs] == [run.id for run in whole.runs]
    assert [s.parent.id for s in back.stages] == [s.parent.id for s in whole.stages]
    assert stage().payload["versions"]["loss"] == 99


@pytest.mark.parametrize(
    ("strategy", "scored"),
    [
        ("multi_task", ["code+general+math"]),
        ("sequential", ["math", "general"]),
        ("mixed_sequential", ["code+math", "general"]),
        ("dmt", ["code+math", "code+general+math"]),
        ("base", []),
    ],
)
@pytest.mark.parametrize("base", [False, True])
def test_the_model_before_general_data_and_the_base_model_are_scored_where_asked(
    strategy: str, scored: list[str], base: bool
) -> None:
    asked = request(strategy=strategy, k=Fraction(1, 4), specialized=True, base_model=base)
    subjects = [g.subject for g in built(asked, replace(asked, base_model=False)).generations]
    trained = [s for s in subjects if isinstance(s, Stage)]
    assert ["+".join(sorted(c.source.ability for c in s.mixture.components)) for s in trained] == scored
    assert len(subjects) - len(trained) == (base or strategy == "base")
    alone = built(request([component("math")], specialized=True))
    assert [g.subject for g in alone.generations] == list(alone.stages)


def test_a_replay_of_nothing_is_noted() -> None:
    whole = built(request(strategy="dmt", k=Fraction(1, 2000)))
    assert len(whole.notes) == len(whole.stages[0].mixture.components)
    assert all("is no example; nothing of it is replayed" in note for note in whole.notes)


def test_equal_runs_are_merged_with_a_note() -> None:
    whole = built(*[request(strategy="mixed_sequential")] * 2, request(strategy="multi_task"))
    assert (whole.rows, len(whole.runs), whole.stages_naive, len(whole.stages)) == (3, 2, 5, 3)
    (note,) = whole.notes
    assert "2 points are the same run" in note
    assert "point=0; point=1" in note


def test_k_means_nothing_to_other_strategies() -> None:
    k = Fraction(1, 4)
    whole = built(request(k=k), request(k=k / 4), request(strategy="dmt", k=k))
    assert len(whole.runs) == 2
    assert "strategy.k means nothing to strategy=multi_task and is ignored (2 points)" in whole.notes
    assert not any("strategy=dmt and is ignored" in note for note in whole.notes)


def test_labels_that_collide_say_what_differs() -> None:
    rates = [replace(RECIPE, learning_rate=rate) for rate in (1e-5, 2e-5)]
    whole = build([(f"model=mini lr={r.learning_rate}", request(recipe=r)) for r in rates])
    assert [run.label for run in whole.runs] == ["mini multi_task lr=1e-05", "mini multi_task lr=2e-05"]
    alike = build([("same", request(recipe=r)) for r in rates])
    assert len({run.label for run in alike.runs}) == 2


def test_held_out_loss_is_left_out_where_it_was_trained_on() -> None:
    held_out = benchmark("heldout_loss:math", source=source("math"), examples=64)
    full, part, kept = component("math"), component("math", fraction=Fraction(1, 2)), component("math")
    kept = replace(kept, heldout=64)
    for parts, scored in (([full], False), ([part], True), ([kept], True), ([component("code")], True)):
        whole = built(request(parts, benchmarks=(held_out,)))
        assert bool(whole.generations) == scored
        assert any("held-out loss of math" in note for note in whole.notes) != scored
    replay = built(request(mixed(), "dmt", Fraction(1, 4), benchmarks=(held_out,)))  # stage 1 saw all of it
    assert not replay.generations


@given(st.lists(st.tuples(st.sampled_from([1, Fraction(1, 2)]), st.booleans()), min_size=1, max_size=4, unique=True))
def test_runs_without_the_score_that_was_asked_for_are_named_first(wanted: list[tuple[Fraction, bool]]) -> None:
    """`evaluate=none` is meant; a held-out loss of what is wholly trained on is not to be had."""
    held_out = (benchmark("heldout_loss:math", source=source("math"), examples=64),)
    parts = [component("math", fraction=fraction) for fraction, _ in wanted]
    runs = [
        request([part], benchmarks=held_out if asked else ()) for part, (_, asked) in zip(parts, wanted, strict=True)
    ]
    whole = built(*runs)
    full = [run.id for run in whole.runs if run.stages[0].mixture.components[0].fraction == 1]
    assert list(whole.unscored) == (full if (1, True) in wanted else [])
    said = f"{len(full)} of {len(whole.runs)} runs get no score at all, e.g. mini math only"
    assert whole.warning == (said if whole.unscored else "")
    frozen = to_json(whole, {})
    assert (from_json(frozen).unscored, from_json(frozen).warning) == (whole.unscored, whole.warning)
    assert whole.notes[: len(whole.unscored)] == (said,) * len(whole.unscored)


def test_flops_of_llama7b() -> None:
    shape = replace(SHAPE, hidden_size=4096, intermediate_size=11008, layers=32, heads=32, kv_heads=32)
    assert cost.parameters(replace(shape, vocab_size=32000)) == 6_738_415_616
    assert cost.gpu_hours(stage(model(gpus=0))) == 0
    assert cost.model_gb(stage(model(shape=replace(shape, vocab_size=32000)), model_dtype="bf16")) == 13.476831232


TABLES = [f"table{n}" for n in range(1, 7)]  # what each study counts: tests/test_studies.py


@pytest.fixture(scope="session")
def planned(points: Points) -> Callable[..., Plan]:
    return cache(lambda *line: build([(point.name, resolved(point.config)) for point in points(*line)]))


def test_the_quickstart_shares_code_and_math(planned: Callable[..., Plan]) -> None:
    runs = {run.label: run for run in planned("study=quickstart").runs}
    assert len(runs) == 8
    three = [run.stages for run in runs.values() if run.strategy in ("dmt", "mixed_sequential")]
    assert [len(stages) for stages in three] == [2, 2, 2]
    assert len({stages[0].id for stages in three}) == 1
    assert len({stages[1].id for stages in three}) == 3
    assert {c.source.ability for c in three[0][0].mixture.components} == {"code", "math"}
    assert runs["mini sequential"].stages[0] == runs["mini code only"].stages[0]


def test_studies_share_stages(planned: Callable[..., Plan]) -> None:
    """What makes one sweep attach to another's: multi-task is the full mixture, code only is sequential's first."""
    ids = {study: {s.id for s in planned(f"study={study}").stages} for study in (*TABLES, "paper")}
    assert set.union(*(ids[table] for table in TABLES)) == ids["paper"]
    assert len(ids["table1"] & ids["table2"]) == 2 * 4
    assert len(ids["table4"] & ids["table2"]) == 5 - 3
    assert not ids["table6"] & ids["table2"]


SHARES_TEXT = "1,1/4,1/16,1/64,1/256"
QUESTIONS = (
    ("data=math,code,general,mixed", f"data.fraction={SHARES_TEXT}"),
    (f"data.fractions.general={SHARES_TEXT}",),
    (f"data.fraction={SHARES_TEXT}", "data.fractions.general=1"),
    (f"data.fraction={SHARES_TEXT}", "data.fractions.general=1/64"),
    ("data=mixed_clean", f"data.fraction={SHARES_TEXT}"),
    ("data=general",),
    ("strategy=multi_task,sequential,mixed_sequential",),
    ("strategy=dmt", "strategy.k=1,1/2,1/4,1/8,1/16,1/32,1/256"),
)


def test_every_question_at_one_size(points: Points) -> None:
    """The count of the facts about the paper: seven k, and the third question's two single baselines."""
    rows = [(point.name, resolved(point.config)) for line in QUESTIONS for point in points(*line)]
    specialized = replace(rows[-1][1], strategy="multi_task", k=None, components=rows[-1][1].components[:2])
    assert [c.source.ability for c in specialized.components] == ["code", "math"]
    whole = build([*rows, ("specialized alone", specialized)])
    assert (whole.rows, whole.stages_naive, len(whole.stages)) == (52, 62, 47)


def test_a_stage_json_has_the_documented_keys(planned: Callable[..., Plan]) -> None:
    data = to_json(planned("study=table1"), {})
    documented = {"id", "label", "parent", "mixture", "model", "gpus", "gpu_hours", "state", "why", "runs"}
    assert all(documented <= set(entry) for entry in data["stages"])
    first = data["stages"][0]["mixture"]
    assert first == [{"ability": "math", "source": "gsm8k_rft", "fraction": "1", "examples": 110142}]
    assert all(isinstance(entry["runs"], list) and entry["runs"] for entry in data["stages"])


def test_ids_in_a_plan_are_those_of_its_values(planned: Callable[..., Plan]) -> None:
    whole = planned("study=paper")
    fresh: dict[str, Stage] = {s.id: Stage(s.parent, s.mixture, s.recipe) for s in whole.stages}
    assert all(key == value.id for key, value in fresh.items())
    assert len(fresh) == 99
