"""What a report has for print and for programs: figures, tables and results.parquet, all from observations."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sft_sweeps.analysis import crossing, forgetting, paper, pareto
from sft_sweeps.analysis.cells import Cell, finals
from sft_sweeps.analysis.observations import COLUMNS, Observation, row
from sft_sweeps.files.json_files import write_text
from sft_sweeps.report import findings_sheets, layouts, sheets
from sft_sweeps.report.figures import captions, categories, curves, findings, style
from sft_sweeps.report.figures.charts import Line, Predicted
from sft_sweeps.report.figures.predicted import predicted

PARQUET = "results.parquet"
BEYOND = ("forgetting", "backward_transfer", "pareto", "crossing")  # tables of what is found beyond single scores
TABLES = ("scores", *(layout.name for layout in layouts.LAYOUTS), *BEYOND)


@dataclass(frozen=True)
class Written:
    """The paths, by kind; `figures` names each figure's title, `left_out` says why a figure was not drawn."""

    paths: tuple[Path, ...]
    figures: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What figures, tables and the page are made of, computed once; `every` are all cells, `cells` what is shown."""

    observations: Sequence[Observation]
    every: Sequence[Cell]
    cells: Sequence[Cell]
    changes: Sequence[forgetting.Change]
    transfers: Sequence[forgetting.BackwardTransfer]
    fronts: Sequence[pareto.Front]
    crossings: Sequence[crossing.Crossing]

    @classmethod
    def beside_the_paper(cls, ours: Sequence[Observation]) -> "Found":
        """Of a sweep's scores, with what the paper prints of its models and benchmarks; of none nothing."""
        return cls.of([*ours, *paper.observations()] if ours else ())

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> "Found":
        """A paper's values beside ours are of our models and benchmarks alone; losses only where nothing else is."""
        kept = list(_kept(list(observations)))
        cells = finals(kept)
        shown = [cell for cell in cells if cell.first.metric != "loss"] or cells
        return cls(
            observations=kept,
            every=cells,
            cells=shown,
            changes=forgetting.changes(kept),
            transfers=forgetting.backward_transfer(kept),
            fronts=pareto.fronts(kept),
            crossings=crossing.crossings(shown),
        )

    @cached_property
    def predicted(self) -> Mapping[Line, Predicted]:
        """What is said of fractions that were not run, by line of the figures."""
        return predicted(self.observations, self.every)

    @cached_property
    def tables(self) -> list[sheets.Sheet]:
        """Of scores; of findings where there are some."""
        beyond = [
            findings_sheets.forgetting(self.changes),
            findings_sheets.backward_transfer(self.transfers),
            findings_sheets.pareto(self.fronts),
            findings_sheets.crossing(self.crossings),
        ]
        return [*layouts.sheets(self.cells), *(sheet for sheet in beyond if sheet)]


def _kept(observations: Sequence[Observation]) -> Iterable[Observation]:
    ours = [one for one in observations if one.origin == "ours"]
    known = {(one.setting.model, one.benchmark) for one in ours}
    return (one for one in observations if not ours or (one.setting.model, one.benchmark) in known)


FIGURES: dict[str, Callable[[Found], Any]] = {
    "figure2": lambda found: curves.figure2(found.cells, found.predicted),
    "figure3": lambda found: curves.figure3(found.cells, found.predicted),
    "figure4": lambda found: curves.figure4(found.cells),
    "figure6": lambda found: curves.figure6(found.cells),
    "figure7": lambda found: categories.figure7(found.observations),
    "figure7_radar": lambda found: categories.figure7_radar(found.observations),
    "figure8": lambda found: curves.figure8(found.cells),
    "forgetting": lambda found: findings.forgetting(found.changes),
    "pareto": lambda found: findings.pareto(found.fronts),
    "crossing": lambda found: findings.crossing(found.crossings),
}


def write(observations: Found | Iterable[Observation], folder: Path, formats: Sequence[str] = style.FORMATS) -> Written:
    """figures/, tables/ and results.parquet in a folder; what is left of an earlier report there is removed."""
    found = observations if isinstance(observations, Found) else Found.of(observations)
    drawn, left_out, paths = {}, {}, []
    with style.applied():
        for name, draw in FIGURES.items():
            figure = draw(found)
            if isinstance(figure, str):
                left_out[name] = figure
            else:
                drawn[name] = captions.TITLES[name]
                paths += style.save(figure, folder / "figures", name, formats)
    for sheet in found.tables:
        paths += sheets.write(sheet, folder / "tables")
    paths.append(_caption_file(folder / "figures", drawn, left_out, found))
    paths.append(_parquet(found.observations, folder / PARQUET))
    _remove_others(folder, paths)
    return Written(tuple(paths), drawn, tuple(sheet.name for sheet in found.tables), left_out)


def records(found: Found) -> dict[str, Any]:
    """The findings as numbers, by the name of their table: for results.json, where infinity is written as text."""
    return {sheet.name: json.loads(_json(sheet.records)) for sheet in found.tables if sheet.name in BEYOND}


def _json(value: object) -> str:
    return json.dumps(value).replace("-Infinity", '"-inf"').replace("Infinity", '"inf"').replace("NaN", "null")


def _caption_file(folder: Path, drawn: Mapping[str, str], left_out: Mapping[str, str], found: Found) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "captions.md"
    write_text(path, captions.text(drawn, left_out, found.cells), durable=False)
    return path


def _parquet(observations: Sequence[Observation], path: Path) -> Path:
    """Every score of every run after each of its stages, a row each; of a sweep without any, the columns alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row(one) for one in observations]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), path)
    return path


def _schema() -> Any:
    import pyarrow as pa

    whole = ("parameters", "examples", "seed", "stage", "n")
    numbers, truths = ("value", "low", "high"), ("final",)
    types = dict.fromkeys(whole, pa.int64()) | dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(truths, pa.bool_())
    return pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])


def _remove_others(folder: Path, paths: Sequence[Path]) -> None:
    """A figure that an earlier report drew, and this one has no data for, must not stay."""
    for kind, names in (("figures", FIGURES), ("tables", TABLES)):
        for name in names:
            for path in (folder / kind).glob(f"{name}.*"):
                if path not in paths:
                    path.unlink()
