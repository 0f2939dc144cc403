"""Lines of charts: nothing differs along a line but what its axis says."""

from dataclasses import replace
from fractions import Fraction

from observed import FRACTIONS, observation, part, setting, study

from sft_sweeps.analysis import paper, series
from sft_sweeps.analysis.cells import finals

STUDY = finals(study(seeds=2, n=16))
LINES = (series.scaling, series.single_and_mixed, series.replay, series.ratios, series.ablation)


def names(lines: list[series.Series]) -> set[str]:
    return {one.name for one in lines}


def test_along_a_line_only_its_axis_changes() -> None:
    for function in LINES:
        lines = function(STUDY)
        assert lines
        for one in lines:
            cells = [cell for _, cell in one.points]
            assert len({(c.first.benchmark, c.first.protocol, c.setting.model, c.setting.variant) for c in cells}) == 1
            assert len({tuple(p.source for p in c.setting.parts) for c in cells}) == 1
            assert [at for at, _ in one.points] == sorted({at for at, _ in one.points})


def test_scaling_has_each_ability_alone_on_its_own_benchmark() -> None:
    lines = series.scaling(STUDY)
    assert {(one.panel.benchmark, one.model) for one in lines} == {
        (name, model) for name in ("gsm8k", "humaneval", "mt_bench") for model in ("llama7b", "llama13b")
    }
    assert all(len(one.points) == len(FRACTIONS) for one in lines)


def test_mixtures_of_other_sources_are_lines_of_their_own() -> None:
    assert names(series.single_and_mixed(STUDY)) == {"alone", "mixed, sharegpt", "mixed, sharegpt_clean"}
    assert names(series.ablation(STUDY)) == {"sharegpt", "sharegpt_clean"}


def test_mixed_sequential_is_the_zero_of_k() -> None:
    for one in series.replay(STUDY):
        (zero, cell), *others = one.points
        assert (zero, cell.setting.strategy) == (0, "mixed_sequential")
        assert [at for at, _ in others] == sorted(map(float, FRACTIONS))


def test_ratios_hold_one_of_the_two_fixed() -> None:
    assert names(series.ratios(STUDY)) == {"general varies, others 1", "general 1, others vary"}
    by_name = {one.name: [at for at, _ in one.points] for one in series.ratios(STUDY)}
    assert by_name["general 1, others vary"] == [1, 4, 16, 64, 256]


def test_two_recipes_and_two_protocols_never_share_a_line() -> None:
    half = setting(parts=(part("math", Fraction(1, 2)),))
    whole = setting(parts=(part("math"),))
    same = [observation(at, [1, 0]) for at in (half, whole)]
    other_recipe = [observation(replace(at, variant="lr"), [1, 0]) for at in (half, whole)]
    other_judge = [observation(at, [1, 0], protocol="p2", run=f"{at}2") for at in (half, whole)]
    assert len(series.scaling(finals(same))) == 1
    recipes = series.scaling(finals(same + other_recipe))
    assert len({one.model for one in recipes}) == 2
    judges = series.scaling(finals(same + other_judge))
    assert len({one.panel for one in judges}) == len({one.panel.title for one in judges}) == 2


def test_no_data_no_line() -> None:
    assert [function([]) for function in LINES] == [[]] * 5
    one = finals([observation(setting(parts=(part("math"),)), [1, 0])])
    assert [function(one) for function in LINES] == [[]] * 5


def test_the_papers_values_stand_beside_ours_and_are_no_line_of_ours() -> None:
    theirs = finals(paper.observations())
    beside = series.scaling([*STUDY, *theirs])
    assert {one.origin for one in beside} == {"ours", "paper"}
    assert len({one.panel for one in beside}) == 3
    assert [one for one in beside if one.origin == "ours"] == series.scaling(STUDY)


def test_the_papers_tables_have_its_figures() -> None:
    theirs = finals(paper.observations())
    assert {one.model for one in series.replay(theirs)} == {"llama7b", "llama13b", "llama33b"}
    ratios = {one.name for one in series.ratios(theirs)}
    assert ratios == {"general varies, others 1", "general 1, others vary", "general 1/64, others vary"}
    assert names(series.ablation(theirs)) == {"sharegpt", "sharegpt_clean"}
