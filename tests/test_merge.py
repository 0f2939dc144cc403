"""Averages of stages in a plan: what they are, what they need, and which order of jobs makes them."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import values
from common import Points
from hypothesis import given
from hypothesis import strategies as st
from outcomes import finish
from values import component, mixed, model, request, stage

from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Executions
from sft_sweeps.identity import plain, revive
from sft_sweeps.jobs import retention
from sft_sweeps.jobs.job import Job, maker, missing
from sft_sweeps.jobs.retention import declare
from sft_sweeps.launch.points import check
from sft_sweeps.launch.slurm.arrays import Dependency, levels, together
from sft_sweeps.plan.build import Plan, State, build
from sft_sweeps.plan.serialize import dumps, from_json, part
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.merge import Merge, merged
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, survey
from sft_sweeps.store.sweeps import freeze

NAMES = ("math", "code", "general", "law")
SINGLE = [stage(components=[component(name)]) for name in NAMES]
Shares = list[tuple[Stage, Fraction]]
SHARES = st.lists(
    st.tuples(st.sampled_from(SINGLE), st.fractions(0, 9, max_denominator=30)),
    min_size=2,
    max_size=4,
    unique_by=lambda share: share[0].id,
).filter(lambda shares: sum(weight > 0 for _, weight in shares) > 1)


def of(shares: Shares) -> Merge:
    return merged([one for one, _ in shares], [weight for _, weight in shares])


@given(shares=SHARES, order=st.randoms(use_true_random=False), scale=st.fractions(Fraction(1, 9), 9))
def test_neither_order_nor_scale_nor_a_zero_makes_another_merge(shares: Shares, order: object, scale: Fraction) -> None:
    other = [(one, weight * scale) for one, weight in shares if weight]
    order.shuffle(other)  # type: ignore[attr-defined]
    assert of(other).id == of(shares).id
    assert of(other).shares == of(shares).shares
    assert of(other).label == of(shares).label
    assert sum(of(shares).weights) == 1


@given(one=SHARES, two=SHARES)
def test_other_stages_or_weights_make_another_merge(one: Shares, two: Shares) -> None:
    assert (of(one).id == of(two).id) == (dict(of(one).shares) == dict(of(two).shares))


@pytest.mark.parametrize(
    ("stages", "weights", "said"),
    [
        (SINGLE[:1], [], "one stage alone is no merge"),
        (SINGLE[:2], [1, 0], "one stage alone is no merge"),
        ([SINGLE[0], SINGLE[1], SINGLE[0]], [], "named twice"),
        (SINGLE[:2], [1], "1 weights for 2 stages"),
        (SINGLE[:2], [1, -1], "weight -1 is negative"),
        (SINGLE[:2], [0, 0], "all weights are 0"),
        ([SINGLE[0], stage(model("other"))], [], "do not have one base model"),
        ([SINGLE[0], stage(model(tokenizer="tokenizer:1"))], [], "do not have one base model"),
        ([SINGLE[0], stage(SINGLE[1])], [], "do not have one parent"),
        ([SINGLE[0], stage(components=[component("code")], model_dtype="bf16")], [], "train.model_dtype=fp32"),
        ([SINGLE[0], stage(components=[component("code")], adapter=Adapter("lora", 8, 16.0))], [], "with an adapter"),
        ([SINGLE[0], stage(components=[component("code")], template="alpaca")], [], "train.template=vicuna_bare"),
    ],
)
def test_what_has_no_average_is_refused(stages: list[Stage], weights: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        merged(stages, list(map(Fraction, weights)))


def test_labels_say_what_was_averaged() -> None:
    assert merged(SINGLE[:2]).label == "mini--merge~code~math"
    assert merged(SINGLE[:2], [Fraction(2), Fraction(1)]).label == "mini--merge~1_3.code~2_3.math"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A mixture at two fractions, trained and averaged, and one ability of it alone."""
    asked = [
        (f"{strategy} {fraction}", request(mixed(fraction), strategy))
        for fraction in (Fraction(1), Fraction(1, 4))
        for strategy in ("multi_task", "merge")
    ]
    return build([*asked, ("math", request([component("math")]))])


def test_an_average_shares_the_stages_of_the_abilities_alone(plan: Plan) -> None:
    """Two mixtures, six stages of one ability each; the math run is one of these."""
    assert len(plan.stages) == 8
    assert len(plan.merges) == 2
    (first, _) = (run for run in plan.runs if run.merge)
    alone = next(run for run in plan.runs if run.points == ("math",))
    assert alone.stages[0] in first.stages
    assert all(one.parent == plan.models[0] for one in first.stages)
    assert first.id == first.merge.id  # type: ignore[union-attr]
    assert {one.subject.id for one in plan.generations} == {run.id for run in plan.runs}


