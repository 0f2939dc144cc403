"""The paper's Tables 1 to 6, a cell each, and what each of them can be held to.

What is known of a value's origin stands beside it in paper_tables.csv, whose head says where the values were read.
`tests/analysis/test_paper.py` checks that the flags are what `sft-sweeps audit` finds.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

TABLES = Path(__file__).with_name("paper_tables.csv")
ABILITIES = ("math", "code", "general")
ITEMS = {"gsm8k": 1319, "humaneval": 164, "mt_bench": 80}  # of each benchmark's test set


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as it is printed (a percentage; of mt_bench a grade from 1 to 10), with its place in the grid.

    `fractions` are those of the abilities that were trained on; `data` is the choice of conf/data. Of values that are
    second hand, copied, on no grid of k/n or in conflict with another cell, see the head of paper_tables.csv.
    """

    table: int
    row: str
    model: str
    benchmark: str
    printed: str
    strategy: str
    data: str
    fractions: tuple[tuple[str, Fraction], ...]
    k: Fraction | None
    tolerance: float
    protocol: str
    copied_from: str = ""
    off_grid: bool = False
    n_suspected: int | None = None
    one_decimal: bool = False
    differs_from: tuple[str, ...] = ()
    second_hand: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        return float(self.printed)

    @property
    def n(self) -> int:
        """Items that the value is of: of the benchmark, or as many as its values suggest."""
        return self.n_suspected or ITEMS[self.benchmark]

    @property
    def alone(self) -> str | None:
        """The one ability that was trained on; None for a mixture."""
        return self.fractions[0][0] if len(self.fractions) == 1 else None

    @property
    def run(self) -> tuple[object, ...]:
        """What was run: equal for cells of different tables that are scores of one run, or of one configuration."""
        return (self.model, self.strategy, self.data, self.fractions, self.k)


@lru_cache(maxsize=1)
def cells() -> tuple[Cell, ...]:
    """All cells of the six tables, in their order; a run that stands in several tables has a cell in each."""
    with TABLES.open(encoding="utf-8", newline="") as file:
        return tuple(_cell(row) for row in csv.DictReader(_without_comments(file)))


def _without_comments(lines: Iterator[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith("#"))


def _cell(row: dict[str, str]) -> Cell:
    return Cell(
        table=int(row["table"]),
        row=row["row"],
        model=row["model"],
        benchmark=row["benchmark"],
        printed=row["value"],
        strategy=row["strategy"],
        data=row["data"],
        fractions=tuple((ability, Fraction(row[ability])) for ability in ABILITIES if row[ability]),
        k=Fraction(row["k"]) if row["k"] else None,
        tolerance=float(row["tolerance"]),
        protocol=row["protocol"],
        copied_from=row["copied_from"],
        off_grid=row["off_grid"] == "yes",
        n_suspected=int(row["n_suspected"]) if row["n_suspected"] else None,
        one_decimal=row["one_decimal"] == "yes",
        differs_from=tuple(filter(None, row["differs_from"].split("; "))),
        second_hand=row["second_hand"] == "yes",
        note=row["note"],
    )
