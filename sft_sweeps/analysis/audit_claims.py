"""Which of the orderings that a table is read for could be significant at all, and what its benchmarks can tell apart.

Which items two models answer is not in a table; their scores bound it. The paired test is at its best where every item
that only one model answers is answered by the better one: McNemar's exact p of that case is the least that any overlap
allows (Miller 2024, arXiv 2411.00640, has the case for pairing). Where even that is not significant, nothing is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from sft_sweeps.analysis.audit_table import Entry
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.stats import ASSUMED_GRADE_SD, CRITICAL, NORMAL, POWER, detectable, detectable_mean, mcnemar

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Claim:
    """A is better than B, in the names of rows."""

    better: str
    than: str

    @staticmethod
    def parsed(text: str) -> "Claim":
        better, mark, than = (part.strip() for part in text.partition(" > "))
        if not (better and mark and than):
            raise RequestError(f'--claim {text} is no ordering. Write "ROW > OTHER ROW", with the names of two rows.')
        return Claim(better, than)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a pair of scores can say of a claim; of a graded benchmark, only how large its difference is.

    `least_p` is of the best case, `unpaired_p` of two independent samples (a z test with pooled variance). `possible`
    is None where the best case is not known.
    """

    claim: Claim
    benchmark: str
    group: str
    section: str
    a: str
    b: str
    difference: float
    n: int
    counts: tuple[int, int] | None
    least_p: float | None
    unpaired_p: float | None
    detectable: float
    possible: bool | None


def against(row: str, entries: Sequence[Entry]) -> list[Claim]:
    """That a row is better than each other one."""
    name = _row(row, entries, "--against")
    return [Claim(name, other) for other in dict.fromkeys(one.row for one in entries) if other != name]


def verdicts(
    claims: Iterable[Claim], entries: Sequence[Entry], n: Mapping[Entry, int], discordant: float
) -> list[Verdict]:
    """Of each claim, group by group and benchmark by benchmark, where both rows have a score there."""
    found: dict[tuple[object, ...], Verdict] = {}
    by_row = grouped((one for one in entries if one.n or one.graded), lambda one: one.row)
    for claim in claims:
        better, than = (by_row.get(_row(name, entries, "--claim"), []) for name in (claim.better, claim.than))
        for a, b in product(better, than):
            if (a.benchmark, a.group, a.section) == (b.benchmark, b.group, b.section):
                key = (claim, a.benchmark, a.group, a.value, b.value)
                found.setdefault(key, _verdict(claim, a, b, n.get(a, a.graded or 0), discordant))
    return sorted(found.values(), key=lambda one: (one.benchmark, one.group))


def _row(name: str, entries: Sequence[Entry], option: str) -> str:
    """The row's name as the table writes it."""
    rows = list(dict.fromkeys(one.row for one in entries))
    for row in rows:
        if row.split() == name.split():
            return row
    raise RequestError(
        f"{option} {name}: the table has no such row{nearest(name, rows)}. Rows: {', '.join(rows[:12])}."
    )


def _verdict(claim: Claim, a: Entry, b: Entry, n: int, discordant: float) -> Verdict:
    difference = float(a.value - b.value)
    head = (claim, a.benchmark, a.group, a.section, a.printed, b.printed, difference, n)
    if a.graded:
        return Verdict(*head, None, None, None, detectable_mean(n, ASSUMED_GRADE_SD), None)
    counts = (round(float(a.value) * n / 100), round(float(b.value) * n / 100))
    least = mcnemar(abs(counts[0] - counts[1]), 0)
    unpaired = unpaired_p(float(a.value) / 100, float(b.value) / 100, n)
    possible = counts[0] > counts[1] and least < SIGNIFICANT
    return Verdict(*head, counts, least, unpaired, 100 * detectable(n, discordant), possible)


def unpaired_p(a: float, b: float, n: int) -> float:
    """Two-sided p of two shares of n items each, taken as independent."""
    mean = (a + b) / 2
    deviation = math.sqrt(2 * mean * (1 - mean) / n)
    return 1.0 if deviation == 0 else 2 * (1 - NORMAL.cdf(abs(a - b) / deviation))


@dataclass(frozen=True, slots=True)
class Resolution:
    """The smallest difference, in points or grades, that n items show with 80 % power at 5 %.

    `unpaired` is of two independent samples at the group's mean score; None for grades, whose spread is not printed.
    """

    benchmark: str
    n: int
    paired: float
    unpaired: float | None
    half_width: float | None  # of one score's 95 % interval


def resolution(benchmark: str, n: int, mean: float | None, discordant: float) -> Resolution:
    """`mean` is a share, None for a benchmark of grades."""
    if mean is None:
        return Resolution(benchmark, n, detectable_mean(n, ASSUMED_GRADE_SD), None, None)
    error = math.sqrt(mean * (1 - mean) / n)
    unpaired = (CRITICAL + NORMAL.inv_cdf(POWER)) * math.sqrt(2) * error
    return Resolution(benchmark, n, 100 * detectable(n, discordant), 100 * unpaired, 100 * CRITICAL * error)
