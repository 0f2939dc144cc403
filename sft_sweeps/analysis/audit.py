"""The forensics of a table of scores: what its numbers say of how they came about, and what they can carry.

Each part is a pure function of the table's entries, `audited` puts them together. None of it says why: a value that is
no k of n, or that stands in two places, may be a slip of typing, a mean of several runs, or another work's.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sft_sweeps.analysis import audit_counts
from sft_sweeps.analysis.audit_claims import Claim, Resolution, Verdict, resolution, verdicts
from sft_sweeps.analysis.audit_counts import Fit, units
from sft_sweeps.analysis.audit_table import Entry, Table
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.stats import ASSUMED_DISCORDANT

SCAN = (50, 1400)
SURE = 0.01  # the chance of a fit as good for any n that was tried, below which another n is named


@dataclass(frozen=True, slots=True)
class Items:
    """How many of a group's different values can be k/n, of the n that the benchmark has and of the one that fits best.

    `on` counts as people print: a last 0 may be no digit. `suspected` is there where another n fits far better.
    """

    benchmark: str
    group: str
    n: int
    on: int
    of: int
    fit: Fit
    suspected: Fit | None
    tried: int

    @property
    def likely(self) -> int:
        return self.suspected.n if self.suspected else self.n


@dataclass(frozen=True, slots=True)
class Off:
    """A value that is k/n for no k; `beside` are the nearest that are, of each n that was tried."""

    entry: Entry
    n: tuple[int, ...]
    beside: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Equals:
    """Different places with one value, and whether that is k/n."""

    benchmark: str
    printed: str
    possible: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """An entry with the value of an entry of the reference."""

    entry: Entry
    reference: Entry


@dataclass(frozen=True, slots=True)
class Ties:
    """Pairs of places with one value on a benchmark, and how many there would be by chance among such scores."""

    benchmark: str
    pairs: int
    expected: float


@dataclass(frozen=True, slots=True)
class Audit:
    table: Table
    items: tuple[Items, ...]
    off: tuple[Off, ...]
    conflicts: tuple[tuple[Entry, ...], ...]
    equals: tuple[Equals, ...]
    ties: tuple[Ties, ...]
    matches: tuple[Match, ...]
    matches_expected: float
    verdicts: tuple[Verdict, ...]
    resolutions: tuple[Resolution, ...]
    discordant: float = ASSUMED_DISCORDANT


def audited(
    table: Table,
    reference: Sequence[Entry] = (),
    claims: Iterable[Claim] = (),
    scan: tuple[int, int] = SCAN,
    discordant: float = ASSUMED_DISCORDANT,
) -> Audit:
    """Values that are the reference's say nothing of this table's n, so they are left out where that is asked."""
    entries = table.entries
    matches = matched(entries, reference)
    copied = {match.entry.spot for match in matches}
    items = counted([one for one in entries if one.spot not in copied], scan)
    likely = _likely(entries, items, copied)
    return Audit(
        table=table,
        items=tuple(items),
        off=tuple(off_grid(likely)),
        conflicts=tuple(conflicting(entries)),
        equals=tuple(equal_elsewhere(likely)),
        ties=tuple(tied(likely)),
        matches=tuple(matches),
        matches_expected=_matches_by_chance(entries, reference, likely),
        verdicts=tuple(verdicts(claims, entries, likely, discordant)),
        resolutions=tuple(_resolutions(entries, likely, discordant)),
        discordant=discordant,
    )


def counted(entries: Iterable[Entry], scan: tuple[int, int] = SCAN) -> list[Items]:
    """For each group of a benchmark whose items are right or wrong."""
    groups = grouped((one for one in entries if one.n), lambda one: (one.benchmark, one.group, one.n or 0))
    return [_items(*key, of_group, scan) for key, of_group in groups.items()]


def _items(benchmark: str, group: str, n: int, entries: Sequence[Entry], scan: tuple[int, int]) -> Items:
    values = sorted({(one.value, one.digits) for one in entries})
    different = audit_counts.without_padding(list({value: (value, digits) for value, digits in values}.values()))
    on = sum(audit_counts.fits(value, digits, n) is not None for value, digits in different)
    stated = audit_counts.fit(different, n)
    candidates = range(scan[0], max(scan[1], n + 1))
    suspected = None
    if len(different) >= audit_counts.FEWEST:
        best = audit_counts.best(different, candidates)
        if best.p * len(candidates) < SURE and best.p < SURE * stated.p:
            suspected = best
    return Items(benchmark, group, n, on, len(different), stated, suspected, len(candidates))


def _likely(
    entries: Iterable[Entry], items: Iterable[Items], copied: Collection[tuple[object, ...]]
) -> dict[Entry, int]:
    """Of each entry of right or wrong items, the number of items that it is likely of."""
    by_group = {(one.benchmark, one.group, one.n): one.likely for one in items}
    return {
        one: one.n if one.spot in copied else by_group.get((one.benchmark, one.group, one.n), one.n)
        for one in entries
        if one.n
    }


def off_grid(n: Mapping[Entry, int]) -> list[Off]:
    """Entries that are k/n neither of the stated n nor of the suspected one.

    `n` has the entries of right or wrong items, with how many items each is likely of; so too below.
    """
    found = []
    for one, likely in n.items():
        tried = tuple(dict.fromkeys([one.n or likely, likely]))
        if not _possible(one, tried):
            found.append(Off(one, tried, tuple(audit_counts.beside(one.value, likely))))
    return found


def _possible(one: Entry, n: Iterable[int]) -> bool:
    return any(audit_counts.fits(one.value, one.digits, items) is not None for items in n)


def conflicting(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """Entries of one place with different values."""
    places = grouped(entries, lambda one: one.spot).values()
    return [tuple(of_place) for of_place in places if len({one.value for one in of_place}) > 1]


def equal_elsewhere(n: Mapping[Entry, int]) -> list[Equals]:
    """Values that stand in several places, the least likely first: those that are no k/n, which no two models have by
    chance, then those of the most items.
    """
    found = []
    for (benchmark, _), of_value in grouped(n, lambda one: (one.benchmark, one.value)).items():
        entries = tuple(of_place[0] for of_place in grouped(of_value, lambda one: one.spot).values())
        if len(entries) > 1:
            possible = any(_possible(one, (n[one], one.n or n[one])) for one in entries)
            found.append(Equals(benchmark, entries[0].printed, possible, entries))
    return sorted(found, key=lambda one: (one.possible, -max(n[entry] for entry in one.entries)))


def tied(n: Mapping[Entry, int]) -> list[Ties]:
    """Of each benchmark, pairs of places with one value, and how many are to be expected where each score is drawn
    again, binomially (normal approximation).
    """
    import numpy as np

    found = []
    for benchmark, of_benchmark in grouped(n, lambda one: one.benchmark).items():
        places = list({(one.spot, one.value): one for one in of_benchmark}.values())
        spots = {spot: number for number, spot in enumerate(dict.fromkeys(one.spot for one in places))}
        spot = np.array([spots[one.spot] for one in places])
        share = np.array([float(one.value) / 100 for one in places])
        count = np.array([n[one] for one in places], dtype=np.float64)
        variance = np.maximum(share * (1 - share), 1 / (4 * count)) / count
        pairs, expected = 0, 0.0
        for at in range(1, len(places)):
            other, both = spot[:at] != spot[at], variance[:at] + variance[at]
            apart = share[:at] - share[at]
            pairs += int((other & (apart == 0)).sum())
            density = np.exp(-(apart**2) / (2 * both)) / np.sqrt(2 * np.pi * both)
            expected += float((other * density / np.maximum(count[:at], count[at])).sum())
        found.append(Ties(benchmark, pairs, expected))
    return found


def matched(entries: Iterable[Entry], reference: Sequence[Entry]) -> list[Match]:
    """Entries with exactly a value of the reference, of the same benchmark and, where both name groups, group."""
    return [Match(one, other) for one, other in _comparable(entries, reference) if one.value == other.value]


def _comparable(entries: Iterable[Entry], reference: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    entries = tuple(entries)
    shared = {_plain(one.group) for one in entries} & {_plain(one.group) for one in reference}
    return [
        (one, other)
        for one in entries
        for other in reference
        if one.benchmark == other.benchmark and (not shared or _plain(one.group) == _plain(other.group))
    ]


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _matches_by_chance(entries: Iterable[Entry], reference: Sequence[Entry], n: Mapping[Entry, int]) -> float:
    """How many places would have a reference's value if every score were drawn again."""
    pairs = {(one.spot, other.value): (one, other) for one, other in _comparable(entries, reference) if one in n}
    return sum(_hit_by_chance(one, other, n[one]) for one, other in pairs.values())


def _hit_by_chance(one: Entry, reference: Entry, n: int) -> float:
    """0 where k of n, printed with the entry's decimals, is never the reference's value."""
    if one.digits < reference.digits or not audit_counts.is_count(units(reference.value, one.digits), one.digits, n):
        return 0.0
    share, target = float(one.value) / 100, float(reference.value) / 100
    variance = max(share * (1 - share), 1 / (4 * n)) / n
    return math.exp(-((share - target) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance) / n


def _resolutions(entries: Collection[Entry], n: Mapping[Entry, int], discordant: float) -> list[Resolution]:
    """Of each benchmark with each number of items that its scores are likely of."""
    groups = grouped(n, lambda one: (one.benchmark, n[one]))
    found = [
        resolution(benchmark, items, fmean(float(one.value) / 100 for one in of_group), discordant)
        for (benchmark, items), of_group in groups.items()
    ]
    graded = {one.benchmark: one.graded for one in entries if one.graded}
    return [*found, *(resolution(benchmark, items, None, discordant) for benchmark, items in graded.items() if items)]
