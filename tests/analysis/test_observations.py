"""What an observation says of its place in the grid, of small exact values."""

from fractions import Fraction

from sft_sweeps.analysis.observations import Observation, Part, Setting, grouped, mixed_protocols, row

MATH, CODE = (Part(ability, ability, Fraction(1, 4), 25) for ability in ("math", "code"))
SETTING = Setting("mini", 10, "multi_task", (MATH,))
OBSERVED = Observation(SETTING, "gsm8k", "math", "accuracy", 0.5, 0.4, 0.6, 100, True)


def test_a_run_on_one_ability_is_alone_whatever_its_strategy() -> None:
    assert Setting("m", 1, "multi_task", (MATH,)).arm == "alone"
    assert Setting("m", 1, "multi_task", (MATH, CODE)).arm == "multi_task"
    assert Setting("m", 1, "base").arm == "base"


def test_a_fraction_is_told_only_where_all_parts_share_it() -> None:
    whole = Part("code", "code", Fraction(1), 100)
    assert Setting("m", 1, "dmt", (MATH, CODE)).fraction == Fraction(1, 4)
    uneven = Setting("m", 1, "dmt", (MATH, whole))
    assert (uneven.fraction, uneven.fraction_of("code"), uneven.fraction_of("general")) == (None, 1, None)
    assert (uneven.examples, uneven.examples_of("math")) == (125, 25)


def test_replicates_share_a_cell_and_variants_do_not() -> None:
    cells = {Setting("m", 1, "base", seed=seed, variant=variant).cell for seed in (0, 1) for variant in "ab"}
    assert len(cells) == 2


def test_rows_are_flat_and_protocols_that_mix_are_named() -> None:
    flat = row(OBSERVED)
    assert (flat["fractions"], flat["arm"], flat["k"]) == ("math=1/4", "alone", "")
    assert all(isinstance(value, str | int | float | bool) for value in flat.values())
    other = Observation(OBSERVED.setting, "gsm8k", "math", "accuracy", 0.5, 0.4, 0.6, 100, True, protocol="x")
    assert mixed_protocols([OBSERVED, other]) == {"gsm8k": ["", "x"]}
    assert mixed_protocols([other]) == {}
    assert list(grouped([OBSERVED, other, OBSERVED], lambda one: one.protocol)) == ["", "x"]
