"""Identity: every field that changes weights or scores changes the id, nothing else does, on every machine alike."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any, get_args

import pytest
from common import ROOT
from hypothesis import given
from hypothesis import strategies as st
from values import ENGINE, RECIPE, SHAPE, benchmark, component, generation, mixed, model, source, stage

from sft_sweeps import identity
from sft_sweeps.identity import canonical_json, digest, plain, revive
from sft_sweeps.plan.build import score_of
from sft_sweeps.spec.data import Component, Mixture, Source, TurnRules
from sft_sweeps.spec.evaluation import Engine, Generation, Judge, Score
from sft_sweeps.spec.training import Model, Recipe, Shape, Stage

JUDGE = Judge("gpt", "", "sha256:p", "sha256:r", 0.0, 2048, 1)


def changed(value: Any, kind: Any) -> Any:
    """Another value of a field."""
    if options := [option for option in get_args(kind) if option != value and isinstance(option, str)]:
        return options[0]
    if value is None and int in get_args(kind):
        return 1
    if value == ():
        return ("a",)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, Fraction):
        return value / 3
    if isinstance(value, str):
        return value + "x"
    if value is None or isinstance(value, Source):
        return source("another")
    if value == ():
        return (("prompt", "question"),)
    if isinstance(value, TurnRules):
        return replace(value, system="render")
    if isinstance(value, Shape):
        return replace(value, layers=value.layers + 1)
    raise AssertionError(f"no other value for {value!r}")


def variants(value: Any, identity: bool) -> Iterator[tuple[str, Any]]:
    """Every field of one sort by name, with the value that differs from `value` in it alone."""
    for field in fields(value):
        if field.metadata.get("identity", True) == identity:
            old = getattr(value, field.name)
            yield (
                field.name,
                replace(value, **{field.name: JUDGE if field.name == "judge" else changed(old, field.type)}),
            )


def stage_of(value: Any) -> str:
    """The id of a stage in which a value stands where it belongs, one stage deep."""
    parts: dict[type, Callable[[], Stage]] = {
        Recipe: lambda: Stage(model(), Mixture(mixed()), value),
        Component: lambda: stage(components=(*mixed()[:2], value)),
        Source: lambda: stage(components=(Component(value, Fraction(1, 4), 0), *mixed())),
        Shape: lambda: stage(model(shape=value)),
        Model: lambda: stage(value),
    }
    return stage(parts[type(value)](), mixed()).id


@pytest.mark.parametrize(
    ("value", "identity", "execution"),
    [(RECIPE, 21, 0), (component("law"), 7, 0), (source("law"), 10, 14), (SHAPE, 13, 0), (model(), 5, 6)],
    ids=lambda value: type(value).__name__,
)
def test_every_identity_field_and_no_other_changes_a_stage(value: Any, identity: int, execution: int) -> None:
    ids = {name: stage_of(other) for name, other in variants(value, identity=True)}
    assert len(ids) == identity
    assert len({*ids.values(), stage_of(value)}) == identity + 1, ids
    same = {name: stage_of(other) for name, other in variants(value, identity=False)}
    assert len(same) == execution
    assert set(same.values()) <= {stage_of(value)}, same


def test_every_identity_field_and_no_other_changes_a_generation() -> None:
    first = generation()
    of_benchmark = {n: replace(first, benchmark=b).id for n, b in variants(first.benchmark, identity=True)}
    of_engine = {n: replace(first, engine=e).id for n, e in variants(ENGINE, identity=True)}
    assert (len(of_benchmark), len(of_engine)) == (11, 3)
    different = {*of_benchmark.values(), *of_engine.values(), first.id, generation(stage(seed=1)).id}
    assert len(different) == 11 + 3 + 2
    of_execution = [replace(first, benchmark=b).id for _, b in variants(first.benchmark, identity=False)]
    assert of_execution == [first.id] * 5  # ability, total, path, judge, scorer_version
    judged = replace(first, benchmark=replace(first.benchmark, judge=JUDGE))
    assert judged.id == first.id  # another judge never answers again ...
    ids = {
        name: score_of(replace(judged, benchmark=replace(judged.benchmark, judge=j))).id
        for name, j in variants(JUDGE, identity=True)
    }
    assert len({*ids.values(), score_of(judged).id, score_of(first).id}) == len(ids) + 2 == 9  # ... but grades anew
    same = [
        score_of(replace(judged, benchmark=replace(judged.benchmark, judge=j))).id
        for _, j in variants(JUDGE, identity=False)
    ]
    assert same == [score_of(judged).id] * 10


def test_a_score_has_an_id_of_its_own() -> None:
    first = generation()
    ids = [Score(first, "mini_math", 1).id, Score(first, "mini_math", 2).id, Score(first, "mini_code", 1).id, first.id]
    assert len(set(ids)) == 4


STAGE_VERSIONS = {"cleaning", "encoding", "subset", "batches", "loss", "optimizer"}


@pytest.mark.parametrize("name", sorted(identity.VERSIONS))
def test_a_raised_version_changes_what_it_means_and_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids() -> tuple[str, ...]:
        held_out = benchmark("heldout_loss:math", source=source("math"))
        return stage().id, generation(model()).id, Generation(model(), held_out, ENGINE).id

    before = ids()
    monkeypatch.setitem(identity.VERSIONS, name, identity.VERSIONS[name] + 1)
    differ = [old != new for old, new in zip(before, ids(), strict=True)]
    assert differ == [name in STAGE_VERSIONS, name == "generation", name == "heldout_loss"]


def test_an_id_holds_the_whole_chain() -> None:
    chains = [stage(stage(stage(model(name)), seed=seed)) for name in ("mini", "other") for seed in (0, 1)]
    assert len({s.id for s in chains}) == 4
    assert {s.model.name for s in chains} == {"mini", "other"}
    assert chains[0].payload["parent"] == chains[0].parent.id


@given(st.permutations(range(4)))
def test_the_order_of_a_mixture_means_nothing(order: list[int]) -> None:
    parts = (*mixed(), replace(component("math"), seed=1))  # two that differ in the seed alone
    assert stage(components=[parts[index] for index in order]) == stage(components=parts)
    assert stage(components=[parts[index] for index in order]).id == stage(components=parts).id


def test_two_parts_are_not_one() -> None:
    assert stage(components=(component("math"),)).id != stage(components=(component("math"), component("math"))).id


SCRIPT = "from values import *; print(*[s.id for s in (model(), stage(), stage(stage(), mixed()), generation())])"


def test_ids_are_the_same_in_another_process_with_another_hash_seed() -> None:
    here = [model().id, stage().id, stage(stage(), mixed()).id, generation().id]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    for seed in ("1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.split() == here


COMPONENTS = st.builds(
    Component,
    st.builds(
        Source,
        st.text(max_size=5),
        st.text(max_size=5),
        st.sampled_from(["auto", "alpaca"]),
        ability=st.text(max_size=5),
        role=st.sampled_from(["specialized", "general"]),
        rows=st.integers(0, 10**6),
        mean_tokens=st.floats(0, 1e4),
    ),
    st.fractions(min_value=Fraction(1, 1000), max_value=1),
    st.integers(0, 2**32),
    st.integers(0, 100),
)
STAGES = st.builds(
    lambda parts, rate, seed: stage(stage(), parts, learning_rate=rate, seed=seed),
    st.lists(COMPONENTS, min_size=1, max_size=3),
    st.floats(1e-9, 1.0),
    st.integers(0, 99),
)


@given(STAGES)
def test_a_stage_comes_back_from_json_text(value: Stage) -> None:
    back = revive(Stage, json.loads(json.dumps(plain(value))))
    assert back == value
    assert (back.id, back.payload, back.label) == (value.id, value.payload, value.label)


def test_a_generation_comes_back_from_json_text() -> None:
    for subject in (model(), stage()):
        value = generation(subject, source=source("law"))
        back = revive(Generation, json.loads(json.dumps(plain(value))))
        assert back == value
        assert back.id == value.id
        assert type(back.subject) is type(subject)


@pytest.mark.parametrize("broken", [{"weights": None}, {"shape": {"layers": "many"}}, {"gpus": []}])
def test_a_broken_value_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(broken))):
        revive(Model, plain(model()) | broken)
    with pytest.raises(ValueError, match="backend"):
        revive(Engine, {})


def test_a_payload_is_plain_json_and_names_its_versions() -> None:
    for item in (model(), stage(), generation(), Score(generation(), "mini_math", 1)):
        assert json.loads(canonical_json(item.payload)) == item.payload
        assert item.id == digest(item.payload)
        assert len(item.id) == identity.ID_LENGTH
    assert set(stage().payload["versions"]) == STAGE_VERSIONS
