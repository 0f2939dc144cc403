"""From what one or several sweeps have to `index.html`: one file, which opens from anywhere and fetches nothing."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.analysis.observations import Observation, row
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import write_text
from sft_sweeps.report import judges, previews
from sft_sweeps.report.collect import ResultRow, to_json
from sft_sweeps.report.figures import captions
from sft_sweeps.report.figures.write import BEYOND, Found
from sft_sweeps.report.messages import without_folders
from sft_sweeps.report.page import charts, costs, findings, maps, notes, paper, runs, sections, tables, text
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.report.page.long import MANY, Table, of_sheet
from sft_sweeps.report.page.long import table as table_of
from sft_sweeps.report.sheets import safe
from sft_sweeps.terminal import LAUNCH, counted

PAGE = "index.html"
GENERATOR = "sft-sweeps"
MARK = f'<meta name="generator" content="{GENERATOR}'
TEMPLATES = Path(__file__).with_name("templates")


def write(sweeps: Sequence[Evidence], folder: Path) -> Path:
    """The page of some sweeps, beside what is in a folder; RequestError where that has somebody else's page."""
    path = folder / PAGE
    check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, html(sweeps, folder))
    return path


def check(folder: Path) -> None:
    """RequestError where a folder holds an index.html that is no report's."""
    path = folder / PAGE
    try:
        ours = not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror}); choose another: --out FOLDER") from error
    if not ours:
        raise RequestError(f"{path} is no report of this program and is not overwritten; choose another: --out FOLDER")


def html(sweeps: Sequence[Evidence], folder: Path | None = None) -> str:
    """The page as text."""
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return str(environment.get_template("page.html.j2").render(context(sweeps) | beside(folder)))


def context(sweeps: Sequence[Evidence]) -> dict[str, Any]:
    """Everything that the templates show."""
    seen = observations(sweeps)
    shown = sweeps[0].results.found if len(sweeps) == 1 else Found.beside_the_paper(seen)
    ours = [cell for cell in shown.every if cell.first.origin == "ours"]
    theirs = [cell for cell in shown.every if cell.first.origin == "paper"]
    beside = paper.beside(ours, theirs)
    found = findings.findings(sweeps)
    compared = [*found.exploratory, *(pair for claim in found.claims for pair in claim.pairs)]
    table = tables.scores(ours, _sweeps_of_runs(sweeps), compared, beside)
    return {
        **_of_runs(sweeps),
        **_data(sweeps, seen),
        "version": __version__,
        "generator": GENERATOR,
        "title": " and ".join(sweep.name for sweep in sweeps),
        "questions": list(dict.fromkeys(sweep.results.question for sweep in sweeps if sweep.results.question)),
        "sweeps": [_sweep(sweep) for sweep in sweeps],
        "found": found,
        "basis": findings.basis,
        "text": text,
        "counted": counted,
        "notes": notes.notes(sweeps),
        "finding_charts": list(sections.finding(found)),
        "table": table,
        "best": tables.telling(table, ours),
        "many": MANY,
        "readings": _readings(sweeps),
        "score_charts": list(sections.scores(ours, beside)),
        "judges": _judges(sweeps),
        "previews": _previews(sweeps),
        "beyond": _beyond(shown),
        "maps": list(maps.maps([one for sweep in sweeps for one in sweep.results.represented])),
        "unmapped": _unmapped(sweeps),
        "curve_charts": list(sections.curves(shown.every, shown.predicted)),
        "exploratory_charts": list(sections.exploratory(found)),
        "missing": [(sweep.name, text_) for sweep in sweeps for text_ in sweep.results.missing],
        "cost_header": costs.HEADER,
    }


def _of_runs(sweeps: Sequence[Evidence]) -> dict[str, Any]:
    """What stands behind each run; a stage's curve is there once, however many runs share it."""
    curves = {key: curve for sweep in sweeps for key, curve in runs.curves(sweep).items()}
    views = _views(sweeps, curves)
    return {
        "runs": views,
        "loss_spec": charts.loss(),
        "curves": {key: asdict(curve) for key, curve in curves.items()},
        "losses": {view.id: view.losses for view in views if view.losses},
    }


def _data(sweeps: Sequence[Evidence], seen: Sequence[Observation]) -> dict[str, Any]:
    """What can be downloaded, and what draws."""
    return {
        "results_json": [to_json(sweep.results) for sweep in sweeps],
        "results_csv": as_csv([row(one) for one in seen]),
        "script": _script(),
    }


def _previews(sweeps: Sequence[Evidence]) -> list[tuple[str, Table]]:
    """How well averages rank what was trained, by sweep, and what is said of it."""
    found = [sweep.results.previews for sweep in sweeps if sweep.results.previews]
    return [(previews.said(of), table_of("Rankings by averages and by training", *previews.rows(of))) for of in found]


