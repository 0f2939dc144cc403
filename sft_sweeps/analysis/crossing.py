"""The fraction of the data at which training on a mixture stops to help an ability and training on it alone is better.

Both are scored at the same fractions. As the question presumes, their difference (mixed minus alone) is taken as one
that does not rise with the amount of data: what does is noise, averaged with its neighbours (isotonic regression,
Barlow et al. 1972); between fractions it is straight over their logarithm. So each bootstrap draw has one crossing:
above the largest fraction where the mixture is ahead throughout, below the smallest where it never is. An interval may
be open therefore. Where the difference rises by more than its intervals, that is said beside (`rises`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell, minus
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.resample import draws
from sft_sweeps.stats import CONFIDENCE, Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Finding = Literal["crosses", "mixed ahead throughout", "alone ahead throughout", "no difference"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """`value`, `low` and `high` are fractions; 0 and infinity stand for below the smallest and above the largest.

    `value` is None where the scores do not cross. `shares` say in which part of draws what is found; `differences` are
    mixed minus alone (more is better) at each fraction; `rises`: from one to a later one they do,
    beyond their intervals.
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
    rises: bool

    def text(self) -> str:
        """The interval, and what is found where there is no crossing."""
        ends = " to ".join(dict.fromkeys(_end(end, self.fractions) for end in (self.low, self.high)))
        found = f"at {self.value:.3g} of the data" if self.value is not None else f"none: {self.finding}"
        rises = "; but the difference rises somewhere, beyond its intervals" if self.rises else ""
        return f"{found} (95 % interval: {ends}; {self.shares.get('crosses', 0.0):.0%} of draws cross){rises}"


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
        pairs = {one.name: _pairs(alone, one) for one in of if alone and one is not alone}
        made += [_crossing(model, panel.title, name, origin, shared) for name, shared in pairs.items() if shared]
    return made


def _pairs(alone: series.Series, mixed: series.Series) -> list[tuple[float, Cell, Cell]]:
    """By fraction of the ability's data, in rising order; fewer than two show nothing."""
    by_fraction = [{_fraction(cell): cell for _, cell in reversed(one.points)} for one in (alone, mixed)]
    shared = sorted(at for at in by_fraction[0] if at is not None and at in by_fraction[1])
    pairs = [(at, by_fraction[0][at], by_fraction[1][at]) for at in shared]
    return pairs if len(pairs) > 1 else []


def _fraction(cell: Cell) -> float | None:
    own = cell.setting.fraction_of(cell.first.ability)
    return None if own is None else float(own)


def _crossing(
    model: str, benchmark: str, mixture: str, origin: str, pairs: Sequence[tuple[float, Cell, Cell]]
) -> Crossing:
    import numpy as np

    fractions = [at for at, _, _ in pairs]
    sign = 1.0 if pairs[0][1].first.higher_is_better else -1.0
    drawn = draws([cell for _, alone, mixed in pairs for cell in (alone, mixed)])
    apart = sign * (drawn[1::2] - drawn[0::2])
    found = [cross(fractions, falling(column)) for column in apart.T]
    places = [place for _, place in found]
    low, high = np.quantile(places, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    differences = [minus(mixed, alone) if sign > 0 else minus(alone, mixed) for _, alone, mixed in pairs]
    finding, value = cross(fractions, falling([one.value for one in differences]))
    return Crossing(
        model=model,
        benchmark=benchmark,
        mixture=mixture,
        origin=origin,
        fractions=tuple(fractions),
        differences=tuple(differences),
        finding=finding,
        value=value if finding == "crosses" else None,
        low=float(low),
        high=float(high),
        shares={kind: count / len(found) for kind, count in Counter(kind for kind, _ in found).items()},
        rises=any(a.high < b.low for a, b in combinations(differences, 2)),
    )


def falling(differences: "Sequence[float] | npt.NDArray[np.float64]") -> list[float]:
    """The closest values that never rise, by least squares."""
    from scipy.optimize import isotonic_regression

    return [float(value) for value in isotonic_regression(differences, increasing=False).x]


def cross(fractions: Sequence[float], differences: Sequence[float]) -> tuple[Finding, float]:
    """What differences (mixed minus alone, over rising fractions, never rising) say, and where they cross 0."""
    if not any(differences):
        return "no difference", math.inf
    if differences[-1] >= 0:
        return "mixed ahead throughout", math.inf
    if differences[0] <= 0:
        return "alone ahead throughout", 0.0
    behind = next(index for index, difference in enumerate(differences) if difference < 0)
    before, after = differences[behind - 1], differences[behind]
    left, right = math.log(fractions[behind - 1]), math.log(fractions[behind])
    return "crosses", math.exp(left + before / (before - after) * (right - left))
