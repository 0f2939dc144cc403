"""Representations that a plan asks for: of whom, of what, and under which ids."""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from values import component, mixed, model, request

from sft_sweeps.plan import serialize
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.plan.request import AskedRepresentations, Request

ASKED = AskedRepresentations(queries=100, layer=1, pooling="last")


def asking(strategy: str = "multi_task", **changes: Any) -> Request:
    return replace(request(strategy=strategy, k=Fraction(1, 256)), **{"representations": ASKED, **changes})


def planned(*requests: Request) -> Plan:
    return build([(str(number), one) for number, one in enumerate(requests)])


def test_of_the_base_model_and_of_what_runs_end_in() -> None:
    """Not of stages on the way; a base model once, and first, so that others are compared with it."""
    plan = planned(asking("dmt"), asking("multi_task"), request(strategy="sequential"))
    ends = [run.id for run in plan.runs[:2]]
    subjects = list(dict.fromkeys(one.subject.id for one in plan.analyses))
    assert subjects == [plan.models[0].id, *ends]
    assert [one.queries.source.name for one in plan.analyses] == ["code", "math", "general"] * 3
    assert len({one.id for one in plan.analyses}) == 9


def test_all_are_given_the_queries_of_every_source_that_any_of_them_has() -> None:
    """A model trained on math alone is asked the others' queries too: else nothing could be compared."""
    plan = planned(asking(components=(component("math"),)), asking(components=(component("code"),)))
    asked = {one.subject.id: set[str]() for one in plan.analyses}
    for one in plan.analyses:
        asked[one.subject.id].add(one.queries.source.name)
    assert len(asked) == 3
    assert set(map(frozenset, asked.values())) == {frozenset({"math", "code"})}


def test_a_plan_asks_for_none_by_itself() -> None:
    assert planned(request()).analyses == ()


ALTERED: dict[str, Request] = {
    "layer": asking(representations=replace(ASKED, layer=2)),
    "pooling": asking(representations=replace(ASKED, pooling="mean")),
    "queries": asking(representations=replace(ASKED, queries=99)),
    "seed": asking(representations=replace(ASKED, seed=1)),
    "number format": asking(engine=replace(request().engine, dtype="bf16")),
    "template": asking(recipe=replace(request().recipe, template="vicuna_v1.1")),
    "length": asking(recipe=replace(request().recipe, max_length=64)),
    "model": asking(model=model("other")),
    "source": asking(components=(*mixed(rows=1000)[:2], component("general", content="sha256:other"))),
}


@pytest.mark.parametrize("what", ALTERED)
def test_whatever_changes_vectors_changes_ids(what: str) -> None:
    before = {one.id for one in planned(asking()).analyses if one.queries.source.name == "general"}
    after = {one.id for one in planned(ALTERED[what]).analyses if one.queries.source.name == "general"}
    assert len(before) == len(after) == 2
    assert before.isdisjoint(after)


def test_where_files_lie_and_how_many_gpus_there_are_changes_none() -> None:
    elsewhere = tuple(replace(c, source=replace(c.source, path="/elsewhere", rows=999)) for c in mixed())
    bases = [one for one in planned(asking()).analyses if not one.subject.chain]
    others = [
        one for one in planned(asking(components=elsewhere, model=model(gpus=8))).analyses if not one.subject.chain
    ]
    assert [one.id for one in bases] == [one.id for one in others]
    assert len(bases) == 3


def test_an_id_that_must_not_move() -> None:
    """Of a base model, which no stage's version reaches."""
    one = planned(asking()).analyses[1]
    assert one.label == "mini: math at layer 1 (last)"
    assert one.id == "e68eb541761a"


def test_a_plan_is_read_back_with_its_analyses_and_without_any_from_before() -> None:
    plan = planned(asking("dmt"))
    written = json.loads(serialize.dumps(plan, {}))
    assert serialize.from_json(written) == plan
    assert [one["id"] for one in written["analyses"]] == [one.id for one in plan.analyses]
    assert {"label", "subject", "source", "queries", "layer", "pooling", "state", "why"} <= written["analyses"][
        0
    ].keys()
    del written["analyses"], written["spec"]["analyses"]
    assert serialize.from_json(written) == replace(plan, analyses=())


def test_a_part_of_a_plan_has_the_analyses_of_its_stages() -> None:
    plan = planned(asking("dmt"), asking("multi_task"))
    end = plan.runs[0].stages[-1]
    part = serialize.from_json(serialize.part(serialize.to_json(plan, {}), [end.id]))
    assert [one.subject.id for one in part.analyses] == [end.id] * 3
