"""A table of scores as entries: each number with the benchmark that it is of and the words that say what was scored.

A long table has a score a row, in a column `value` (or `score`, `accuracy`, `printed`) beside one called `benchmark`
(or `task`). In a wide one a column's name contains a benchmark's, and what else stands in that name is the group of its
scores: `LLaMA-7B GSM8K` is of gsm8k, group LLaMA-7B. All other columns are words about the row.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from sft_sweeps.analysis.paper import ITEMS
from sft_sweeps.benchmarks import scored
from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.files import csv_rows

BENCHMARK_COLUMNS = ("benchmark", "task", "dataset")
VALUE_COLUMNS = ("value", "score", "accuracy", "printed")
ROW_COLUMNS = ("row", "run", "method", "methods", "strategy", "name", "label")
SHARES = (*scored.SHARES, "acc", "exact_match")  # metrics that are k of n, by what tables call them
GRADED = ("mt_bench",)  # of so many questions too, but a mean of grades
MISSING = ("", "-", "--", "–", "—")
NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
MARKS = re.compile(r"<[^<>]*>|\\(?:textbf|underline|textit|emph)\b|[*_{}$\\%\s]")  # bold, underlined, a percent sign
MOST_DIGITS = 8  # decimals that are looked at: those of a share that a program printed say nothing about its n


@dataclass(frozen=True, slots=True)
class Entry:
    """A score in points, with `digits` decimals as printed; `n` is None where the benchmark is none of right or wrong.

    `place` is what was scored, as far as the table says it: entries of one place should have one value.
    """

    where: str
    row: str
    group: str
    benchmark: str
    printed: str
    value: Decimal
    digits: int
    n: int | None
    graded: int | None
    section: str
    place: tuple[str, ...]

    @property
    def spot(self) -> tuple[object, ...]:
        return (self.benchmark, self.place)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a table: columns that name the group, the row and the place, and the items of more benchmarks."""

    by: tuple[str, ...] = ()
    row: str | None = None
    same: tuple[str, ...] = ()
    items: Mapping[str, int] | None = None

    @property
    def n(self) -> dict[str, int]:
        return {**{name: n for name, n in ITEMS.items() if name not in GRADED}, **(self.items or {})}


@dataclass(frozen=True, slots=True)
class Table:
    """`skipped` are cells that hold no number, with what they hold; `unread` the columns of numbers, and benchmarks, of
    which it is not known how many items they have; `shares` the benchmarks whose values were read as shares of 1.
    """

    entries: tuple[Entry, ...]
    skipped: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()


Row = dict[str, str]


def read(path: Path, layout: Layout) -> Table:
    """RequestError where there is no table, or no column of scores that can be told."""
    rows, broken = _rows(path)
    if not rows:
        raise RequestError(f"{path} holds no row of a table below its first line, which names the columns.")
    columns = list(rows[0][1])
    for column in (*layout.by, *layout.same, *filter(None, [layout.row])):
        if column not in columns:
            raise RequestError(f"{path} has no column {column}{nearest(column, columns)}. It has {', '.join(columns)}.")
    benchmark, value = _named(columns, BENCHMARK_COLUMNS), _named(columns, VALUE_COLUMNS)
    found = _long(rows, benchmark, value, layout) if benchmark and value else _wide(path, rows, layout)
    return replace(found, skipped=(*broken, *found.skipped))


