"""The paper's tables: complete, consistent with what is known of them, and readable as places in the grid."""

import numpy as np
import pytest
import yaml
from common import ROOT

from sft_sweeps.analysis.paper import CLEAN, PARAMETERS, SOURCES, Cell, cells, observations
from sft_sweeps.models.architectures import count_parameters
from sft_sweeps.spec.training import Shape

SIZES = ("llama7b", "llama13b", "llama33b")


def own() -> list[Cell]:
    return [cell for cell in cells() if not cell.second_hand]


def test_every_cell_of_the_six_tables_is_there() -> None:
    """Counted by hand from the tables' shapes: rows times columns, less the dashes of single-source rows."""
    counts = {table: sum(cell.table == table for cell in own()) for table in range(1, 7)}
    assert counts == {1: 7 * 9 - 12, 2: 60, 3: 30, 4: 45, 5: 11 * 6 - 8, 6: 15}
    assert sum(cell.second_hand for cell in cells()) == 12


def curve(model: str, mixed: bool) -> list[float]:
    """GSM8K from the smallest fraction to the whole, of Tables 2 and 3."""
    found = {
        dict(cell.fractions)["math"]: cell.value
        for cell in own()
        if cell.table in (2, 3) and cell.model == model and cell.benchmark == "gsm8k" and (cell.alone is None) == mixed
    }
    return [found[fraction] for fraction in sorted(found)]


@pytest.mark.parametrize(("points", "miss"), [(3, 12.0), (4, 7.0)])
def test_the_six_gsm8k_curves_miss_as_was_measured(points: int, miss: float) -> None:
    """A line over log n, fitted on the smallest fractions, misses k = 1 by so many points on average."""
    misses = []
    for model in SIZES:
        for mixed in (False, True):
            values = curve(model, mixed)
            assert len(values) == 5
            slope, start = np.polyfit(range(points), values[:points], 1)
            misses.append(abs(slope * 4 + start - values[4]))
    assert np.mean(misses) == pytest.approx(miss, abs=0.05)


def test_a_run_in_several_tables_has_one_value_or_says_which_differ() -> None:
    by_run: dict[object, list[Cell]] = {}
    for cell in own():
        by_run.setdefault((cell.run, cell.benchmark), []).append(cell)
    for of_run in by_run.values():
        if len({cell.value for cell in of_run}) > 1:
            assert all(cell.differs_from for cell in of_run), of_run
    assert sum(len(of_run) > 1 for of_run in by_run.values()) > 30


def test_six_baselines_are_another_works() -> None:
    copied = {(cell.model, cell.fractions): cell.value for cell in own() if cell.copied_from and cell.table in (2, 3)}
    assert sorted(copied.values()) == [35.9, 43.0, 49.1, 51.4, 54.6, 57.91]


@pytest.mark.parametrize(
    ("table", "row", "model", "benchmark", "printed"),
    [
        (1, "DMT(k=1/256)", "llama33b", "gsm8k", "56.36"),
        (2, "Single(k=1/64)", "llama7b", "gsm8k", "22.71"),
        (3, "Mix(k=1/256)", "llama33b", "gsm8k", "36.54"),
        (4, "Mix[1(code,math),1/64general]", "llama7b", "mt_bench", "5.09"),
        (5, "DMT (k=1)", "llama13b", "gsm8k", "50.49"),
        (6, "1/256 Mix(code,math,general(w/o code math))", "llama7b", "humaneval", "11.37"),
    ],
)
def test_cells(table: int, row: str, model: str, benchmark: str, printed: str) -> None:
    (cell,) = [one for one in own() if (one.table, one.row, one.model, one.benchmark) == (table, row, model, benchmark)]
    assert cell.printed == printed


def test_tolerances() -> None:
    """Half a digit where the share is a rounded k/n, a digit where it was cut off, an item where it is neither."""
    for cell in own():
        shares = [100 * k / cell.n for k in range(cell.n + 1)]
        if cell.benchmark != "mt_bench" and not cell.off_grid:
            assert min(abs(cell.value - share) for share in shares) <= cell.tolerance + 1e-9, cell
        assert 0.005 <= cell.tolerance <= 0.61


def test_observations_stand_where_the_cells_do() -> None:
    """One for each different value of a run: 13B multi-task is in three tables, with two values of GSM8K."""
    seen = observations()
    assert len({(one.run, one.benchmark, one.value) for one in seen}) == len(seen)
    assert {(cell.model, cell.benchmark, cell.value) for cell in cells()} == {
        (one.setting.model, one.benchmark, round(100 * one.value, 6) if one.share else one.value) for one in seen
    }
    whole = [one for one in seen if one.setting.model == "llama13b" and one.benchmark == "gsm8k"]
    multi = [one for one in whole if one.setting.arm == "multi_task" and one.setting.fraction == 1]
    assert [one.printed for one in multi] == ["50.94", "50.49"]
    assert all(any(flag.startswith("differs_from=") for flag in one.flags) for one in multi)
    dmt = [one for one in whole if one.setting.arm == "dmt"]
    assert [str(one.setting.k) for one in dmt] == ["1/256", "1", "1/4", "1/16", "1/64"]
    assert {(one.stage, one.stage_label) for one in dmt} == {(2, "code+general+math")}


def test_the_smallest_fractions_have_the_examples_that_the_paper_counts() -> None:
    parts = {part for one in observations([2]) for part in one.setting.parts if part.fraction.denominator == 256}
    assert {part.source: part.examples for part in parts} == {"gsm8k_rft": 430, "code_alpaca": 78, "sharegpt": 336}


def test_an_interval_is_of_as_many_items_as_were_scored() -> None:
    """46.66 of 33B is 77 of 165: about 7.5 points to each side; a whole set's would be 2.7."""
    (one,) = [one for one in observations([3]) if one.printed == "46.66"]
    assert one.n == 165
    assert "n_suspected=165" in one.flags
    assert one.high - one.low == pytest.approx(0.15, abs=0.002)


def test_each_curve_is_one() -> None:
    """No variant parts the points of a scaling curve, whatever protocol they had."""
    for one in observations([2, 3]):
        assert one.setting.variant == ""


def test_sources_and_models_are_those_of_conf() -> None:
    """Kept here too, as analysis reads no configuration."""
    for name, rows in (*SOURCES.values(), CLEAN):
        assert yaml.safe_load((ROOT / "conf/source" / f"{name}.yaml").read_text(encoding="utf-8"))["rows"] == rows
    for name, parameters in PARAMETERS.items():
        shape = yaml.safe_load((ROOT / "conf/model" / f"{name}.yaml").read_text(encoding="utf-8"))["shape"]
        assert count_parameters(Shape(**shape)) == parameters
