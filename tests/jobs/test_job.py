"""From states to jobs: a forest of exactly what is missing."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import component, mixed, model, request

from sft_sweeps.execution import Executions, TrainExecution
from sft_sweeps.identity import plain, revive
from sft_sweeps.jobs.job import Job, missing, urgency
from sft_sweeps.plan.build import Plan, State, build, score_of
from sft_sweeps.plan.request import AskedRepresentations
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey

STATES = ("missing", "done", "running", "interrupted", "failed", "weights gone")
EXECUTIONS = Executions(TrainExecution(processes=1, threads=2))
PRETRAINED = {"weights": "hub:org/name@1", "gpus": 8}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """dmt: code+math, then general with replay; every stage is scored."""
    return build([("dmt", request(strategy="dmt", k=Fraction(1, 4), every_stage=True))])


def states_of(plan: Plan, default: str = "missing", **changed: str) -> dict[str, State]:
    """Every item in one state, some in another (by `model`, `first`, `last` and so on)."""
    found = {item.id: State(default) for item in (*plan.subjects, *plan.generations, *plan.scores)}
    places = {
        "model": plan.models[0],
        "first": plan.stages[0],
        "last": plan.stages[-1],
        "first_generation": plan.generations[0],
        "last_generation": plan.generations[-1],
        "first_score": plan.scores[0],
        "last_score": plan.scores[-1],
    }
    return found | {places[key].id: State(state) for key, state in changed.items()}


def missing_of(plan: Plan, states: Mapping[str, State]) -> list[Job]:
    return missing(Survey(plan, Store("/store"), states), EXECUTIONS)


def jobs_of(plan: Plan, default: str = "missing", **changed: str) -> list[tuple[str, str, str]]:
    """Kind, subject and parent job of every missing job, with subjects by their place in the chain."""
    names = {subject.id: name for subject, name in zip(plan.subjects, ("model", "first", "last"), strict=True)}
    jobs = missing_of(plan, states_of(plan, default, **changed))
    shown = {job.id: f"{job.kind} {names[job.subject.id]}" for job in jobs} | {"": ""}
    return [(job.kind, names[job.subject.id], shown[job.parent]) for job in jobs]


EVERYTHING = [
    ("prepare", "model", ""),
    ("train", "first", "prepare model"),
    ("train", "last", "train first"),
    ("generate", "first", "train first"),
    ("score", "first", "generate first"),
    ("generate", "last", "train last"),
    ("score", "last", "generate last"),
]


def test_a_new_plan_makes_everything(plan: Plan) -> None:
    assert jobs_of(plan) == EVERYTHING


def test_a_finished_plan_makes_nothing(plan: Plan) -> None:
    assert jobs_of(plan, "done") == []


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_work_that_is_not_done_is_work(state: str, plan: Plan) -> None:
    assert jobs_of(plan, state) == EVERYTHING


def test_scores_alone_need_no_parent(plan: Plan) -> None:
    changed = {"first_score": "missing", "first_generation": "missing"}
    assert jobs_of(plan, "done", **changed) == [("generate", "first", ""), ("score", "first", "generate first")]


# What is purged is made again only where something that is missing needs it.
PURGED: list[tuple[dict[str, str], list[tuple[str, str, str]]]] = [
    ({"model": "weights gone"}, []),
    ({"first": "weights gone"}, []),
    ({"first": "weights gone", "last": "weights gone"}, []),
    ({"first": "weights gone", "last": "missing"}, [("train", "first", ""), ("train", "last", "train first")]),
    ({"model": "weights gone", "last": "missing"}, [("train", "last", "")]),
    (
        {"model": "weights gone", "first": "weights gone", "last": "missing"},
        [("prepare", "model", ""), ("train", "first", "prepare model"), ("train", "last", "train first")],
    ),
    (
        {"last": "weights gone", "last_generation": "missing", "last_score": "missing"},
        [("train", "last", ""), ("generate", "last", "train last"), ("score", "last", "generate last")],
    ),
    # A new scorer: the answers are kept, so no weights are needed.
    ({"last": "weights gone", "last_score": "missing"}, [("score", "last", "")]),
    # The score is there: nobody asks for its generation.
    ({"last": "weights gone", "last_generation": "missing"}, []),
]


@pytest.mark.parametrize(("changed", "expected"), PURGED, ids=[" ".join(changed) for changed, _ in PURGED])
def test_purged_weights(changed: dict[str, str], expected: list[Any], plan: Plan) -> None:
    assert jobs_of(plan, "done", **changed) == expected


def test_a_pretrained_model_is_never_prepared() -> None:
    plan = build([("x", request((component("math"),), base=model(**PRETRAINED)))])
    jobs = missing_of(plan, states_of(plan))
    assert [(job.kind, job.parent, job.processes) for job in jobs] == [
        ("train", "", 8),
        ("generate", f"train-{plan.stages[0].id}", 1),
        ("score", f"generate-{plan.stages[0].id}", 1),
    ]


def test_an_unscored_base_model_is_prepared_only_for_its_stages() -> None:
    plan = build([("x", request(strategy="base", benchmarks=()))])
    assert missing_of(plan, states_of_all(plan, "missing")) == []


def states_of_all(plan: Plan, state: str) -> dict[str, State]:
    return {item.id: State(state) for item in (*plan.subjects, *plan.generations, *plan.scores)}


@st.composite
def surveyed(draw: st.DrawFn) -> tuple[Plan, dict[str, State]]:
    """A plan of several strategies and models, with every item in any state."""
    axes = st.tuples(
        st.sampled_from(["multi_task", "sequential", "mixed_sequential", "dmt", "base"]),
        st.sampled_from([Fraction(1), Fraction(1, 4)]),
        st.sampled_from([Fraction(1, 2), Fraction(1, 16)]),
        st.booleans(),
        st.sampled_from([model("a"), model("b"), model("c", **PRETRAINED)]),
    )
    chosen = draw(st.lists(axes, min_size=1, max_size=5, unique=True))
    points = [
        (str(number), request(mixed(fraction), strategy, k, base, every_stage=every))
        for number, (strategy, fraction, k, every, base) in enumerate(chosen)
    ]
    plan = build(points)
    items = (*plan.subjects, *plan.generations, *plan.scores)
    drawn = draw(st.lists(st.sampled_from(STATES), min_size=len(items), max_size=len(items)))
    return plan, {item.id: State(state) for item, state in zip(items, drawn, strict=True)}


@given(surveyed())
def test_jobs_are_a_forest_with_parents_first(found: tuple[Plan, dict[str, State]]) -> None:
    jobs = missing_of(*found)
    seen = {""}
    for job in jobs:
        assert job.parent in seen
        assert job.id not in seen
        seen.add(job.id)
        if job.parent:
            above = getattr(job.subject, "parent", None) if job.makes_model else job.subject
            assert above is not None
            assert job.parent.endswith(f"-{above.id}")


@given(surveyed())
def test_jobs_are_what_is_missing(found: tuple[Plan, dict[str, State]]) -> None:
    """Against the definition, read from the needing end: a subject is made when it is needed and cannot be used."""
    plan, states = found
    jobs = missing_of(plan, states)
    unscored = [g for g in plan.generations if states[score_of(g).id].state != "done"]
    for kind, wanted in (("score", unscored), ("generate", [g for g in unscored if states[g.id].state != "done"])):
        asked = {job.subject.id: [g.id for g in job.generations] for job in jobs if job.kind == kind}
        assert asked == {key: [g.id for g in wanted if g.subject.id == key] for key in {g.subject.id for g in wanted}}

    def used(key: str) -> bool:
        asks = any(g.subject.id == key and states[g.id].state != "done" for g in unscored)
        return asks or any(stage.parent.id == key and made(stage) for stage in plan.stages)

    def made(stage: Stage) -> bool:
        state = states[stage.id].state
        return state != "done" and (state != "weights gone" or used(stage.id))

    assert {job.subject.id for job in jobs if job.kind == "train"} == {s.id for s in plan.stages if made(s)}
    assert {job.subject.id for job in jobs if job.kind == "prepare"} == {
        m.id for m in plan.models if m.initialised and states[m.id].state != "done" and used(m.id)
    }
    ids, makers = {job.id for job in jobs}, {job.subject.id: job.id for job in jobs if job.makes_model}
    for job in jobs:
        if job.kind == "score":
            answers = f"generate-{job.subject.id}"
            assert job.parent == (answers if answers in ids else "")
        else:
            above = getattr(job.subject, "parent", model()).id if job.makes_model else job.subject.id
            assert job.parent == makers.get(above, "")


@given(surveyed())
def test_a_job_survives_its_file(found: tuple[Plan, dict[str, State]]) -> None:
    for job in missing_of(*found):
        again = revive(Job, plain(job))
        assert again == job
        assert (again.id, again.processes, again.steps) == (job.id, job.processes, job.steps)
        assert [g.id for g in again.generations] == [g.id for g in job.generations]


def longest(job: Job, jobs: list[Job]) -> int:
    """Steps on the longest chain that starts with a job, from the children of its id."""
    return job.steps + max((longest(child, jobs) for child in jobs if child.parent == job.id), default=0)


@given(surveyed())
def test_urgency_is_the_longest_chain(found: tuple[Plan, dict[str, State]]) -> None:
    jobs = missing_of(*found)
    assert urgency(jobs) == {job.id: longest(job, jobs) for job in jobs}


def test_long_chains_start_first() -> None:
    """One source alone is a short chain, three in sequence a long one; both begin at the base model."""
    plan = build(
        [("one", request((component("math", fraction=Fraction(1, 4)),))), ("all", request(strategy="sequential"))]
    )
    jobs = missing_of(plan, states_of_all(plan, "missing"))
    order: Mapping[str, int] = urgency(jobs)
    trained = sorted((job for job in jobs if job.kind == "train"), key=lambda job: -order[job.id])
    long = [stage.id for stage in plan.runs[1].stages]
    assert [job.subject.id for job in trained] == [*long, plan.runs[0].id]
    steps = 3 * -(-1000 // 16)
    assert [order[job.id] for job in trained] == [3 * steps + 2, 2 * steps + 2, steps + 2, 3 * -(-250 // 16) + 2]
    assert order[jobs[0].id] == 3 * steps + 3
    assert len(jobs) == 1 + 4 + 2 + 2


# What of a model is not looked into yet, by the states of the end of a run and of its own representations.
LOOKED_INTO = [
    ("missing", "missing", [("prepare", ""), ("represent", "prepare"), ("train", "prepare"), ("represent", "train")]),
    ("done", "missing", [("represent", ""), ("represent", "")]),
    ("done", "done", []),
    ("weights gone", "missing", [("represent", ""), ("train", ""), ("represent", "train")]),
    ("weights gone", "done", []),
]


@pytest.mark.parametrize(("end", "own", "expected"), LOOKED_INTO)
def test_representations_are_taken_once_the_weights_are_there(
    end: str, own: str, expected: list[tuple[str, str]]
) -> None:
    """One job a model takes those of all sources; purged weights are made again for it, and only then."""
    asked = replace(
        request((component("math"), component("code"))), representations=AskedRepresentations(10, 1, "last")
    )
    plan = build([("x", asked)])
    states = states_of(plan, "done") | {one.id: State(own) for one in plan.analyses} | {plan.stages[0].id: State(end)}
    if end == "missing":
        states[plan.models[0].id] = State("missing")
    jobs = missing_of(plan, states)
    assert sorted((job.kind, job.parent.partition("-")[0]) for job in jobs) == sorted(expected)
    assert {len(job.analyses) for job in jobs if job.kind == "represent"} <= {2}
    assert [revive(Job, plain(job)) for job in jobs] == jobs
