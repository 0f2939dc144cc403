"""Figures, tables and results.parquet of a whole study: what is drawn, what is not and why, and nothing wrong."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import latex
import pyarrow.parquet as pq
import pytest
from common import ROOT
from observed import study

from sft_sweeps.analysis import paper
from sft_sweeps.analysis.observations import Observation, Setting, row
from sft_sweeps.plan import serialize
from sft_sweeps.report.figures.write import FIGURES, Found, Written, records, write
from sft_sweeps.report.observe import setting_of

PNG = ("png",)


@pytest.fixture(scope="module")
def observations() -> list[Observation]:
    return [*study(("llama7b",), 2, 16), *paper.observations()]


@pytest.fixture(scope="module")
def written(observations: list[Observation], tmp_path_factory: pytest.TempPathFactory) -> tuple[Written, Path]:
    folder = tmp_path_factory.mktemp("report")
    return write(observations, folder, formats=PNG), folder


@pytest.mark.slow
def test_a_whole_study_has_every_figure_and_table(written: tuple[Written, Path]) -> None:
    found, folder = written
    assert found.left_out == {}
    assert set(found.figures) == set(FIGURES)
    assert all((folder / "figures" / f"{name}.png").stat().st_size > 5000 for name in FIGURES)
    assert {path.suffix for path in (folder / "tables").iterdir()} == {".tex", ".md", ".csv"}
    assert set(found.paths) == {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_captions_name_every_flagged_value(written: tuple[Written, Path]) -> None:
    text = (written[1] / "figures" / "captions.md").read_text(encoding="utf-8")
    assert "copied_from=gsm8k-ScRel" in text
    assert "llama33b" not in text  # no model of ours


@pytest.mark.slow
def test_parquet_has_every_score(written: tuple[Written, Path], observations: list[Observation]) -> None:
    table = pq.read_table(written[1] / "results.parquet").to_pylist()
    ours = [row(one) for one in observations if one.origin == "ours"]
    assert [line for line in table if line["origin"] == "ours"] == ours
    assert {line["model"] for line in table} == {"llama7b"}


@pytest.mark.slow
def test_numbers_of_csv_are_the_tables(written: tuple[Written, Path], observations: list[Observation]) -> None:
    with (written[1] / "tables" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = [line for line in csv.DictReader(file) if line["strategy"] == "base"]
    shown = {line["benchmark"]: float(line["value"]) for line in rows}
    base = [one for one in observations if one.setting.strategy == "base"]
    assert shown == {one.benchmark: one.value for one in base}


@pytest.mark.slow
def test_every_table_compiles(written: tuple[Written, Path]) -> None:
    latex.compiles(written[1], *sorted((written[1] / "tables").glob("*.tex")))


@pytest.mark.slow
def test_each_value_of_the_papers_finds_its_run(tmp_path: Path) -> None:
    """Of `study=paper`: model, strategy, k, and each source with its fraction and examples are the same."""
    output = tmp_path / "plan.json"
    command = ["launch.py", "-m", "study=paper", "action=plan", "plan.measure=false", f"plan.output={output}"]
    subprocess.run(
        [sys.executable, *command, f"output_dir={tmp_path / 'x'}"], cwd=ROOT, check=True, capture_output=True
    )

    def place(at: Setting) -> object:
        parts = frozenset((part.ability, part.source, part.fraction, part.examples) for part in at.parts)
        return at.model, at.strategy, at.k, parts

    runs = [setting_of(run) for run in serialize.from_json(json.loads(output.read_text())).runs]
    assert {place(one.setting) for one in paper.observations()} == set(map(place, runs))
    assert len({run.variant for run in runs}) == len({run.model for run in runs}) == 3


def few(strategies: tuple[str, ...] = ("mixed_sequential", "dmt")) -> list[Observation]:
    """Of one model, without stages before the last: scores over k, a Pareto front, tables."""
    return [one for one in study(("llama7b",), 1, 8) if one.final and one.setting.strategy in strategies]


def test_what_has_no_data_is_not_drawn_and_says_why(tmp_path: Path) -> None:
    assert set(write(few(), tmp_path, formats=PNG).figures) == {"figure7", "figure7_radar", "figure8", "pareto"}
    assert (tmp_path / "figures" / "figure8.png").exists()
    found = write([], tmp_path, formats=PNG)
    assert set(found.left_out) == set(FIGURES)
    assert "value" in found.left_out["figure8"]
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"captions.md", "results.parquet"}  # nothing of the earlier report stays


def test_findings_as_numbers_are_json(observations: list[Observation]) -> None:
    found = records(Found.of(observations))
    assert {len(found[name]) > 0 for name in ("forgetting", "backward_transfer", "pareto", "crossing")} == {True}
    assert {type(one["high"]) for one in found["crossing"]} <= {float, str}


def test_hostile_names_do_no_harm(tmp_path: Path) -> None:
    name = "$x_{$ <b> =1+1 🦙 | & % \\"
    made = [replace(one, label=name, setting=replace(one.setting, model=name), categories={}) for one in few()]
    assert set(write(made, tmp_path, formats=("svg",)).figures) == {"figure8", "pareto"}


def test_nothing_heavy_is_imported_to_plan_a_report() -> None:
    program = (
        "import sys, sft_sweeps.report.figures.write; heavy = {'matplotlib', 'pyarrow', 'scipy', 'sklearn', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
