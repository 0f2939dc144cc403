"""What a sweep is called at a tracker: ids that stay, axes that no run lacks, names that every server takes."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from values import component, mixed, model, stage

from sft_sweeps.spec.training import Stage
from sft_sweeps.tracking import layout

FIRST = stage(components=mixed()[:2])
DMT = stage(FIRST, [component("math", fraction=Fraction(1, 16)), component("general")], seed=3)


def test_a_stage_has_one_id_in_every_sweep_and_what_a_sweep_asks_of_it_one_in_each() -> None:
    ids = {
        (kind, sweep): layout.run_id(kind, DMT.id, sweep) for kind in layout.JOB_TYPES for sweep in ("first", "second")
    }
    assert ids["train", "first"] == ids["train", "second"] == DMT.id
    asked = [ids[kind, sweep] for kind in ("generate", "score", "report") for sweep in ("first", "second")]
    assert len(set(asked)) == 6
    assert all(len(one) <= layout.LONGEST_ID for one in asked)
    assert all(one.startswith(f"{kind}-") for (kind, _), one in ids.items() if one in asked)
    assert layout.run_id("score", FIRST.id, "first") not in ids.values()


def axes(strategies: list[str], shares: list[Fraction | None], stages: list[Stage]) -> dict[str, str | int]:
    return layout.study_axes(
        model(), 5, strategies=strategies, shares=shares, stages=stages, abilities=("code", "general", "law", "math")
    )


def test_the_axes_of_a_run_say_where_it_stands_and_none_where_it_does_not() -> None:
    dmt = axes(["dmt"], [Fraction(1, 16)], [FIRST, DMT])
    assert (dmt["strategy"], dmt["k"], dmt["abilities"]) == ("dmt", "1/16", "code,general,math")
    assert (dmt["fraction"], dmt["fraction_math"], dmt["fraction_law"]) == ("1", "1", "none"), "k is no fraction"
    assert (dmt["examples"], dmt["examples_math"], dmt["examples_law"]) == (3000, 1000, 0)
    assert (dmt["seed"], dmt["data_seed"], dmt["stages"]) == ("3", "0", 2)
    base = axes(["base"], [None], [])
    assert base.keys() == dmt.keys(), "grouping drops runs without a key"
    assert {name for name, value in base.items() if value == layout.NONE} >= {"k", "sources", "fraction", "seed"}
    shared = axes(["dmt", "sequential", "dmt"], [Fraction(1, 4), None], [FIRST])
    assert (shared["strategy"], shared["k"]) == ("dmt,sequential", "1/4")
    halves = stage(components=[component("math", fraction=Fraction(1, 2)), component("code")])
    assert axes(["dmt"], [None], [halves])["fraction"] == "1/2,1"


@given(st.text(max_size=400), st.text(max_size=400), st.sampled_from([layout.LONGEST_NAME, layout.LONGEST_TAG]))
def test_names_that_are_cut_stay_apart(one: str, other: str, longest: int) -> None:
    cut = layout.cut(one, longest)
    assert len(cut) <= longest
    assert cut == one or len(one) > longest
    assert (cut == layout.cut(other, longest)) == (one == other)


def test_names_of_metrics_are_words() -> None:
    assert layout.metric("heldout_loss:gsm8k", "low") == "heldout_loss_gsm8k/low"
    assert layout.samples("my bench") == "samples/my_bench"


def test_tags_are_there_once() -> None:
    assert layout.tags("table1", ["a run", "", " ", "a run"], "reference") == ("table1", "a run", "reference")
    assert [len(tag) for tag in layout.tags("", ["x" * 90])] == [64]


def test_the_project_is_the_study() -> None:
    assert layout.project("", "table1") == "table1"
    assert layout.project("mine", "table1") == "mine"
    assert layout.project("", "") == "sft-sweeps"
    assert len(layout.project("p" * 200, "")) == 128
