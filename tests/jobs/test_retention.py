"""What is freed: only what no sweep of the store needs, and nothing by half."""

import json
import os
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import finish
from values import component, mixed, request

from sft_sweeps.execution import Executions, TrainExecution
from sft_sweeps.jobs import retention
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.jobs.retention import declare, free, policy_of
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.plan.request import AskedRepresentations
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.clearing import clear_unrecorded
from sft_sweeps.store.store import FREED, Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import PLAN, Sweep, freeze

LAW = component("law", role="general")  # what a longer sequence ends with
CHAIN: dict[str, Any] = {"strategy": "sequential", "every_stage": True}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def plan_of(**changes: Any) -> Plan:
    return build([("x", request(**{**CHAIN, **changes}))])


def sweep_of(plan: Plan, store: Store, policy: str, name: str = "mine") -> Sweep:
    """A launch with a retention; nothing is done yet."""
    sweep = freeze(plan, store, name, "", ["x"])
    if policy:
        declare(sweep, policy)
    return sweep


def done(store: Store, *items: Any) -> None:
    for item in items:
        finish(store, item)


def everything(plan: Plan) -> tuple[Any, ...]:
    return (*plan.subjects, *plan.generations, *plan.scores)


def models(store: Store, plan: Plan) -> list[bool]:
    """Which subjects of a plan have their models."""
    return [(store.folder(subject) / "model" / "weights").exists() for subject in plan.subjects]


def again(plan: Plan, store: Store) -> list[str]:
    """What a launch would do now."""
    fresh = Store(store.root)
    return [f"{job.kind} {job.subject.id}" for job in missing(survey(plan, fresh), Executions())]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ("", [True, True, True, True]),
        ("all", [True, True, True, True]),
        ("final", [True, False, False, True]),
        ("scores", [True, False, False, False]),
    ],
)
def test_each_policy(policy: str, left: list[bool], store: Store) -> None:
    """A base model, three stages in a chain, all done; base models stay."""
    plan = plan_of()
    sweep = sweep_of(plan, store, policy)
    done(store, *everything(plan))
    said = free(sweep, store)
    assert models(store, plan) == left
    assert len(said) == left.count(False)
    assert all(stage.id in " ".join(said) for stage, there in zip(plan.subjects, left, strict=True) if not there)
    assert again(plan, store) == []
    assert free(sweep, store) == []
    states = survey(plan, Store(store.root)).states
    for subject, there in zip(plan.subjects, left, strict=True):
        assert states[subject.id].state == ("done" if there else "weights gone")
        assert (sweep.name in states[subject.id].why) is not there
        assert (store.record(subject) is not None) is there


def test_a_model_waits_for_its_children_and_scores(store: Store) -> None:
    plan = plan_of()
    sweep = sweep_of(plan, store, "scores")
    first, second, third = plan.stages
    seen = []
    for item in everything(plan):
        done(store, item)
        free(sweep, store)
        seen.append(models(store, plan)[1:])
    # models: base, three stages; then three generations, then their three scores
    assert seen[:7] == [[False] * 3, [True, False, False], [True, True, False], *[[True] * 3] * 4]
    assert seen[7:] == [[False, True, True], [False, False, True], [False] * 3]
    assert len({first.id, second.id, third.id}) == 3


@pytest.mark.parametrize("policy", ["final", "scores"])
def test_a_model_that_nobody_scores(policy: str, store: Store) -> None:
    """It is all that its run leaves behind."""
    plan = plan_of(benchmarks=())
    sweep = sweep_of(plan, store, policy)
    done(store, *everything(plan))
    free(sweep, store)
    assert models(store, plan) == [True, False, False, True]


def test_a_run_that_ends_where_another_goes_on(store: Store) -> None:
    """Code alone is a row of the table and the first stage of the sequence."""
    plan = build([("one", request((component("code"),))), ("all", request(**CHAIN))])
    assert plan.runs[0].id == plan.runs[1].stages[0].id
    sweep = sweep_of(plan, store, "final")
    done(store, *everything(plan))
    free(sweep, store)
    assert models(store, plan) == [True, True, False, True]


