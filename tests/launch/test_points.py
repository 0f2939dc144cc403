"""All points of a sweep are checked together, before anything is planned."""

import copy

import pytest
from common import Points
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.config.grid import Point
from sft_sweeps.errors import RequestError
from sft_sweeps.launch.launchers import LAUNCHERS
from sft_sweeps.launch.points import check, planned, requests


def test_problems_of_all_points_come_together(points: Points) -> None:
    """What the configuration's fields know to be wrong, and a launcher that there is not."""
    swept = points("model=mini", "data=mini", "train=mini", "train.epochs=0,1,2", "cluster.name=slurn")
    with pytest.raises(RequestError) as caught:
        check(swept)
    epochs, _, name, where = str(caught.value).splitlines()
    assert epochs.startswith("train.epochs=0")
    valid = ", ".join((*LAUNCHERS.names, "auto"))
    assert name == f"cluster.name=slurn is unknown; valid: {valid}; did you mean cluster.name=slurm?"
    assert where.strip().startswith("(in 3 of 3 points")


def test_what_belongs_to_the_launch_cannot_be_swept(points: Points) -> None:
    swept = points("model=mini", "data=mini", "train=mini", "cluster.jobs=1,2")
    with pytest.raises(RequestError, match="cluster cannot be swept: it belongs to the whole launch"):
        check(swept)


def test_requests_keep_the_points_names_and_order(points: Points) -> None:
    swept = points("model=mini", "data=mini", "train=mini", "train.seed=2,0,1")
    resolved = requests(swept)
    assert [name for name, _ in resolved] == [point.name for point in swept]
    assert [request.recipe.seed for _, request in resolved] == [2, 0, 1]


NAMES = ("mini_math", "mini_code", "mini_general", "heldout_loss")


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(NAMES), unique=True),
            st.sampled_from(["1", "1/2", "99/100", "1/64"]),
            st.sampled_from([0, 12, 64]),
            st.sampled_from(["base", "multi_task"]),
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_every_benchmark_named_scores_a_run_and_no_sweep_is_unscored_unasked(
    points: Points, lines: list[tuple[list[str], str, int, str]], unscored: bool
) -> None:
    """Whatever is named, trained on and kept apart: a plan is made exactly where each name has a score in it, and
    without any only where that was typed.
    """
    (point,) = points("model=mini", "data=mini", "train=mini", "evaluate=mini", "evaluate.examples=12")
    made = []
    for number, (names, fraction, heldout, strategy) in enumerate(lines):
        config = copy.deepcopy(point.config)
        config.evaluate.benchmarks, config.evaluate.unscored = names, unscored
        config.data.fraction, config.data.heldout, config.strategy.name = fraction, heldout, strategy
        made.append(Point(f"point {number}", config))
    wanted = {name for names, *_ in lines for name in names}
    # 99/100 of 800 and 2,800 rows leaves 8 and 28 of them: only the larger source's loss can be taken on 12.
    free = any("heldout_loss" in names and (s == "base" or f != "1" or h) for names, f, h, s in lines)
    possible = wanted - (set() if free else {"heldout_loss"})
    if wanted == possible and (wanted or unscored):
        assert {score.generation.benchmark.name.partition(":")[0] for score in planned(made).scores} == wanted
    else:
        with pytest.raises(RequestError, match=r"evaluate\.benchmarks=.* evaluate=none|Or leave it out") as caught:
            planned(made)
        assert ("heldout_loss scores no run" in str(caught.value)) == (wanted != possible)


def test_the_papers_studies_are_scored(points: Points) -> None:
    for study in ("table1", "table6"):
        assert {score.scorer for score in planned(points(f"study={study}", "model=llama7b")).scores} == {
            *("gsm8k", "humaneval", "mt_bench")
        }


PAPER, MINI = {"gsm8k", "humaneval", "mt_bench"}, {"mini_math", "mini_code", "mini_general"}


@pytest.mark.parametrize(
    ("line", "scored"),
    [
        ("model=llama13b data.fraction=1,1/4,1/16", PAPER),
        ("data=math", PAPER),
        ("model=smollm2_135m strategy=base", PAPER),
        ("model=mini data=mini train=mini", MINI),
        ("data=mini train=mini model=mini strategy=dmt strategy.k=1/4", MINI),
        ("study=quickstart", MINI),
        ("study=quickstart evaluate=heldout_loss data.heldout=64", {"heldout_loss"}),
        ("model=mini data=mini train=mini evaluate=none", set()),
        ("model=llama7b evaluate=none", set()),
    ],
)
def test_what_is_scored_by_default_follows_from_the_model_and_what_is_typed_wins(
    points: Points, line: str, scored: set[str]
) -> None:
    plan = planned(points(*line.split()))
    found: dict[str, set[str]] = {run.id: set() for run in plan.runs}
    for generation in plan.generations:
        found.setdefault(generation.subject.id, set()).add(generation.benchmark.name.partition(":")[0])
    assert all(names == scored for names in found.values())  # of runs, and of stages between where those are scored


def test_mt_bench_is_asked_as_often_as_the_paper_did(points: Points) -> None:
    plan = planned(points("model=llama7b"))
    assert {g.benchmark.name: g.benchmark.samples for g in plan.generations} == {
        "gsm8k": 1,
        "humaneval": 1,
        "mt_bench": 3,
    }


def test_a_line_typed_without_any_score_is_refused(points: Points) -> None:
    line = ("model=mini", "data=mini", "train=mini", "evaluate=heldout_loss")
    with pytest.raises(RequestError, match=r"heldout_loss scores no run .* data\.heldout=64 .* type evaluate=none"):
        planned(points(*line))
    with pytest.raises(RequestError, match=r"evaluate\.benchmarks=\[\] names nothing to score; .* type evaluate=none"):
        planned(points(*line, "evaluate.benchmarks=[]"))
    assert planned(points(*line[:3], "evaluate=none")).scores == ()
