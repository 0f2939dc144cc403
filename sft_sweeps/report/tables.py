"""The tables: one row a run; then one row a stage of each run that has several, where forgetting shows."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sft_sweeps.analysis.cells import without_seed
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.files.json_files import write_json, write_text
from sft_sweeps.report import judges, previews
from sft_sweeps.report.collect import ResultRow, Results, to_json
from sft_sweeps.report.figures import style
from sft_sweeps.report.figures import write as prints
from sft_sweeps.report.figures.representations import caption, figure5, interval
from sft_sweeps.report.page.text import title
from sft_sweeps.report.replicates import seed_of
from sft_sweeps.report.sheets import safe
from sft_sweeps.terminal import say, show_long

FOOTNOTE = (
    "Accuracies are k of n items with Wilson's 95 % interval; losses are nats per supervised token with a bootstrap "
    "95 % interval over examples. These intervals cover the choice of items, not the variance between training seeds. "
    "`format` is the share of answers in the format that the scorer asks for, where it is not all of them; "
    "`unreadable` counts those in which it found nothing to score, which are wrong answers here."
)

DIFFERENCES = (
    "Differences are paired by item, with a 95 % interval: Tango's for shares, Student's t for means, neither of which "
    "is zero wide where all items tie; p is McNemar's exact test, in parentheses adjusted over the benchmark's rows "
    "under one protocol (Holm). Detectable is the smallest difference that so many items show with 80 % power, at the "
    "share of discordant items (of means: at the spread of differences) seen. Where a point has several training "
    "seeds, its difference is of the mean over them, and the interval over seeds and items together: a bootstrap's, "
    "joined with Welch's of the seeds' scores where both points have several, and no p is given."
)

SEEDS = (
    "Mean over training seeds on the same data, with a 95 % bootstrap interval over seeds and items together; SD is "
    "the standard deviation between seeds. Few seeds show little: of three, the true SD may be 0.5 to 6 times "
    "the one seen, and the bootstrap is too narrow."
)

PREVIEWED = "How well averages of single-ability models rank the trained mixtures"
SCREEN, FEW = 40, 8  # rows of a table, beyond which a terminal shows the first few: narrow, each takes several lines

Cells = list[list[str]]


def final(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the runs' scores."""
    header = ["run", *map(title, results.benchmarks)]
    return header, [[row.run.label, *_cells(row, -1, results.benchmarks)] for row in results.rows]