@pytest.mark.parametrize(
    ("other", "kept"), [("", True), ("all", True), ("final", True), ("scores", False), ("unfinished", True)]
)
def test_what_another_sweep_needs_stays(other: str, kept: bool, store: Store) -> None:
    """Its run ends in this one's first stage."""
    plan, theirs = plan_of(), plan_of(components=(component("code"),), strategy="multi_task")
    assert theirs.stages == plan.stages[:1]
    if other == "unfinished":
        theirs = plan_of(components=(component("code"), LAW))
        assert theirs.stages[0] == plan.stages[0]
        sweep_of(theirs, store, "scores", "theirs")
        done(store, *theirs.generations[:1], *theirs.scores[:1])
    else:
        sweep_of(theirs, store, other, "theirs")
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))
    free(sweep, store)
    assert models(store, plan) == [True, kept, False, False]
    shutil.rmtree(next(store.root.glob("sweeps/*-theirs-*")))
    free(sweep, store)
    assert models(store, plan) == [True, False, False, False]


def test_an_unreadable_plan_that_may_need_it_frees_nothing(store: Store) -> None:
    plan = plan_of()
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))
    broken = store.root / "sweeps" / "20200101-broken"
    broken.mkdir()
    (broken / "plan.json").write_text(f'{{"{plan.stages[0].id}": ')
    declare(Sweep(broken), "scores")
    assert free(sweep, store) == []
    assert models(store, plan) == [True] * 4
    assert not list(store.root.rglob(FREED))


def test_freed_weights_are_made_again_when_a_new_stage_needs_them(store: Store) -> None:
    plan, longer = plan_of(), plan_of(components=(*mixed(), LAW))
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))
    assert len(free(sweep, store)) == 3
    assert longer.stages[:3] == plan.stages
    stages = [stage.id for stage in longer.stages]
    assert [job for job in again(longer, store) if job.startswith("train")] == [f"train {key}" for key in stages]
    folder = store.folder(plan.stages[0])
    clear_unrecorded(folder)  # as a worker begins
    assert not (folder / FREED).exists()
    done(store, plan.stages[0])
    assert survey(plan, Store(store.root)).states[plan.stages[0].id].state == "done"


def test_a_worker_frees_only_what_it_touched(store: Store) -> None:
    plan = plan_of()
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))
    assert len(free(sweep, store, among=[plan.stages[1]])) == 1
    assert models(store, plan) == [True, True, False, True]


def test_work_that_is_not_proven_is_not_touched(store: Store) -> None:
    plan = plan_of()
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))
    (store.folder(plan.stages[0]) / "record.json").write_text("{")
    (store.folder(plan.stages[1]) / "record.json").unlink()
    free(sweep, store)
    assert models(store, plan) == [True, True, True, False]


