"""Tables laid out as the paper's: ours beside theirs, nothing mixed, bold only beyond noise."""

from dataclasses import replace
from fractions import Fraction

from observed import observation, part, setting, study

from sft_sweeps.analysis import paper
from sft_sweeps.analysis.cells import finals
from sft_sweeps.report.layouts import sheets
from sft_sweeps.report.sheets import Sheet


def named(observations: list) -> dict[str, Sheet]:  # type: ignore[type-arg]
    return {sheet.name: sheet for sheet in sheets(finals(observations))}


def texts(sheet: Sheet) -> dict[str, list[str]]:
    return {row[0].text: [entry.text for entry in row[1:]] for block in sheet.blocks for row in block}


def marks(sheet: Sheet, column: int = 1) -> list[str]:
    return [row[column].mark for block in sheet.blocks for row in block]


def test_the_papers_own_tables_come_out_as_printed() -> None:
    """Table 1's and 5's rows, Tables 2's and 3's, 4's and 6's: each value that the paper prints is in its cell."""
    found = named(paper.observations())
    assert set(found) == {"scores", "strategies", "single_and_mixed", "ratios", "ablation"}
    strategies = found["strategies"]
    assert [name for name, _ in strategies.groups] == ["", "llama7b", "llama13b", "llama33b"]
    assert texts(strategies)["dmt k=1/256"][6:] == ["(56.36†)", "(25.00†)", "(6.69†)"]
    assert texts(strategies)["sequential"][:3] == ["(31.39)", "(15.85)", "(5.72)"]
    assert texts(found["single_and_mixed"])["alone 1/16"][0] == "(35.90†)"


def test_ours_stand_beside_the_papers_of_the_same_sources() -> None:
    ours = study(("llama7b",), 1, 16)
    found = named([*ours, *paper.observations()])
    cells = texts(found["ablation"])
    assert "(47.53)" in cells["code_alpaca + gsm8k_rft + sharegpt 1"][0]
    assert "(49.05)" in cells["code_alpaca + gsm8k_rft + sharegpt_clean 1"][0]
    # in one table with both, each row names its sources
    single = texts(found["single_and_mixed"])
    assert "(47.53)" in single["mixed 1 (code_alpaca + gsm8k_rft + sharegpt)"][0]


def test_a_row_of_ours_alone_has_no_value_of_the_papers_other_sources() -> None:
    ours = [one for one in study(("llama7b",), 1, 16) if "clean" not in str(one.setting.parts)]
    single = texts(named([*ours, *paper.observations()])["single_and_mixed"])
    assert "49.05" not in single["mixed 1"][0]
    assert "47.53" in single["mixed 1"][0]


def strategies(right: dict[str, int], n: int = 1000) -> Sheet:
    return named([observation(setting(name), [i < k for i in range(n)]) for name, k in right.items()])["strategies"]


def test_bold_and_underlined_only_beyond_noise() -> None:
    assert marks(strategies({"multi_task": 500, "sequential": 300, "mixed_sequential": 100})) == ["best", "second", ""]
    assert marks(strategies({"multi_task": 500, "sequential": 498, "mixed_sequential": 100})) == ["", "second", ""]
    assert marks(strategies({"multi_task": 500, "sequential": 499, "mixed_sequential": 498})) == ["", "", ""]


def test_of_a_loss_the_lowest_is_best() -> None:
    losses = [
        observation(setting(name), [value], bare=True, metric="loss", share=False, low=value - 0.01, high=value + 0.01)
        for name, value in (("multi_task", 2.0), ("sequential", 1.0))
    ]
    assert marks(named(losses)["strategies"]) == ["", "best"]


def test_two_recipes_are_two_columns() -> None:
    one = [observation(setting(name), [1, 0]) for name in ("multi_task", "sequential")]
    other = [replace(o, setting=replace(o.setting, variant="lr"), run=f"{o.run}x") for o in one]
    (_, *models) = named([*one, *other])["strategies"].groups
    assert len(models) == 2


def test_seeds_are_one_cell_with_an_interval() -> None:
    runs = [
        observation(setting(name, seed=seed), [i < 40 + seed for i in range(100)])
        for seed in range(3)
        for name in ("multi_task", "sequential")
    ]
    table = named(runs)["strategies"]
    assert texts(table)["multi_task"][0].startswith("41.0 ± ")
    assert {record["seeds"] for record in table.records} == {3}


def test_nothing_to_lay_out() -> None:
    assert sheets([]) == []
    lone = [observation(setting(parts=(part("math", Fraction(1, 3)),)), [1, 0])]
    assert set(named(lone)) == {"scores"}
