"""The tables: one row a run; then one row a stage of each run that has several, where forgetting shows."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sft_sweeps.claims import write_json
from sft_sweeps.report.collect import Results, Row, to_json
from sft_sweeps.show import say

FOOTNOTE = (
    "Accuracies are k of n items with Wilson's 95 % interval; losses are nats per supervised token with a bootstrap "
    "95 % interval over examples. Intervals cover the choice of items, not the variance between training seeds."
)

DIFFERENCES = (
    "Differences are paired by item, with a bootstrap 95 % interval; p is McNemar's exact test, in parentheses "
    "adjusted over the benchmark's rows (Holm). Detectable is the smallest difference that so many items show with "
    "80 % power at the share of discordant items seen."
)

Cells = list[list[str]]


def final(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the runs' scores."""
    header = ["run", *map(_title, results.benchmarks)]
    return header, [[row.run.label, *_cells(row, -1, results.benchmarks)] for row in results.rows]


def stages(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the scores after each stage, for runs with more than one."""
    header = ["run", "after stage", *map(_title, results.benchmarks)]
    cells = []
    for row in results.rows:
        if len(row.after) > 1 and any(after.scores for after in row.after[:-1]):
            for place, after in enumerate(row.after):
                name = row.run.label if place == 0 else ""
                cells.append([name, f"{place + 1} {after.label}", *_cells(row, place, results.benchmarks)])
    return header, cells


def differences(results: Results) -> tuple[list[str], Cells]:
    """Header and rows of the paired differences between runs and the reference of their model."""
    header = ["run", "against", "benchmark", "difference", "p (exact, Holm)", "detectable"]
    cells = []
    for one in results.comparisons:
        scale, unit = (100, " points") if one.p is not None else (1, "")
        found = one.difference
        text = f"{scale * found.value:+.2f}{unit} [{scale * found.low:+.2f}, {scale * found.high:+.2f}]"
        p = "-" if one.p is None or one.adjusted is None else f"{one.p:.3g} ({one.adjusted:.3g})"
        least = "-" if one.detectable is None else f"{100 * one.detectable:.1f} points"
        cells.append([one.run, one.against, _title(one.benchmark), text, p, least])
    return header, cells


def _title(benchmark: str) -> str:
    return benchmark.replace("heldout_loss:", "held-out loss, ")


def _cells(row: Row, place: int, benchmarks: Sequence[str]) -> list[str]:
    scores = row.after[place].scores
    return [scores[name].text() if name in scores else "-" for name in benchmarks]


def show(results: Results, out: Console) -> None:
    """Both tables on a terminal."""
    if not results.benchmarks:
        out.print(
            "nothing is scored: no benchmark is named (evaluate=none), or no held-out examples are left (data.heldout)"
        )
        return
    out.print(_rich(f"Scores of {results.sweep}", *final(results)))
    header, rows = stages(results)
    if rows:
        out.print(_rich("After each stage", header, rows))
    say(out, f"[dim]{FOOTNOTE}[/]")
    if results.missing:
        first = escape(results.missing[0])
        say(out, f"[yellow]missing[/] {len(results.missing)} scores, e.g. {first}")


def _rich(title: str, header: list[str], rows: Cells) -> Table:
    table = Table(*map(escape, header), title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def markdown(results: Results) -> str:
    """Both tables as a Markdown page."""
    parts = [f"# {results.sweep}", results.question, _markdown(*final(results))]
    header, rows = stages(results)
    if rows:
        parts += ["## After each stage", _markdown(header, rows)]
    if results.comparisons:
        parts += ["## Differences", _markdown(*differences(results)), DIFFERENCES]
    if results.missing:
        parts.append("Missing: " + "; ".join(results.missing))
    return "\n\n".join(part for part in [*parts, FOOTNOTE] if part) + "\n"


def _markdown(header: list[str], rows: Cells) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(results: Results, folder: Path) -> list[Path]:
    """results.json and results.md in a folder; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "results.json", to_json(results))
    (folder / "results.md").write_text(markdown(results), encoding="utf-8")
    return [folder / "results.json", folder / "results.md"]
