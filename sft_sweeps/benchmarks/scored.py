"""What scoring makes of answers: one number with its evidence, a verdict on each answer, and what else is recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from sft_sweeps.benchmarks.item import Verdict
from sft_sweeps.stats import Interval, proportion, weighted_mean

Row = dict[str, Any]  # a line of a JSON lines file: an answer, a verdict
SHARES = ("accuracy", "pass@1")  # metrics that are shares of right answers, shown in percent
# The least and the most that a score of a metric can be.
RANGES = {"accuracy": (0.0, 1.0), "pass@1": (0.0, 1.0), "rating": (1.0, 10.0), "loss": (0.0, math.inf)}
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Scored:
    """A score with its evidence: k of n (accuracy) or a mean over n items, and the interval's ends.

    `total` is how many items a published benchmark has: with fewer, the score says so and is not the benchmark's. `id`
    is that of the score in the store, which a record says elsewhere. Of so many `answers`, `formatted` are written in
    the format that the scorer asks for, and in `unreadable` ones it found nothing to score: a model that forgot the
    format is not one that forgot how. (0 answers: not counted, as for a loss.)
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    k: int | None = None
    total: int = 0
    id: str = ""
    answers: int = 0
    formatted: int = 0
    unreadable: int = 0

    @classmethod
    def from_record(cls, record: Mapping[str, Any], key: str = "") -> "Scored":
        """The score that a record holds, under its id; ValueError says why it is none.

        A share is what k of n makes it, whatever else the record says; a mean must lie where it can.
        """
        score = record.get("score")
        if not isinstance(score, Mapping):
            raise ValueError("it holds no score")
        if lacking := [name for name in ("metric", "value", "low", "high", "n") if name not in score]:
            raise ValueError(f"its score has no {lacking[0]}")
        fields = {name: score[name] for name in cls.__dataclass_fields__ if name in score and name != "id"}
        return _checked(cls(**fields, id=key))

    def to_record(self) -> Row:
        """As JSON; without what the benchmark does not have."""
        optional = ("total", "id", "answers", "formatted", "unreadable")
        return {name: value for name, value in asdict(self).items() if name not in optional or value}

    @property
    def share(self) -> bool:
        """Whether it is a share of right answers."""
        return self.metric in SHARES

    @property
    def format_rate(self) -> float | None:
        """The share of answers in the scorer's format; None where that was not counted."""
        return self.formatted / self.answers if self.answers else None

    def read_as(self, answers: int, formatted: int, unreadable: int) -> "Scored":
        """The score with how its answers could be read."""
        return replace(self, answers=answers, formatted=formatted, unreadable=unreadable)

    def reading(self) -> str:
        """`format 93.2%, 4 unreadable`; empty where every answer was in the format, or it was not counted."""
        rate = "" if self.format_rate in (None, 1.0) else f"format {self.format_rate:.1%}"
        return ", ".join(filter(None, (rate, f"{self.unreadable:,} unreadable" if self.unreadable else "")))

    def text(self) -> str:
        """`95.0% (114/120) [89.5–97.7]`, or `2.310 (n=64) [2.203–2.420]` for a loss; and what could not be read."""
        limited = f" {self.n} of {self.total:,} items" if self.n < self.total else ""
        limited += f"; {reading}" if (reading := self.reading()) else ""
        if self.k is None:
            scale, digits = (100, 1) if self.share else (1, 3)
            value, low, high = (f"{scale * number:.{digits}f}" for number in (self.value, self.low, self.high))
            return f"{value} (n={self.n}) [{low}–{high}]{limited}"
        return f"{self.value:.1%} ({self.k}/{self.n}) [{100 * self.low:.1f}–{100 * self.high:.1f}]{limited}"


def _checked(scored: Scored) -> Scored:
    counts = (scored.n, scored.total, scored.answers, scored.formatted, scored.unreadable)
    whole = all(type(count) is int and count >= 0 for count in (*counts, scored.k or 0))
    if not whole or scored.n < max(1, scored.k or 0):
        raise ValueError(f"its counts cannot be: k={scored.k}, n={scored.n}, total={scored.total}")
    if max(scored.formatted, scored.unreadable) > scored.answers or (scored.total and scored.n > scored.total):
        raise ValueError(f"its parts are more than the whole: n={scored.n} of {scored.total}")
    if scored.k is not None:
        found = proportion(scored.k, scored.n)
        return replace(scored, value=found.value, low=found.low, high=found.high)
    numbers = (scored.value, scored.low, scored.high)
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise ValueError(f"its value {scored.value} [{scored.low}, {scored.high}] is no number")
    least, most = RANGES.get(str(scored.metric), (-math.inf, math.inf))
    slack = _ROUNDING * max(1.0, *map(abs, numbers))
    in_order = (least, scored.low, scored.value, scored.high, most)
    if any(left > right + slack for left, right in pairwise(in_order)):
        raise ValueError(f"its {scored.metric} of {scored.value} [{scored.low}, {scored.high}] cannot be")
    return scored


@dataclass(frozen=True)
class ScoringResult:
    """The score, a verdict on each answer as a row (`item` names its item), and what else the record says."""

    scored: Scored
    verdicts: Sequence[Row]
    details: Row = field(default_factory=dict)


def accuracy(correct: Sequence[bool], total: int = 0) -> Scored:
    """k of n with Wilson's interval; `total` is how many items the benchmark has."""
    k, n = sum(correct), len(correct)
    return mean_score("accuracy", proportion(k, n), n, total, k)


def mean_score(metric: str, interval: Interval, n: int, total: int = 0, k: int | None = None) -> Scored:
    """A score of n items by its interval, of which is kept what the metric can be."""
    least, most = RANGES.get(metric, (-math.inf, math.inf))
    return Scored(metric, interval.value, max(interval.low, least), min(interval.high, most), n, k, total)


def weighted(metric: str, values: Sequence[float], weights: Sequence[float], total: int = 0) -> Scored:
    """The weighted mean of the items' values, with a bootstrap interval over items."""
    return mean_score(metric, weighted_mean(values, weights), len(values), total)


def from_verdicts(verdicts: Sequence[Verdict], total: int = 0, details: Row | None = None) -> ScoringResult:
    """The share of correct answers, where each answer is right or wrong."""
    scored = accuracy([verdict.correct for verdict in verdicts], total)
    readable = sum(verdict.readable for verdict in verdicts)
    scored = scored.read_as(len(verdicts), readable, len(verdicts) - readable)
    return ScoringResult(scored, [asdict(verdict) for verdict in verdicts], details or {})
