"""From a frozen plan and the store to the scores of every run, after each of its stages."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sft_sweeps.plan.build import Plan, Run, Subject
from sft_sweeps.report.differences import Comparison, comparisons
from sft_sweeps.report.replicates import Replicated, replicated, seed_of
from sft_sweeps.spec import Score, Stage
from sft_sweeps.stats import CONFIDENCE
from sft_sweeps.store.store import RecordError, Store


@dataclass(frozen=True)
class Value:
    """A score with its evidence: k of n (accuracy) or a mean over n items, and the interval's ends.

    `total` is how many items a published benchmark has: with fewer, the score says so and is not the benchmark's.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    k: int | None = None
    total: int = 0
    id: str = ""

    def text(self) -> str:
        """`95.0% (114/120) [89.5–97.7]`, or `2.310 (n=64) [2.203–2.420]` for a loss."""
        limited = f" {self.n} of {self.total:,} items" if self.n < self.total else ""
        if self.k is None:
            scale, digits = (1, 3) if self.metric != "pass@1" else (100, 1)
            value, low, high = (f"{scale * number:.{digits}f}" for number in (self.value, self.low, self.high))
            return f"{value} (n={self.n}) [{low}–{high}]{limited}"
        return f"{self.value:.1%} ({self.k}/{self.n}) [{100 * self.low:.1f}–{100 * self.high:.1f}]{limited}"


@dataclass(frozen=True)
class StageScores:
    """Scores of the model that a stage of a run left behind (of the base model: stage 0)."""

    id: str
    label: str
    scores: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultRow:
    """A run, its scores after each stage; the last ones are the run's."""

    run: Run
    after: tuple[StageScores, ...]

    @property
    def scores(self) -> Mapping[str, Value]:
        return self.after[-1].scores


@dataclass(frozen=True)
class Results:
    """Everything that tables are made of."""

    sweep: str
    question: str
    benchmarks: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    missing: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    replicated: tuple[Replicated, ...] = ()


def collect(plan: Plan, store: Store, sweep: str, question: str = "") -> Results:
    """The scores of a plan; what is not done is named in `missing`."""
    by_subject: dict[str, dict[str, Value]] = {}
    missing: list[str] = []
    for score in plan.scores:
        generation = score.generation
        if value := _value(store, score):
            by_subject.setdefault(generation.subject.id, {})[generation.benchmark.name] = value
        else:
            missing.append(f"{generation.benchmark.name} of {generation.subject.label}")
    names = tuple(dict.fromkeys(g.benchmark.name for g in plan.generations))
    rows = tuple(ResultRow(run, tuple(_after(s, by_subject) for s in _subjects(run))) for run in plan.runs)
    compared, seeds = tuple(comparisons(plan, store)), tuple(replicated(plan, store))
    return Results(sweep, question, names, rows, tuple(missing), compared, seeds)


def _subjects(run: Run) -> tuple[Subject, ...]:
    return run.stages or (run.model,)


def _after(subject: Subject, by_subject: Mapping[str, Mapping[str, Value]]) -> StageScores:
    label = "+".join(_abilities(subject)) if isinstance(subject, Stage) else subject.label
    return StageScores(subject.id, label, by_subject.get(subject.id, {}))


def _abilities(stage: Stage) -> list[str]:
    """With their fractions; two sources of one ability are named twice where their fractions differ."""
    shown = (c.source.ability + ("" if c.fraction == 1 else f" {c.fraction}") for c in stage.mixture.components)
    return list(dict.fromkeys(shown))


def _value(store: Store, score: Score) -> Value | None:
    try:
        record = store.record(score)
    except RecordError:
        return None
    return None if record is None else Value(**record["score"], id=score.id)


def to_json(results: Results) -> dict[str, Any]:
    """results.json: every number of the tables, for scripts."""
    return {
        "sweep": results.sweep,
        "question": results.question,
        "confidence": CONFIDENCE,
        "benchmarks": list(results.benchmarks),
        "runs": [_row_json(row) for row in results.rows],
        "missing": list(results.missing),
        "comparisons": [asdict(one) for one in results.comparisons],
        "replicated": [asdict(one) for one in results.replicated],
    }


def _row_json(row: ResultRow) -> dict[str, Any]:
    run = row.run
    return {
        "id": run.id,
        "label": run.label,
        "model": run.model.name,
        "strategy": run.strategy,
        "seed": seed_of(run),
        "k": None if run.k is None else str(run.k),
        "points": list(run.points),
        "scores": _scores_json(row.scores),
        "stages": [{"id": a.id, "label": a.label, "scores": _scores_json(a.scores)} for a in row.after],
    }


def _scores_json(scores: Mapping[str, Value]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in scores.items()}
