"""Who computes on this machine's cores: threads by the plan's width, jobs side by side as the cores allow."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import values
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.cpu_time import wall
from sft_sweeps.launch.local import cores
from sft_sweeps.launch.local.cores import at_once, capacity, with_threads
from sft_sweeps.models import architectures
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store import resume_states
from sft_sweeps.store.resume_states import ResumeState
from sft_sweeps.store.store import Store

SMALL = values.model("small")
LARGE = replace(SMALL, shape=replace(SMALL.shape, hidden_size=256, intermediate_size=512, vocab_size=4000))


def forest(parents: Sequence[int], base: Model = LARGE) -> Plan:
    """A plan of stages; each number is that of the stage's parent among those before, 0 for the base model."""
    stages: list[Stage] = []
    for number, parent in enumerate(parents):
        recipe = replace(values.RECIPE, seed=number)
        above = stages[parent - 1] if parent else base
        stages.append(replace(values.stage(), parent=above, recipe=recipe))
    return Plan((), tuple(stages), (), (), 0, 0, 0.0, (), (base,))


def jobs_of(plan: Plan, root: str, processes: int = 1) -> list[Job]:
    return [Job("train", root, stage, TrainExecution(processes=processes)) for stage in plan.stages]


def threads(jobs: Sequence[Job]) -> list[int]:
    return [job.execution.threads for job in jobs if isinstance(job.execution, TrainExecution)]


@st.composite
def forests(draw: st.DrawFn) -> list[int]:
    return [draw(st.integers(0, number)) for number in range(draw(st.integers(1, 12)))]


@given(forests(), st.integers(1, 64), st.integers(1, 4), st.integers(0, 5), st.data())
def test_spare_cores_go_to_the_stages_that_exist(
    parents: list[int], here: int, processes: int, limit: int, data: st.DataObject
) -> None:
    """No core idles that the widest moment could use, none is used twice, and what is done already decides nothing."""
    plan, cluster = forest(parents), ClusterConfig(processes=processes, jobs=limit)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as name:
        patch.setattr(cores, "cores_here", lambda: here)
        jobs = jobs_of(plan, name, processes)
        given_all = with_threads(jobs, plan, Store(name), cluster)
        left = data.draw(st.lists(st.sampled_from(range(len(jobs))), min_size=1, unique=True))
        given_some = with_threads([jobs[n] for n in left], plan, Store(name), cluster)
        capacity_ = capacity(cluster)
    assert len(set(threads(given_all))) == 1
    assert threads(given_some) == [threads(given_all)[n] for n in left]
    each, wide = threads(given_all)[0], min(at_once(plan.stages), limit or max(1, here // processes))
    assert each == 1 or each * wide * processes <= here
    assert (each + 1) * wide * processes > here
    running: list[Job] = []
    for job in given_all:
        running += [job] if capacity_.fits(job, running) else []
    assert wide <= len(running) <= (limit or len(jobs))


@given(forests())
def test_the_width_of_a_forest(parents: list[int]) -> None:
    """The most stages none of which comes after another."""
    stages = forest(parents).stages
    above = {stage.id: {stage.id} | ({stage.parent.id} if stage.parent.id else set()) for stage in stages}
    for stage in stages:
        above[stage.id] |= above.get(stage.parent.id, set())
    free: list[str] = []
    for stage in reversed(stages):  # the deepest first: never fewer than another choice
        if not any(stage.id in above[other] for other in free):
            free.append(stage.id)
    assert at_once(stages) == len(free)


def test_a_miniature_and_explicit_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small model gains nothing from a second thread; what is typed holds for every model."""
    monkeypatch.setattr(cores, "cores_here", lambda: 8)
    for base, typed, expected in ((LARGE, None, 8), (SMALL, None, 1), (LARGE, 1, 1), (SMALL, 3, 3)):
        plan = forest([0], base)
        given_ = with_threads(jobs_of(plan, str(tmp_path)), plan, Store(tmp_path), ClusterConfig(threads=typed))
        assert threads(given_) == [expected]
    assert architectures.count_parameters(SMALL.shape) < cores.THREADED_WEIGHTS
    assert architectures.count_parameters(LARGE.shape) >= cores.THREADED_WEIGHTS


@pytest.mark.parametrize(
    ("saved", "typed", "expected"),
    [
        ((3, 1), None, 3),  # another machine's, or another sweep's
        ((16, 1), None, 16),
        ((3, 1), 2, 3),
        ((0, 1), None, 1),  # of before states named their threads: one was the default
        ((0, 1), 2, 2),
        ((3, 2), None, 8),  # other sums anyway
    ],
)
def test_a_stage_that_was_begun_keeps_its_threads(
    saved: tuple[int, int], typed: int | None, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cores, "cores_here", lambda: 8)
    plan, store = forest([0]), Store(tmp_path)
    folder = store.folder(plan.stages[0]) / resume_states.FOLDER / resume_states.name(4)
    folder.mkdir(parents=True)
    resume_states.write(folder, ResumeState(4, saved[1], 3, 100, 1, {}, threads=saved[0]))
    jobs = with_threads(jobs_of(plan, str(tmp_path)), plan, store, ClusterConfig(threads=typed))
    assert threads(jobs) == [expected]
    # With more threads than cores it runs alone, and it does run.
    assert capacity(ClusterConfig(threads=typed)).fits(jobs[0], [])


@given(forests(), st.integers(1, 8), st.data())
def test_the_whole_is_no_shorter_than_a_chain_or_a_share(parents: list[int], wide: int, data: st.DataObject) -> None:
    jobs = jobs_of(forest(parents), "unused")
    seconds = {job.subject.id: data.draw(st.floats(0.0, 100.0)) for job in jobs}
    whole = wall(jobs, seconds, wide)
    assert max(seconds.values()) <= whole <= sum(seconds.values()) + 1e-6
    assert whole >= sum(seconds.values()) / wide
