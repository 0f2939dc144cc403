"""The table of all scores: a row a point, a column a benchmark under one protocol, each number with its evidence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.analysis.observations import Setting, grouped
from sft_sweeps.report.page import text
from sft_sweeps.report.page.long import MANY


@dataclass(frozen=True)
class Number:
    """A score of `n` items over `seeds`; whether it is beyond noise above or below the reference; the paper's."""

    value: str
    interval: str
    n: int
    seeds: int
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

    @property
    def seeds(self) -> int:
        """Of its numbers; of those with fewer, each says so itself."""
        return max((number.seeds for number in self.numbers if number), default=1)


@dataclass(frozen=True)
class ScoreTable:
    """`n` is the number of items that most numbers of each column are of; of another, each says so itself."""

    columns: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    n: tuple[int, ...] = ()

    @property
    def several_seeds(self) -> bool:
        return any(row.seeds > 1 for row in self.rows)


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
    marks = {(pair.ours.runs, pair.ours.scoring): pair for pair in compared}
    beside = grouped(paper, lambda pair: (pair[0].runs, pair[0].first.benchmark))
    rows = []
    for of in _by_row(cells).values():
        by_column = {cell.scoring: cell for cell in of}
        numbers = []
        for column in columns:
            cell = by_column.get(column)
            found = beside.get((cell.runs, cell.first.benchmark), []) if cell else []
            numbers.append(
                number(cell, marks.get((cell.runs, column)), [their for _, their in found]) if cell else None
            )
        named = dict.fromkeys(name for run in of[0].runs for name in sweeps.get(run, ()))
        rows.append(ScoreRow(of[0].label, ", ".join(named), tuple(numbers)))
    common = tuple(_most([row.numbers[index] for row in rows]) for index in range(len(columns)))
    return ScoreTable(tuple(titles), tuple(rows), common)


def _most(numbers: Sequence[Number | None]) -> int:
    """How many items most of them are of."""
    counts = Counter(number.n for number in numbers if number)
    return counts.most_common(1)[0][0] if counts else 0


def telling(whole: ScoreTable, cells: Sequence[Cell]) -> tuple[ScoreRow, ...]:
    """Of a table of many rows the base models, and the best of each model on each benchmark; in their order."""
    if len(whole.rows) <= MANY:
        return ()
    settings = [of[0].setting for of in _by_row(cells).values()]
    kept = {setting for setting in settings if setting.arm == "base"}
    for of in grouped(cells, lambda cell: (cell.setting.model, cell.scoring)).values():
        kept.add(max(of, key=_goodness).setting)
    return tuple(row for row, setting in zip(whole.rows, settings, strict=True) if setting in kept)[:MANY]


def _goodness(cell: Cell) -> float:
    return cell.value if cell.first.higher_is_better else -cell.value


def _by_row(cells: Sequence[Cell]) -> dict[Setting, list[Cell]]:
    """By setting: what differs in any field of identity is another row."""
    return grouped(cells, lambda cell: cell.setting)


def number(cell: Cell, pair: Compared | None, theirs: Sequence[Cell]) -> Number:
    mark = "" if pair is None or not pair.sure else "above" if pair.gain > 0 else "below"
    printed = ", ".join(dict.fromkeys(their.first.printed for their in theirs))
    flags = "; ".join(dict.fromkeys(flag for their in theirs for flag in their.first.flags))
    return Number(
        value=text.value(cell),
        interval=text.interval(cell),
        n=cell.first.n,
        seeds=len(cell.seeds),
        of=text.evidence(cell),
        run=cell.runs[0],
        mark=mark,
        paper=printed,
        flags=flags,
    )