def test_adapters_are_refused_by_the_text_alone(points: Points) -> None:
    asked = points("model=mini", "data=mini", "train=mini", "strategy=merge", "train.adapter=lora", "evaluate=mini")
    with pytest.raises(RequestError, match=r"strategy=merge averages whole models.*type train.adapter=none"):
        check(asked)


def test_of_one_ability_there_is_nothing_to_average() -> None:
    plan = build([(name, request([component("math")], name)) for name in ("multi_task", "merge")])
    assert (len(plan.runs), len(plan.merges), len(plan.stages)) == (1, 0, 1)


def test_a_plan_with_averages_is_read_as_it_was_written(plan: Plan) -> None:
    data = json.loads(dumps(plan, {}))
    again = from_json(data)
    assert again == plan
    assert [one["id"] for one in data["merges"]] == [one.id for one in plan.merges]
    assert data["totals"]["merges"] == 2
    small = from_json(part(data, [plan.merges[0].parents[0].id]))
    assert [one.id for one in small.merges] == [plan.merges[0].id]
    assert {one.id for one in small.stages} == {one.id for one in plan.merges[0].parents}


def states_of(plan: Plan, done: set[str]) -> dict[str, State]:
    items = (*plan.subjects, *plan.generations, *plan.scores)
    return {item.id: State("done" if item.id in done else "missing") for item in items}


@given(st.sets(st.integers(0, 8)))
def test_an_average_waits_for_every_stage_that_is_missing(numbers: set[int]) -> None:
    plan = build([("a", request(mixed(), "merge")), ("b", request(mixed(Fraction(1, 4)), "merge"))])
    done = {plan.subjects[number].id for number in numbers}
    jobs = missing(Survey(plan, Store("/store"), states_of(plan, done)), Executions())
    by_id = {job.id: job for job in jobs}
    for merge in plan.merges:
        if merge.id in done:
            assert maker(merge) not in by_id
            continue
        job = by_id[maker(merge)]
        assert set(job.needs) == {maker(one) for one in merge.parents if one.id not in done}
        assert revive(Job, plain(job)) == job
        assert by_id[f"generate-{merge.id}"].parent == job.id
    places = {job.id: number for number, level in enumerate(levels(jobs)) for job in level}
    assert all(places[parent] < places[job.id] for job in jobs for parent in job.needs)


def test_on_slurm_averages_are_one_array_behind_all_that_they_wait_for(plan: Plan) -> None:
    jobs = [job for job in missing(Survey(plan, Store("/s"), states_of(plan, set())), Executions()) if job.besides]
    after = [Dependency("7", 1), Dependency("7", 2), Dependency("9")]
    (array,) = together([(job, "small", after) for job in jobs], 1000)
    assert (array.jobs, array.dependency) == (tuple(jobs), "afterany:7:9")
    (array,) = together([(job, "small", []) for job in jobs], 1000)
    assert array.dependency == ""


def test_weights_that_a_planned_average_needs_are_not_freed(tmp_path: Path) -> None:
    """Whatever the policy, until it is there; its own go with its scores."""
    store = Store(tmp_path / "store")
    plan = build([("x", request(mixed(), "merge"))])
    sweep = freeze(plan, store, "mine", "", ["x"])
    declare(sweep, "scores")
    for one in (*plan.models, *plan.stages):
        finish(store, one)
    assert retention.unneeded(plan.stages, Store(store.root)) == []
    finish(store, plan.merges[0])
    assert retention.unneeded(plan.derived, Store(store.root)) == list(plan.stages)
    for item in (*plan.generations, *plan.scores):
        finish(store, item)
    assert len(retention.unneeded(plan.derived, Store(store.root))) == 4


def test_a_store_finds_an_average_among_its_stages(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = build([("x", request(mixed(), "merge"))])
    folder = finish(store, plan.merges[0])
    assert folder.parent.name == "stages"
    assert survey(plan, Store(store.root)).states[plan.merges[0].id].state == "done"


def test_a_held_out_loss_knows_what_the_averaged_stages_saw() -> None:
    from sft_sweeps.plan.build import seen

    merge = merged(SINGLE[:2])
    assert [c.source.name for c in seen(merge, values.source("math", "math"))] == ["math"]
