"""The fraction of the data at which training on a mixture stops to help an ability and training on it alone is better.

Both are scored at the same fractions; between them the difference mixed minus alone is taken as straight over the
logarithm of the fraction. The crossing is the last place where it falls from above 0 to below. Each bootstrap draw has its
own: one where the mixture is ahead throughout crosses above the largest fraction, one where it never is below the
smallest, so that an interval may be open. Draws whose only crossing is the other way (alone first, then mixed) have none.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell, minus
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.resample import draws
from sft_sweeps.stats import CONFIDENCE, Interval

Finding = Literal["crosses", "mixed ahead throughout", "alone ahead throughout", "other way", "no difference"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """`value`, `low` and `high` are fractions; 0 and infinity stand for below the smallest and above the largest.

    `value` is None where the scores do not cross so. `shares` say in which part of draws what is found; `differences`
    are mixed minus alone (more is better) at each fraction.
    """

    model: str
    benchmark: str
    mixture: str
    origin: str
    fractions: tuple[float, ...]
    differences: tuple[Interval, ...]
    finding: Finding
    value: float | None
    low: float
    high: float
    shares: dict[Finding, float]

    def text(self) -> str:
        """The interval, and what is found where there is no crossing."""
        ends = " to ".join(_end(end, self.fractions) for end in (self.low, self.high))
        found = f"at {self.value:.3g} of the data" if self.value is not None else f"none: {self.finding}"
        if math.isnan(self.low):
            return f"{found}; the draws agree on none"
        return f"{found} (95 % interval: {ends}; {self.shares.get('crosses', 0.0):.0%} of draws cross)"


def _end(value: float, fractions: Sequence[float]) -> str:
    if math.isinf(value):
        return f"above {max(fractions):.3g}"
    return f"below {min(fractions):.3g}" if value == 0 else f"{value:.3g}"


def crossings(cells: Iterable[Cell]) -> list[Crossing]:
    """For every model and benchmark that is scored alone and mixed at two fractions and more."""
    lines = series.single_and_mixed(list(cells))
    made = []
    for (panel, model, origin), of in grouped(lines, lambda one: (one.panel, one.model, one.origin)).items():
        alone = next((one for one in of if one.name == "alone"), None)
        for mixed in of:
            if alone and mixed is not alone and (pairs := _pairs(alone, mixed)):
                made.append(_crossing(model, panel.title, mixed.name, origin, pairs))
    return made


def _pairs(alone: series.Series, mixed: series.Series) -> list[tuple[float, Cell, Cell]]:
    """By fraction of the ability's data, in rising order; fewer than two show nothing."""
    by_fraction = [{_fraction(cell): cell for _, cell in reversed(one.points)} for one in (alone, mixed)]
    shared = sorted(at for at in by_fraction[0] if at is not None and at in by_fraction[1])
    pairs = [(at, by_fraction[0][at], by_fraction[1][at]) for at in shared]
    return pairs if len(pairs) > 1 else []


def _fraction(cell: Cell) -> float | None:
    own = cell.setting.fraction_of(cell.like.ability)
    return None if own is None else float(own)


def _crossing(
    model: str, benchmark: str, mixture: str, origin: str, pairs: Sequence[tuple[float, Cell, Cell]]
) -> Crossing:
    import numpy as np

    fractions = [at for at, _, _ in pairs]
    sign = 1.0 if pairs[0][1].like.higher_is_better else -1.0
    drawn = draws([cell for _, alone, mixed in pairs for cell in (alone, mixed)])
    apart = sign * (drawn[1::2] - drawn[0::2])
    found = [cross(fractions, list(column)) for column in apart.T]
    places = np.asarray([place for _, place in found if place is not None])
    ends = np.quantile(places, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest") if len(places) else None
    differences = [minus(mixed, alone) if sign > 0 else minus(alone, mixed) for _, alone, mixed in pairs]
    finding, value = cross(fractions, [one.value for one in differences])
    return Crossing(
        model=model,
        benchmark=benchmark,
        mixture=mixture,
        origin=origin,
        fractions=tuple(fractions),
        differences=tuple(differences),
        finding=finding,
        value=value if finding == "crosses" else None,
        low=math.nan if ends is None else float(ends[0]),
        high=math.nan if ends is None else float(ends[1]),
        shares={kind: count / len(found) for kind, count in _counted(found).items()},
    )


def _counted(found: Sequence[tuple[Finding, float | None]]) -> dict[Finding, int]:
    return {kind: len(of) for kind, of in grouped(found, lambda one: one[0]).items()}


def cross(fractions: Sequence[float], differences: Sequence[float]) -> tuple[Finding, float | None]:
    """What differences (mixed minus alone, over rising fractions) say, and where they cross; None where nowhere."""
    if not any(differences):
        return "no difference", None
    for index in range(len(differences) - 1, 0, -1):
        before, after = differences[index - 1], differences[index]
        if after < 0 <= before and _was_ahead(differences[:index]):
            step = before / (before - after)
            left, right = math.log(fractions[index - 1]), math.log(fractions[index])
            return "crosses", math.exp(left + step * (right - left))
    if min(differences) >= 0:
        return "mixed ahead throughout", math.inf
    return ("alone ahead throughout", 0.0) if max(differences) <= 0 else ("other way", None)


def _was_ahead(earlier: Sequence[float]) -> bool:
    return any(difference > 0 for difference in earlier)