def stages(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the scores after each stage, for runs with more than one."""
    header = ["run", "after stage", *map(title, results.benchmarks)]
    cells = []
    for row in results.rows:
        if len(row.after) > 1 and any(after.scores for after in row.after[:-1]):
            for index, after in enumerate(row.after):
                name = row.run.label if index == 0 else ""
                cells.append([name, f"{index + 1} {after.label}", *_cells(row, index, results.benchmarks)])
    return header, cells


def differences(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the paired differences between runs and the reference of their model."""
    header = ["run", "against", "benchmark", "difference", "p (exact, Holm)", "detectable", "read (run, against)"]
    cells = []
    for one in results.comparisons:
        scale, unit = (100, " points") if one.share else (1, "")
        difference = one.difference
        text = f"{scale * difference.value:+.2f}{unit} [{scale * difference.low:+.2f}, {scale * difference.high:+.2f}]"
        p = "-" if one.p is None or one.adjusted is None else f"{one.p:.3g} ({one.adjusted:.3g})"
        least = "-" if one.detectable is None else f"{100 * one.detectable:.1f} points"
        least = least if one.share or one.detectable is None else f"{one.detectable:.2f}"
        readings = [_reading(results, point, one.benchmark) for point in (one.run, one.against)]
        read = "-" if set(readings) == {"-"} else " against ".join(readings)
        cells.append([one.run, one.against, title(one.benchmark), text, p, least, read])
    return header, cells


def seeds(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the points with several training seeds."""
    header = ["run", "benchmark", "seeds", "mean over seeds", "SD between seeds", "each", "read"]
    cells = []
    for one in results.replicated:
        scale, digits, unit = (100, 1, "%") if one.share else (1, 3, "")
        low, high = (f"{scale * end:.{digits}f}" for end in (one.mean.low, one.mean.high))
        mean = f"{scale * one.mean.value:.{digits}f}{unit} (n={one.n}) [{low}–{high}]"
        each = ", ".join(
            f"{seed}: {scale * value:.{digits}f}" for seed, value in zip(one.seeds, one.values, strict=True)
        )
        read = _reading(results, one.point, one.benchmark)
        sd = f"{scale * one.sd:.{digits}f}"
        cells.append([one.point, title(one.benchmark), str(len(one.seeds)), mean, sd, each, read])
    return header, cells


def representations(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of how far each model keeps the sources apart."""
    header = ["model", "layer", "silhouette", "purity (by chance)", "silhouette, change", "purity, change"]
    cells = []
    for found in results.represented:
        for panel in found.panels:
            one = panel.separation
            changes = (one.silhouette_change, one.purity_change)
            purity = f"{interval(one.purity)} ({one.chance:.2f})"
            changed = ["-" if change is None else interval(change, "+") for change in changes]
            cells.append([panel.label, f"{found.layer} ({found.pooling})", interval(one.silhouette), purity, *changed])
    return header, cells


def _reading(results: Results, point: str, benchmark: str) -> str:
    """How the answers of a point's runs could be read; `all` where every one was in the scorer's format."""
    readings = []
    for row in results.rows:
        if point in (row.run.label, without_seed(row.run.label, seed_of(row.run))):
            scored = row.scores.get(benchmark)
            readings += [scored.reading() or "all"] if scored and scored.answers else []
    return "; ".join(dict.fromkeys(readings)) or "-"


def _cells(row: ResultRow, index: int, benchmarks: Sequence[str]) -> list[str]:
    scores = row.after[index].scores
    return [scores[name].text() if name in scores else "-" for name in benchmarks]


def show(results: Results, out: Console) -> None:
    """The tables of scores on a terminal; what is missing."""
    if not results.benchmarks:
        out.print(
            "nothing is scored: no benchmark is named (evaluate=none), or no held-out examples are left (data.heldout)"
        )
        _show_representations(results, out)
        return
    _show(f"Scores of {results.sweep}", *final(results), out)
    header, rows = stages(results)
    if rows:
        _show("After each stage", header, rows, out)
    if results.replicated:
        _show("Over training seeds", *seeds(results), out)
    if results.previews:
        _show(PREVIEWED, *previews.rows(results.previews), out)
        say(out, escape(previews.said(results.previews)))
    for one in results.other_judges:
        _show(f"{title(one.benchmark)} by another judge", *judges.rows(one), out)
        say(out, escape(judges.said(one)))
    _show_representations(results, out)
    say(out, f"[dim]{FOOTNOTE}[/]")
    for text in results.fewer:
        say(out, f"[yellow]note[/] {escape(text)}")
    if results.missing:
        first = escape(results.missing[0])
        say(out, f"[yellow]missing[/] {len(results.missing)} scores, e.g. {first}")


def _show_representations(results: Results, out: Console) -> None:
    if results.represented:
        _show("How far models keep the sources' queries apart", *representations(results), out)
    for text in results.unrepresented:
        say(out, f"[yellow]note[/] {escape(text)}")


def _show(title: str, header: list[str], rows: Cells, out: Console) -> None:
    """A table; of many rows the first on a terminal, and plain lines elsewhere."""
    more = "all of them are in the report's files"
    shown = rows[:FEW] if out.is_terminal and len(rows) > SCREEN else rows
    if shown is rows and show_long(out, title, header, rows, more):
        return
    table = Table(*map(escape, header), title=escape(title), title_justify="left")
    for row in shown:
        table.add_row(*map(escape, row))
    out.print(table)
    if shown is not rows:
        say(out, f"... and {len(rows) - len(shown):,} more; {more}")


def markdown(results: Results) -> str:
    """All tables as a Markdown page."""
    parts = [f"# {results.sweep}", results.question, _markdown(*final(results))]
    header, rows = stages(results)
    if rows:
        parts += ["## After each stage", _markdown(header, rows)]
    if results.replicated:
        parts += ["## Over training seeds", _markdown(*seeds(results)), SEEDS]
    if results.comparisons:
        parts += ["## Differences", _markdown(*differences(results)), DIFFERENCES]
    if results.represented:
        parts += ["## How far models keep the sources' queries apart", _markdown(*representations(results))]
        parts += [caption(found) for found in results.represented]
    if results.previews:
        parts += [f"## {PREVIEWED}", previews.said(results.previews), _markdown(*previews.rows(results.previews))]
    for one in results.other_judges:
        parts += [f"## {title(one.benchmark)} by another judge", judges.said(one), _markdown(*judges.rows(one))]
    parts += [*results.unrepresented, *results.fewer]
    if results.missing:
        parts.append("Missing: " + "; ".join(results.missing))
    return "\n\n".join(part for part in [*parts, FOOTNOTE] if part) + "\n"


def _markdown(header: list[str], rows: Cells) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(results: Results, folder: Path) -> list[Path]:
    """results.json, results.md and results.csv (one score a line) in a folder, whose paths are given; with figures."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", {**to_json(results), "findings": prints.records(results.found)})
    write_text(folder / "results.md", markdown(results), durable=False)
    with (folder / "results.csv").open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file).writerows(map(safe, line) for line in lines(results))
    prints.write(results.found, folder)
    draw(results, folder / "figures")
    return [folder / name for name in FILES]


def draw(results: Results, folder: Path) -> list[Path]:
    """The map of the representations of each base model, and its caption beside the others'; the paths drawn."""
    for path in folder.glob("figure5*"):  # of an earlier report
        path.unlink()
    written, captions = [], []
    for number, found in enumerate(results.represented):
        name = f"figure5-{number + 1}" if number else "figure5"
        with style.applied():
            if not isinstance(made := figure5(found), str):
                written += style.save(made, folder, name)
                captions.append(f"\n**{name}** {caption(found)}\n")
    if captions:
        with (folder / "captions.md").open("a", encoding="utf-8") as file:
            file.writelines(captions)
    return written


FILES = ("results.json", "results.md", "results.csv")
COLUMNS = ("run", "id", "model", "strategy", "k", "seed", "stage", "after", "benchmark")
NUMBERS = ("metric", "value", "low", "high", "n", "k", "total")
READINGS = ("answers", "formatted", "unreadable")


def lines(results: Results) -> Iterator[list[Any]]:
    """results.csv: a header, each score of each run after each stage, then the means over seeds (`seed` is "mean")."""
    yield [*COLUMNS, "metric", "value", "low", "high", "n", "correct", "total", "seeds", "sd", *READINGS]
    for row in results.rows:
        run = row.run
        named = [run.label, run.id, run.model.name, run.strategy, "" if run.k is None else str(run.k), seed_of(run)]
        for number, after in enumerate(row.after, 1):
            for name, value in after.scores.items():
                yield [
                    *named,
                    number,
                    after.label,
                    name,
                    *(getattr(value, key) for key in NUMBERS),
                    1,
                    "",
                    *_counted(value),
                ]
    for one in results.replicated:
        named = [one.point, "", "", "", "", "mean", "", "", one.benchmark, "mean over seeds"]
        yield [
            *named,
            one.mean.value,
            one.mean.low,
            one.mean.high,
            one.n,
            "",
            "",
            len(one.seeds),
            one.sd,
            *[""] * len(READINGS),
        ]


def _counted(scored: Scored) -> list[Any]:
    return [getattr(scored, key) if scored.answers else "" for key in READINGS]