def _judges(sweeps: Sequence[Evidence]) -> list[tuple[str, Table]]:
    """Scores by other judges than the sweeps', and what is said of them."""
    found = [one for sweep in sweeps for one in sweep.results.other_judges]
    return [
        (judges.said(one), table_of(f"{text.title(one.benchmark)} by another judge", *judges.rows(one)))
        for one in found
    ]


def observations(sweeps: Sequence[Evidence]) -> list[Observation]:
    """The scores of all sweeps, of a run that several have once; runs of one label are told apart by their sweep."""
    runs: dict[str, dict[str, None]] = {}
    for sweep in sweeps:
        for run in sweep.plan.runs:
            runs.setdefault(run.label, {})[run.id] = None
    found: dict[object, Observation] = {}
    for sweep in sweeps:
        for one in sweep.observations:
            label = f"{one.label} [{sweep.name}]" if len(runs[one.label]) > 1 else one.label
            key = (one.run, one.stage, one.subject, one.benchmark, one.protocol)
            found.setdefault(key, replace(one, label=label))
    return list(found.values())


def beside(folder: Path | None) -> dict[str, Any]:
    """Links to the figures beside the page, each in its formats; none where there are none."""
    found = []
    for title, of in _drawn(folder).items() if folder else ():
        links = [(path.suffix[1:], path.relative_to(folder or path).as_posix()) for path in of]
        found.append((title, links))
    return {"figures": found}


def _drawn(folder: Path) -> dict[str, list[Path]]:
    """The files of each figure, by its title; of several sweeps, each in a folder of its own, by its name too."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("figures/*"), *folder.glob("*/figures/*")]):
        if path.stem in captions.TITLES:
            of = path.parent.parent
            named = f"{of.name}: " if of != folder else ""
            found.setdefault(named + captions.TITLES[path.stem], []).append(path)
    return found


def _beyond(shown: Found) -> list[Table]:
    """Forgetting, transfer, fronts and crossings, where there are some."""
    return [of_sheet(sheet) for sheet in shown.tables if sheet.name in BEYOND]


def _unmapped(sweeps: Sequence[Evidence]) -> list[Table]:
    """How far models keep the sources' queries apart, where no map of them was drawn."""
    found = [one for sweep in sweeps for one in sweep.results.represented if not one.drawn]
    return [table_of(f"{one.model}, layer {one.layer}: in the original space", *maps.numbers(one)) for one in found]


def _views(sweeps: Sequence[Evidence], curves: Mapping[str, runs.Curve]) -> list[runs.RunView]:
    """The runs of all sweeps, each once."""
    total = sum(len(sweep.plan.runs) for sweep in sweeps)
    found: dict[str, runs.RunView] = {}
    for sweep in sweeps:
        for view in runs.views(sweep, curves, total - len(sweep.plan.runs)):
            found.setdefault(view.id, view)
    return list(found.values())


def _sweeps_of_runs(sweeps: Sequence[Evidence]) -> Mapping[str, Sequence[str]]:
    """Where there are several sweeps, those of each run."""
    of: dict[str, list[str]] = {}
    for sweep in sweeps if len(sweeps) > 1 else ():
        for run in sweep.plan.runs:
            of.setdefault(run.id, []).append(sweep.name)
    return of


def _readings(sweeps: Sequence[Evidence]) -> list[str]:
    """Runs of whose answers some are not in the scorer's format, which is another finding than a lost ability."""
    rows = dict.fromkeys((row.run.label, name, scored.reading()) for s in sweeps for row, name, scored in _finals(s))
    return [f"{label} on {text.title(name)}: {reading}" for label, name, reading in rows if reading]


def _finals(sweep: Evidence) -> list[tuple[ResultRow, str, Scored]]:
    return [(row, name, scored) for row in sweep.results.rows for name, scored in row.scores.items()]


def _sweep(sweep: Evidence) -> dict[str, Any]:
    plan = sweep.plan
    return {
        "name": sweep.name,
        "folder": sweep.results.sweep,
        "commands": [f"{LAUNCH} -m {line}" for line in costs.command(sweep.points)],
        "costs": costs.rows(sweep),
        "sharing": costs.sharing(sweep),
        "scores": len(plan.scores),
        "done": len(plan.scores) - len(sweep.results.missing),
        "notes": [without_folders(note, sweep.survey.store) for note in plan.notes],
    }


@lru_cache(maxsize=1)
def _script() -> str:
    """Vega, Vega-Lite and their embedding as one script, from vl-convert."""
    import vl_convert

    script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    if "</script" in script.lower():
        raise RuntimeError("the charts' script cannot stand in a page")
    return script


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for spreadsheets, in which no text is a formula."""
    file = io.StringIO()
    if rows:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([safe(value) for value in one.values()] for one in rows)
    return file.getvalue()
