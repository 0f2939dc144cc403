"""Learning curves: the scores of runs that differ only in the fraction of their data.

A curve is one benchmark's score of one model under one arm (an ability alone, or a strategy with its k) over the
fraction that all sources share. Runs whose sources have several fractions are on no curve.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.benchmarks.scored import RANGES


@dataclass(frozen=True, slots=True)
class Line:
    """What the runs of one curve have in common: all of their setting but fraction and seed."""

    model: str
    parameters: int
    variant: str
    arm: str
    k: Fraction | None
    sources: tuple[tuple[str, str, str], ...]  # ability, name, content

    @property
    def label(self) -> str:
        """`math alone`, `multi_task`, `dmt k=1/256`."""
        if self.arm == "alone":
            return f"{self.sources[0][0]} alone"
        return f"{self.arm} k={self.k}" if self.k is not None else self.arm

    @property
    def across_models(self) -> tuple[object, ...]:
        """What the lines of one arm have in common, whatever the model."""
        return self.arm, self.k, self.sources


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the scores of one curve were taken: scores of two scorings never share an axis."""

    origin: str
    benchmark: str
    ability: str
    metric: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Point:
    """The scores at one fraction, one of each training seed; `examples` are of the benchmark's ability."""

    fraction: Fraction
    examples: int
    scores: tuple[Observation, ...]

    @property
    def value(self) -> float:
        return sum(one.value for one in self.scores) / len(self.scores)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points by rising fraction."""

    line: Line
    scoring: Scoring
    points: tuple[Point, ...]

    @property
    def fractions(self) -> tuple[Fraction, ...]:
        return tuple(point.fraction for point in self.points)

    def up_to(self, count: int) -> "Curve":
        """Its `count` smallest fractions."""
        return Curve(self.line, self.scoring, self.points[:count])


@dataclass(frozen=True, slots=True)
class Scale:
    """Scores as laws are fitted to them: rising, `ceiling` the best there can be. A loss is taken in `unit`s, its sign
    changed; a rating from 1 to 10 is 0 to 1.
    """

    offset: float
    unit: float
    ceiling: float

    def to(self, value: float) -> float:
        return (value - self.offset) / self.unit

    def back(self, value: float) -> float:
        return self.offset + value * self.unit


def scale_of(metric: str, values: Sequence[float]) -> Scale | None:
    """Of a metric; None where no limit of it is known. A loss, which has no upper limit, is in units of its median."""
    low, high = RANGES.get(metric, (0.0, float("inf")))
    if metric not in RANGES or not values:
        return None
    if high == float("inf"):
        return Scale(low, -(median(values) - low) or -1.0, 0.0)
    return Scale(low, high - low, 1.0)


def line_of(setting: Setting) -> Line | None:
    """The curve's line that a run belongs to; None for a base model, and where the sources' fractions differ."""
    if not setting.parts or setting.fraction is None:
        return None
    sources = tuple(sorted((part.ability, part.source, part.content) for part in setting.parts))
    return Line(setting.model, setting.parameters, setting.variant, setting.arm, setting.k, sources)


def curves_of(observations: Iterable[Observation]) -> list[Curve]:
    """All curves, each of at least one point, of the final scores of runs that were trained on the scored ability."""
    placed = [
        (line, one)
        for one in observations
        if one.final and one.ability in one.setting.abilities and (line := line_of(one.setting))
    ]
    by_curve: dict[tuple[Line, Scoring], list[Observation]] = {}
    for line, one in placed:
        scoring = Scoring(one.origin, one.benchmark, one.ability, one.metric, one.protocol)
        by_curve.setdefault((line, scoring), []).append(one)
    return [Curve(line, scoring, _points(scores)) for (line, scoring), scores in by_curve.items()]


def _points(scores: Sequence[Observation]) -> tuple[Point, ...]:
    """A model that several runs end in counts once."""
    distinct = {(one.subject or one.run, one.setting, one.value): one for one in scores}.values()
    by_fraction = grouped(distinct, lambda one: one.setting.fraction or Fraction(0))
    return tuple(
        Point(fraction, found[0].setting.examples_of(found[0].ability), tuple(found))
        for fraction, found in sorted(by_fraction.items())
    )
