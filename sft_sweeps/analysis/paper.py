"""The paper's Tables 1 to 6, a cell each, and what each of them can be held to.

What is known of a value's origin stands beside it in paper_tables.csv, whose head says where the values were read.
`tests/analysis/test_paper.py` checks that the flags are what `sft-sweeps audit` finds.
"""

import csv
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from sft_sweeps.analysis.observations import Observation, Part, Setting
from sft_sweeps.spec.data import count_examples
from sft_sweeps.stats import ASSUMED_GRADE_SD, CRITICAL, Interval, proportion

TABLES = Path(__file__).with_name("paper_tables.csv")
ABILITIES = ("code", "math", "general")  # in the order of sequential training
ITEMS = {"gsm8k": 1319, "humaneval": 164, "mt_bench": 80}  # of each benchmark's test set
METRICS = {"gsm8k": ("math", "accuracy"), "humaneval": ("code", "pass@1"), "mt_bench": ("general", "rating")}
SOURCES = {"math": ("gsm8k_rft", 110_142), "code": ("code_alpaca", 20_022), "general": ("sharegpt", 86_060)}
CLEAN = ("sharegpt_clean", 63_000)  # without conversations about code and math
PARAMETERS = {"llama7b": 6_738_415_616, "llama13b": 13_015_864_320, "llama33b": 32_528_943_616}
STAGES = {"multi_task": 1, "mixed_sequential": 2, "dmt": 2, "sequential": 3}


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

    @property
    def name(self) -> str:
        return f"T{self.table} {self.row}"

    @property
    def flags(self) -> tuple[str, ...]:
        """What is known of its origin, as `Observation.flags`."""
        named = {
            "copied_from": self.copied_from,
            "n_suspected": self.n_suspected,
            "protocol": "" if self.protocol == "paper" else self.protocol,
            "note": self.note,
        }
        plain = [flag for flag in ("off_grid", "one_decimal", "second_hand") if getattr(self, flag)]
        return (
            *plain,
            *(f"{flag}={value}" for flag, value in named.items() if value),
            *(f"differs_from={other}" for other in self.differs_from),
        )


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


def observations(tables: Collection[int] | None = None) -> list[Observation]:
    """The cells of some tables (default: of all six) as scores with their places in the grid.

    A value that several tables print of one run is one observation, of the first of them; where they print different
    values, each is one, flagged `differs_from`. What the paper's curves are made of is one curve here: the points with
    gsm8k-ScRel's protocol have no variant of their own, but a flag.
    """
    chosen: dict[object, Cell] = {}
    for cell in cells():
        if tables is None or cell.table in tables:
            chosen.setdefault((cell.run, cell.benchmark, cell.value), cell)
    return [_observation(cell) for cell in chosen.values()]


def _observation(cell: Cell) -> Observation:
    ability, metric = METRICS[cell.benchmark]
    interval, assumed = _interval(cell)
    return Observation(
        setting=Setting(cell.model, PARAMETERS[cell.model], cell.strategy, _parts(cell), cell.k),
        benchmark=cell.benchmark,
        ability=ability,
        metric=metric,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n=cell.n,
        share=cell.benchmark != "mt_bench",
        protocol="paper",
        stage=STAGES[cell.strategy],
        stage_label=_last_stage(cell),
        run=_run_name(cell),
        subject=_run_name(cell),
        label=cell.name,
        origin="paper",
        printed=cell.printed,
        flags=(*cell.flags, *assumed),
    )


def _parts(cell: Cell) -> tuple[Part, ...]:
    parts = []
    for ability, fraction in cell.fractions:
        source, rows = CLEAN if ability == "general" and cell.data == "mixed_clean" else SOURCES[ability]
        parts.append(Part(ability, source, fraction, count_examples(rows, fraction)))
    return tuple(parts)


def _interval(cell: Cell) -> tuple[Interval, tuple[str, ...]]:
    """Wilson's, of the count nearest to the value; a grade's spread is not printed: of a usual one, and flagged."""
    if cell.benchmark == "mt_bench":
        half = CRITICAL * ASSUMED_GRADE_SD / math.sqrt(cell.n)
        return Interval(cell.value, max(cell.value - half, 1.0), min(cell.value + half, 10.0)), ("interval=assumed",)
    share = cell.value / 100
    ends = proportion(round(share * cell.n), cell.n)
    return Interval(share, ends.low, ends.high), ()


def _last_stage(cell: Cell) -> str:
    if cell.strategy in ("sequential", "mixed_sequential"):
        return cell.fractions[-1][0]
    return "+".join(sorted(ability for ability, _ in cell.fractions))


def _run_name(cell: Cell) -> str:
    """What was run, the same in every table."""
    fractions = [f"{part.source}={part.fraction}" for part in _parts(cell)]
    return " ".join(["paper", cell.model, cell.strategy, *fractions, *([f"k={cell.k}"] if cell.k else [])])
