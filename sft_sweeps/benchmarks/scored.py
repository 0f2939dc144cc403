"""What scoring makes of answers: one number with its evidence, a verdict on each answer, and what else is recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sft_sweeps.benchmarks.item import Verdict
from sft_sweeps.stats import Interval, proportion, weighted_mean

Row = dict[str, Any]  # a line of a JSON lines file: an answer, a verdict


@dataclass(frozen=True)
class Scored:
    """A score with its evidence: k of n (accuracy) or a mean over n items, and the interval's ends.

    `total` is how many items a published benchmark has: with fewer, the score says so and is not the benchmark's. `id`
    is that of the score in the store, which a record says elsewhere.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    k: int | None = None
    total: int = 0
    id: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any], key: str = "") -> "Scored":
        """The score that a record holds, under its id; KeyError or TypeError where the record holds none."""
        score = record["score"]
        required = {name: score[name] for name in ("metric", "value", "low", "high", "n")}
        return cls(**required, k=score.get("k"), total=score.get("total", 0), id=key)

    def to_record(self) -> Row:
        """As JSON; without the total where the benchmark has none."""
        return {name: value for name, value in asdict(self).items() if name not in ("total", "id") or value}

    def text(self) -> str:
        """`95.0% (114/120) [89.5–97.7]`, or `2.310 (n=64) [2.203–2.420]` for a loss."""
        limited = f" {self.n} of {self.total:,} items" if self.n < self.total else ""
        if self.k is None:
            scale, digits = (1, 3) if self.metric != "pass@1" else (100, 1)
            value, low, high = (f"{scale * number:.{digits}f}" for number in (self.value, self.low, self.high))
            return f"{value} (n={self.n}) [{low}–{high}]{limited}"
        return f"{self.value:.1%} ({self.k}/{self.n}) [{100 * self.low:.1f}–{100 * self.high:.1f}]{limited}"


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
    """A score of n items by its interval."""
    return Scored(metric, interval.value, interval.low, interval.high, n, k, total)


def weighted(metric: str, values: Sequence[float], weights: Sequence[float], total: int = 0) -> Scored:
    """The weighted mean of the items' values, with a bootstrap interval over items."""
    return mean_score(metric, weighted_mean(values, weights), len(values), total)


def from_verdicts(verdicts: Sequence[Verdict], total: int = 0, details: Row | None = None) -> ScoringResult:
    """The share of correct answers, where each answer is right or wrong."""
    scored = accuracy([verdict.correct for verdict in verdicts], total)
    return ScoringResult(scored, [asdict(verdict) for verdict in verdicts], details or {})