def _rows(path: Path) -> tuple[list[tuple[str, Row]], list[str]]:
    """Rows with their locations, and those that have more or fewer values than columns; `#` begins a comment."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}. Give the path of a CSV file.") from None
    text = b"".join(line for line in lines if not line.startswith(b"#"))
    rows, broken = [], []
    for number, one in enumerate(
        csv_rows.read(text, io.BytesIO(), str(path), path.suffix.lstrip(".").lower()), start=1
    ):
        if isinstance(one.value, dict):
            rows.append((f"row {number}", {name: value.strip() for name, value in one.value.items()}))
        else:
            broken.append(f"row {number}: more or fewer values than columns")
    return rows, broken


def _named(columns: Iterable[str], names: Sequence[str]) -> str | None:
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _long(rows: list[tuple[str, Row]], benchmark: str, value: str, layout: Layout) -> Table:
    columns = list(rows[0][1])
    row_column = layout.row or _named(columns, ROW_COLUMNS)
    by = layout.by or tuple(filter(None, [_named(columns, ["model"])]))
    section, metric = _named(columns, ["table"]), _named(columns, ["metric"])
    found = _Found()
    unknown: dict[str, None] = {}
    for location, row in rows:
        name = _benchmark(row[benchmark], layout.n) or row[benchmark]
        label, group = row[row_column] if row_column else location, " ".join(row[column] for column in by)
        place = _place(location, row, layout)
        words = _Words(f"{location}, {label}, {name}", label, group, row[section] if section else "", place)
        shares = row[metric].lower() in SHARES if metric else name in layout.n
        n = (_own_n(row) or layout.n.get(name)) if shares else None
        if n is None and name not in GRADED:
            unknown[name] = None
        found.add(words, name, row[value], n)
    return found.table(unknown)


def _own_n(row: Row) -> int | None:
    """The items that a row says that it is of."""
    column = _named(row, ["n"])
    return int(row[column]) or None if column and row[column].isdecimal() else None


def _wide(path: Path, rows: list[tuple[str, Row]], layout: Layout) -> Table:
    columns = list(rows[0][1])
    scored = {column: name for column in columns if (name := _benchmark(column, layout.n))}
    if not scored:
        known = ", ".join([*layout.n, *GRADED])
        raise RequestError(
            f"{path} has no column of scores: none of {', '.join(columns)} names a benchmark ({known}). "
            f"Say of another how many items it has, e.g. --n {next(reversed(columns))}=500."
        )
    words = [column for column in columns if column not in scored]
    row_column = layout.row or _named(words, ROW_COLUMNS) or next(iter(words), None)
    found = _Found()
    for location, row in rows:
        label = row[row_column] if row_column else location
        by = [row[column] for column in layout.by]
        for column, name in scored.items():
            group = " ".join(filter(None, [*by, _rest(column, name)]))
            place = (group, *_place(location, row, layout))
            found.add(
                _Words(f"{location} ({label}), {column}", label, group, "", place),
                name,
                row[column],
                layout.n.get(name),
            )
    numeric = (column for column in words if any(NUMBER.fullmatch(row[column]) for _, row in rows))
    return found.table(column for column in numeric if column not in (row_column, *layout.by, *layout.same))


class _Words(NamedTuple):
    where: str
    row: str
    group: str
    section: str
    place: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """Entries, and the cells that hold something else than a number, a percentage or a grade."""

    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    percent: set[str] = field(default_factory=set)

    def add(self, words: _Words, benchmark: str, text: str, n: int | None) -> None:
        plain = MARKS.sub("", text)
        value = Decimal(plain) if NUMBER.fullmatch(plain) else None
        least, most = (1, 10) if benchmark in GRADED else (0, 100)
        if value is None or ((n or benchmark in GRADED) and not least <= value <= most):
            if text not in MISSING:
                self.skipped.append(f"{words.where}: {text[:40]}")
            return
        if "%" in text:
            self.percent.add(benchmark)
        digits, graded = len(plain.partition(".")[2]), ITEMS[benchmark] if benchmark in GRADED else None
        where, row, group, section, place = words
        self.entries.append(Entry(where, row, group, benchmark, plain, value, digits, n, graded, section, place))

    def table(self, unread: Iterable[str] = ()) -> Table:
        shares = self._shares()
        entries = (_as_points(one) if one.benchmark in shares else _cut(one) for one in self.entries)
        return Table(tuple(entries), tuple(self.skipped), tuple(unread), tuple(shares))

    def _shares(self) -> list[str]:
        """Benchmarks of right or wrong items none of whose values is above 1, or has a percent sign."""
        percentages = {one.benchmark for one in self.entries if one.value > 1} | self.percent
        return list(dict.fromkeys(one.benchmark for one in self.entries if one.n and one.benchmark not in percentages))


def _place(location: str, row: Row, layout: Layout) -> tuple[str, ...]:
    """What was scored: by the columns that say so; else every row is a place of its own."""
    return tuple(row[column] for column in layout.same) or (location,)


def _as_points(one: Entry) -> Entry:
    return _cut(replace(one, value=one.value * 100, digits=max(one.digits - 2, 0)))


def _cut(one: Entry) -> Entry:
    """Without decimals beyond those that are looked at."""
    if one.digits <= MOST_DIGITS:
        return one
    return replace(one, value=one.value.quantize(Decimal(1).scaleb(-MOST_DIGITS)), digits=MOST_DIGITS)


def _pattern(name: str) -> re.Pattern[str]:
    """A benchmark's name as people write it: Human-Eval, MT Bench."""
    return re.compile(r"[\W_]*".join(map(re.escape, re.sub(r"[\W_]", "", name))), re.IGNORECASE)


def _benchmark(text: str, items: Mapping[str, int]) -> str | None:
    """The benchmark of which a text contains the name; the longest, where it contains several."""
    found = [name for name in (*items, *GRADED) if _pattern(name).search(text)]
    return max(found, key=len, default=None)


def _rest(column: str, name: str) -> str:
    return " ".join(re.sub(r"[\W_]*\Z|\A[\W_]*", "", _pattern(name).sub(" ", column, count=1)).split())
