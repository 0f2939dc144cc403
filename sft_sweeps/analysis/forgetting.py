"""What each stage of training changed on each benchmark, and what later stages took from what earlier ones taught.

One sign everywhere: a change is the score after the stage minus the score before it, turned where lower is better, so
that a gain is positive and forgetting is negative. Backward transfer is Lopez-Paz and Ranzato's (2017): the mean, over
the benchmarks of abilities first trained before the last stage, of the score at the end minus the score right after
that first training. (TRACE, Wang et al. 2023, arXiv 2310.06762, divides by the number of all stages, of which the last
one's term is 0.)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sft_sweeps.analysis.cells import Cell, apart, cells, hull, minus, over_seeds, point_label, table
from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.stats import CONFIDENCE, CRITICAL, RESAMPLES, Interval, two_level_paired

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Change:
    """On one benchmark, by one stage: `path` names the stages up to it, from the base model on."""

    setting: Setting
    label: str
    benchmark: str
    ability: str
    metric: str
    share: bool
    protocol: str
    path: tuple[str, ...]
    change: Interval
    before: float
    after: float
    seeds: tuple[int, ...]
    n: int

    @property
    def trained(self) -> bool:
        """Whether the stage trained the benchmark's ability: else a loss is forgetting."""
        return self.ability in self.path[-1].split("+")


@dataclass(frozen=True, slots=True)
class BackwardTransfer:
    """Of a setting's runs, over benchmarks of one unit: all that are a share of right answers, or one metric."""

    setting: Setting
    label: str
    unit: str
    share: bool
    transfer: Interval
    benchmarks: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Between:
    """The same runs' cells after an earlier and a later stage, turned so that more is better."""

    before: Cell
    after: Cell

    @property
    def sign(self) -> float:
        return 1.0 if self.after.first.higher_is_better else -1.0

    def tables(self) -> tuple[list[list[float]], list[list[float]]] | None:
        """After and before, the other way round where lower is better, by seed and item; None where the items are not
        known, or seeds or items not the same.
        """
        if self.before.seeds != self.after.seeds or self.before.first.items.keys() != self.after.first.items.keys():
            return None
        both = table(self.after.observations), table(self.before.observations)
        return (both if self.sign > 0 else (both[1], both[0])) if both[0][0] else None

    def rows(self) -> list[list[float]]:
        """Differences by seed and item; none where there are no tables."""
        tables = self.tables()
        return [[y - x for y, x in zip(*of, strict=True)] for of in zip(*tables, strict=True)] if tables else []

    def interval(self) -> Interval:
        """Of several seeds, paired by seed and item, and at least as wide as the seeds' differences alone make it."""
        rows, tables = self.rows(), self.tables()
        if len(rows) > 1 and tables:
            of_seeds = [sum(row) / len(row) for row in rows]
            return hull(two_level_paired(*tables), over_seeds(of_seeds) if len(set(of_seeds)) > 1 else None)
        if len(self.before.seeds) > 1:
            return _turned(apart(self.after.mean, self.before.mean), self.sign)
        return _turned(minus(self.after, self.before), self.sign)


def changes(observations: Iterable[Observation]) -> list[Change]:
    """By every stage before and after which a benchmark is scored; a stage that several runs share is there once."""
    found: dict[tuple[object, ...], Change] = {}
    for path, stages in _by_stage(observations):
        for number in sorted(stages):
            if number - 1 in stages:
                between = _Between(stages[number - 1], stages[number])
                made_by = (between.after.first.benchmark, between.after.first.protocol, _subjects(between))
                if made_by not in found:
                    found[made_by] = _change(between, path[: number + 1])
    return list(found.values())


def _by_stage(observations: Iterable[Observation]) -> list[tuple[tuple[str, ...], Mapping[int, Cell]]]:
    """For each setting and benchmark: the names of the stages, and the cells by stage."""
    scored = list(observations)
    names = {(one.setting.cell, one.stage): one.stage_label for one in scored}
    by_benchmark = grouped(cells(scored), lambda cell: (cell.setting, cell.first.benchmark, cell.first.protocol))
    made: list[tuple[tuple[str, ...], Mapping[int, Cell]]] = []
    for (setting, _, _), of in by_benchmark.items():
        stages = {cell.first.stage: cell for cell in of if cell.first.origin == "ours"}
        path = tuple(names.get((setting, number), "?") for number in range(max(stages, default=0) + 1))
        made.append((path, stages))
    return made


def _subjects(between: _Between) -> tuple[object, ...]:
    """Which models they are: runs that share their first stages share these. Without ids, the setting tells."""
    like = between.after.first
    return (between.before.first.subject, like.subject) if like.subject else (between.after.setting, like.stage)


def _change(between: _Between, path: tuple[str, ...]) -> Change:
    after = between.after
    return Change(
        setting=after.setting,
        label=point_label(after.first),
        benchmark=after.first.benchmark,
        ability=after.first.ability,
        metric=after.first.metric,
        share=after.first.share,
        protocol=after.first.protocol,
        path=path,
        change=between.interval(),
        before=between.before.value,
        after=after.value,
        seeds=after.seeds,
        n=after.first.n,
    )


def backward_transfer(observations: Iterable[Observation]) -> list[BackwardTransfer]:
    """Of every setting of two stages and more; scores in other units are never averaged."""
    by_setting: dict[tuple[Setting, str, bool], list[_Between]] = {}
    for path, stages in _by_stage(observations):
        last = max(stages, default=0)
        if last not in stages or not stages[last].first.final:
            continue
        end = stages[last]
        taught = next((n for n in range(1, last) if n in stages and end.first.ability in path[n].split("+")), None)
        if taught is not None:
            unit = "share" if end.first.share else end.first.metric
            key = (end.setting, unit, end.first.share)
            by_setting.setdefault(key, []).append(_Between(stages[taught], end))
    return [_transfer(*key, of) for key, of in by_setting.items()]


def _transfer(setting: Setting, unit: str, share: bool, of: Sequence[_Between]) -> BackwardTransfer:
    import numpy as np

    value = sum(between.sign * (between.after.value - between.before.value) for between in of) / len(of)
    drawn = np.mean([_draws(between, index) for index, between in enumerate(of)], axis=0)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    names = tuple(between.after.first.benchmark for between in of)
    interval = of[0].interval() if len(of) == 1 else Interval(value, float(low), float(high))
    return BackwardTransfer(setting, point_label(of[0].after.first), unit, share, interval, names, of[0].after.seeds)


def _draws(between: _Between, index: int) -> "npt.NDArray[np.float64]":
    """Seeds are drawn alike for every benchmark of the same runs, items for each apart."""
    import numpy as np

    of_items = np.random.default_rng([1, index])
    rows = np.asarray(between.rows())
    if not rows.size or rows.min() == rows.max():
        interval = between.interval()
        return of_items.normal(interval.value, (interval.high - interval.low) / (2 * CRITICAL), RESAMPLES)
    seeds, items = rows.shape
    picked = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    weights = of_items.multinomial(items, np.full(items, 1 / items), RESAMPLES) / items
    return np.asarray(np.einsum("rs,si,ri->r", picked, rows, weights, optimize=True))


def _turned(interval: Interval, sign: float) -> Interval:
    if sign > 0:
        return interval
    return Interval(-interval.value, -interval.high, -interval.low)
