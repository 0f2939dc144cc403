"""Arrays of a forest: every job in one call, behind its own parent, in few calls."""

from collections import Counter
from dataclasses import replace

import values
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.execution import AnswerExecution, Isolation, TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.slurm.arrays import Array, Dependency, arrays, levels

BASE = Job("train", "/store", values.stage(), TrainExecution())


def job(n: int, parent: str = "") -> Job:
    """Different jobs, told apart by their root alone (ids are not looked at here)."""
    return replace(BASE, root=f"/store-{n}", parent=parent)


def after(child: Array[str], place: int) -> str:
    """What one element of an array waits for, in the words of a plain dependency."""
    kind, _, parent = child.dependency.partition(":")
    if kind != "aftercorr":
        return child.dependency
    assert "_" not in parent
    return f"afterok:{parent}_{child.indices[place]}"


PARENTS = st.one_of(
    st.none(),
    st.builds(Dependency, st.sampled_from(["100", "200"]), st.integers(0, 6)),
    st.builds(Dependency, st.sampled_from(["300", "400"])),
    st.builds(Dependency, st.just("500"), st.integers(0, 3), st.just(False)),
)


@given(
    wanted=st.lists(st.tuples(st.sampled_from(["small", "large"]), PARENTS), max_size=60),
    largest=st.sampled_from([7, 100]),
)
def test_every_job_stands_once_behind_its_own_parent(wanted: list[tuple[str, Dependency | None]], largest: int) -> None:
    level = [(job(n), key, parent) for n, (key, parent) in enumerate(wanted)]
    found = arrays(level, largest)
    seen = {}
    for array in found:
        assert len(array.jobs) == len(array.indices) == len(set(array.indices)) > 0
        assert max(array.indices) < largest
        for place, member in enumerate(array.jobs):
            assert member.root not in seen
            seen[member.root] = (array.key, after(array, place))
    assert seen == {made.root: (key, str(parent) if parent else "") for made, key, parent in level}


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_calls_are_bounded_by_the_smaller_of_parents_and_children(counts: list[int]) -> None:
    level = [(job(n), "k", Dependency("100", parent)) for parent, count in enumerate(counts) for n in range(count)]
    found = arrays(level, 1000)
    assert len(found) <= min(sum(count > 0 for count in counts), max(counts))


def test_one_child_each_is_one_array_of_equal_numbers() -> None:
    found = arrays([(job(n), "k", Dependency("100", n)) for n in (0, 2, 5)], 1000)
    assert [(array.dependency, array.indices) for array in found] == [("aftercorr:100", (0, 2, 5))]


def test_five_children_of_one_stage_are_one_array() -> None:
    found = arrays([(job(n), "k", Dependency("100", 3)) for n in range(5)], 1000)
    assert [(array.dependency, array.indices) for array in found] == [("afterok:100_3", (0, 1, 2, 3, 4))]


def test_a_thousand_roots_are_split_at_the_largest_array() -> None:
    found = arrays([(job(n), "k", None) for n in range(1000)], 300)
    assert [len(array.jobs) for array in found] == [300, 300, 300, 100]
    assert {array.dependency for array in found} == {""}


def test_levels_put_parents_first() -> None:
    model = replace(BASE, kind="prepare", execution=None, subject=values.model(gpus=0))
    stage = replace(BASE, parent=model.id)
    scores = replace(BASE, kind="score", execution=Isolation(), parent=stage.id)
    found = levels(
        [model, stage, scores, replace(stage, kind="generate", execution=AnswerExecution(), parent="done elsewhere")]
    )
    assert [Counter(made.kind for made in level) for level in found] == [
        {"prepare": 1, "generate": 1},
        {"train": 1},
        {"score": 1},
    ]


def test_the_text_of_a_job_names_its_element() -> None:
    assert str(Dependency.of("12_3")) == "afterok:12_3"
    assert str(Dependency.of("12", ok=False)) == "afterany:12"
