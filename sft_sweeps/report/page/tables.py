"""The table of all scores: a row a point, a column a benchmark under one protocol, each number with its evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.analysis.observations import Setting, grouped
from sft_sweeps.report.page import text


@dataclass(frozen=True)
class Number:
    """A score: `mark` says whether it is beyond noise above or below the reference, `paper` what the paper prints."""

    value: str
    interval: str
    of: str
    run: str
    mark: str = ""
    paper: str = ""
    flags: str = ""


@dataclass(frozen=True)
class ScoreRow:
    label: str
    sweeps: str
    numbers: tuple[Number | None, ...]


@dataclass(frozen=True)
class ScoreTable:
    columns: tuple[str, ...]
    rows: tuple[ScoreRow, ...]


def scores(
    cells: Sequence[Cell],
    sweeps: Mapping[str, Sequence[str]],
    compared: Sequence[Compared],
    paper: Sequence[tuple[Cell, Cell]],
) -> ScoreTable:
    """Of the runs' last models. `sweeps` are those of each run by its id; of one sweep alone they are not named."""
    columns = list(dict.fromkeys((cell.first.benchmark, cell.first.protocol) for cell in cells))
    several = {name for name, _ in columns if sum(name == other for other, _ in columns) > 1}
    titles = [
        text.title(name) + (f" (protocol {protocol[:6]})" if name in several else "") for name, protocol in columns
    ]
    marks = {(pair.ours.runs, _column(pair.ours)): pair for pair in compared}
    beside = grouped(paper, lambda pair: (pair[0].runs, pair[0].first.benchmark))
    rows = []
    for of in _by_row(cells).values():
        by_column = {_column(cell): cell for cell in of}
        numbers = []
        for column in columns:
            cell = by_column.get(column)
            found = beside.get((cell.runs, cell.first.benchmark), []) if cell else []
            numbers.append(
                number(cell, marks.get((cell.runs, column)), [their for _, their in found]) if cell else None
            )
        named = dict.fromkeys(name for run in of[0].runs for name in sweeps.get(run, ()))
        rows.append(ScoreRow(of[0].label, ", ".join(named), tuple(numbers)))
    return ScoreTable(tuple(titles), tuple(rows))


def _by_row(cells: Sequence[Cell]) -> dict[Setting, list[Cell]]:
    """By setting: what differs in any field of identity is another row."""
    return grouped(cells, lambda cell: cell.setting)


def _column(cell: Cell) -> tuple[str, str]:
    return cell.first.benchmark, cell.first.protocol


def number(cell: Cell, pair: Compared | None, theirs: Sequence[Cell]) -> Number:
    mark = "" if pair is None or not pair.sure else "above" if pair.gain > 0 else "below"
    printed = ", ".join(dict.fromkeys(their.first.printed for their in theirs))
    flags = "; ".join(dict.fromkeys(flag for their in theirs for flag in their.first.flags))
    return Number(
        text.value(cell), text.interval(cell), text.evidence(cell), cell.runs[0], mark=mark, paper=printed, flags=flags
    )