class DiedError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("where", ["rename", "rmtree"])
def test_a_process_that_dies_in_between(where: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights count as gone from the marker on; a later launch removes what is left."""
    plan = plan_of()
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))

    def dies(*_: Any, **__: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(Path if where == "rename" else shutil, where, dies)
        with pytest.raises(DiedError):
            free(sweep, store)
    state = survey(plan, Store(store.root)).states[plan.stages[0].id]
    assert (state.state, sweep.name in state.why) == ("weights gone", True)
    assert store.record(plan.stages[0]) is None
    free(sweep, store)  # another process may be at work: not yet
    marker = store.folder(plan.stages[0]) / FREED
    assert len(list(marker.parent.glob("*model*"))) == 1
    os.utime(marker, (0, 0))
    free(sweep, store)
    assert list(marker.parent.glob("*model*")) == []
    assert marker.exists()


def test_a_launch_at_the_same_moment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that appears after the first look at the sweeps is seen by the second one."""
    plan, longer = plan_of(), plan_of(components=(*mixed(), LAW))
    sweep = sweep_of(plan, store, "scores")
    done(store, *everything(plan))
    mark, launched = retention._mark, []

    def launching(folder: Path, of: Sweep) -> bool:
        if not launched:
            launched.append(sweep_of(longer, store, "scores", "longer"))
        return mark(folder, of)

    monkeypatch.setattr(retention, "_mark", launching)
    free(sweep, store)
    assert len(launched) == 1
    assert models(store, plan) == [True] * 4
    assert not list(store.root.rglob(FREED))
    assert [job for job in again(longer, store) if job.startswith("train")] == [f"train {longer.stages[3].id}"]
    assert len(free(sweep, store)) == 2
    assert models(store, plan) == [True, False, False, True]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_a_policy_that_cannot_be_read_keeps_everything(text: str, store: Store) -> None:
    sweep = sweep_of(plan_of(), store, "final")
    assert policy_of(sweep) == "final"
    (sweep.folder / retention.POLICY).write_text(text)
    assert policy_of(sweep) == "all"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_marker_of_any_content_stops_no_survey(text: str, store: Store) -> None:
    plan = plan_of()
    done(store, *everything(plan))
    (store.folder(plan.stages[0]) / FREED).write_text(text)
    state = survey(plan, Store(store.root)).states[plan.stages[0].id]
    assert state.state == ("done" if text == "null" else "weights gone")


def plans() -> Mapping[str, Plan]:
    """Overlapping ones: they share stages in every way that strategies do."""
    return {
        "sequential": plan_of(),
        "longer": plan_of(components=(*mixed(), LAW)),
        "last only": plan_of(every_stage=False),
        "dmt": build([(str(n), request(strategy="dmt", k=Fraction(1, 4**n), every_stage=True)) for n in range(3)]),
        "mixed": plan_of(strategy="mixed_sequential"),
        "code": plan_of(components=(component("code"),), strategy="multi_task"),
        "unscored": plan_of(benchmarks=()),
    }


PLANS = plans()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_freeing_never_makes_work(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """However far several sweeps are: no stage must be trained afterwards that need not have been trained before."""
    store = Store(tmp_path_factory.mktemp("any") / "store")
    names = data.draw(st.lists(st.sampled_from(sorted(PLANS)), min_size=1, max_size=4, unique=True))
    policies = st.sampled_from(["all", "final", "scores"])
    launched = {name: sweep_of(PLANS[name], store, data.draw(policies), name.replace(" ", "-")) for name in names}
    items = {item.id: item for name in names for item in everything(PLANS[name])}
    done(store, *(item for item in items.values() if data.draw(st.booleans()) or isinstance(item, Stage)))
    before = {name: again(PLANS[name], store) for name in names}
    free(launched[names[0]], Store(store.root))
    assert {name: again(PLANS[name], store) for name in names} == before
    gone = {path.parent.name[-12:] for path in store.root.glob(f"stages/*/{FREED}")}
    for name in names:
        ends = {run.id for run in PLANS[name].runs}
        policy = policy_of(launched[name])
        held = {stage.id for stage in PLANS[name].stages} if policy == "all" else ends if policy == "final" else set()
        assert not gone & held
    assert all(json.loads(path.read_text())["sweep"] for path in store.root.glob(f"stages/*/{FREED}"))


def test_what_goes_wrong_with_freeing_harms_no_job(store: Store) -> None:
    """A sweep whose plan cannot be read keeps everything, and says so."""
    plan = plan_of()
    sweep = sweep_of(plan, store, "final")
    done(store, *everything(plan))
    (sweep.folder / PLAN).write_text("{")
    (said,) = retention.free_after(Job("train", str(store.root), plan.stages[1], TrainExecution()), sweep, store)
    assert said.startswith("nothing was freed: ")
    assert models(store, plan) == [True] * 4


def test_a_model_stays_until_it_was_looked_into(store: Store) -> None:
    """Also for another sweep, which asks for its scores alone."""
    asked = AskedRepresentations(queries=10, layer=1, pooling="last")
    plan, scored = plan_of(representations=asked), plan_of()
    sweeps = [sweep_of(plan, store, "scores"), sweep_of(scored, store, "scores", "other")]
    done(store, *everything(plan))
    for sweep in sweeps:
        free(sweep, store)
    assert models(store, plan) == [True, False, False, True]
    done(store, *plan.analyses)
    assert any("model freed" in text for text in free(sweeps[0], store))
    assert models(store, plan) == [True, False, False, False]
