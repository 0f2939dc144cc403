"""From a frozen plan and the store to the scores of every run, after each of its stages."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from sft_sweeps.analysis.cells import finals
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.identity import revive
from sft_sweeps.plan.build import Plan, Run, Subject
from sft_sweeps.report.differences import Comparison, comparisons
from sft_sweeps.report.figures.write import Found
from sft_sweeps.report.judges import OtherJudge, other_judges
from sft_sweeps.report.messages import without_folders
from sft_sweeps.report.observe import observations
from sft_sweeps.report.previews import Previews, previews
from sft_sweeps.report.replicates import Replicated, replicated, seed_of
from sft_sweeps.report.represented import Represented, represented
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Benchmark, Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.stats import CONFIDENCE
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import portable

SCHEMA = 1  # of results.json


@dataclass(frozen=True)
class StageScores:
    """Scores of the model that a stage of a run left behind (of the base model: stage 0)."""

    id: str
    label: str
    scores: Mapping[str, Scored] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultRow:
    """A run, its scores after each stage; the last ones are the run's."""

    run: Run
    after: tuple[StageScores, ...]

    @property
    def scores(self) -> Mapping[str, Scored]:
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
    fewer: tuple[str, ...] = ()  # why scores are of fewer items than were asked for
    represented: tuple[Represented, ...] = ()
    unrepresented: tuple[str, ...] = ()  # what of the representations is missing, and why
    other_judges: tuple[OtherJudge, ...] = ()  # scores by another judge than the sweep's, which are none of its rows
    previews: tuple[Previews, ...] = ()  # how well averages of single-ability models rank the trained mixtures
    # What figures are drawn from; not read again for a report that is there.
    observed: tuple[Observation, ...] = field(default=(), compare=False, repr=False)

    @cached_property
    def found(self) -> Found:
        """What its figures, its tables and its page show."""
        return Found.beside_the_paper(self.observed)


def collect(
    plan: Plan,
    store: Store | Scores,
    sweep: str,
    question: str = "",
    made: Mapping[str, Any] | None = None,
) -> Results:
    """The scores of a plan; what is not done is named in `missing`.

    `made` is results.json of a report of these very scores: its statistics are taken over.
    """
    known = Scores.of(store)
    by_subject: dict[str, dict[str, Scored]] = {}
    missing: list[str] = []
    fewer: dict[str, None] = {}
    for score in plan.scores:
        generation = score.generation
        scored, why = _scored(known, score)
        if scored:
            by_subject.setdefault(generation.subject.id, {})[generation.benchmark.name] = scored
            fewer |= dict.fromkeys(_fewer(generation.benchmark, scored))
        else:
            missing.append(
                f"{generation.benchmark.name} of {generation.subject.label}{why or _to_judge(known, score, sweep)}"
            )
    names = tuple(dict.fromkeys(g.benchmark.name for g in plan.generations))
    rows = tuple(ResultRow(run, tuple(_after(s, by_subject) for s in _subjects(run))) for run in _rows(plan))
    seen = () if made else tuple(observations(plan, known))
    ends = finals(seen)
    compared, seeds = _statistics(made) if made else (tuple(comparisons(plan, ends)), tuple(replicated(plan, ends)))
    looked, unseen = _representations(plan, known.store, made)
    judged = (
        revive(tuple[OtherJudge, ...], made["other_judges"])
        if made and "other_judges" in made
        else tuple(other_judges(plan, known))
    )
    previewed = (
        revive(tuple[Previews, ...], made["previews"]) if made and "previews" in made else tuple(previews(plan, known))
    )
    return Results(
        sweep,
        question,
        names,
        rows,
        tuple(missing),
        compared,
        seeds,
        tuple(fewer),
        looked,
        unseen,
        judged,
        previewed,
        seen,
    )


def _representations(
    plan: Plan, store: Store, made: Mapping[str, Any] | None
) -> tuple[tuple[Represented, ...], tuple[str, ...]]:
    if made and "representations" in made:
        return revive(tuple[Represented, ...], made["representations"]), tuple(made["unrepresented"])
    return represented(plan, store) if plan.analyses else ((), ())


def _to_judge(known: Scores, score: Score, sweep: str) -> str:
    """What to type where answers are there and only their judge has not been asked; else empty."""
    return f" (answered, not judged yet: sft-sweeps judge {sweep})" if known.unjudged(score) else ""


def _fewer(benchmark: Benchmark, scored: Scored) -> Iterator[str]:
    """Why a held-out loss is of fewer examples than were asked for; nothing where it is of all of them."""
    without = benchmark.examples - scored.n
    if benchmark.source is not None and without > 0:
        have = "has" if without == 1 else "have"
        yield (
            f"held-out loss, {benchmark.source.name}: n={scored.n} of the {benchmark.examples} examples asked for, "
            f"since {without} {have} no token of an answer within train.max_length={benchmark.max_length}"
        )


def _rows(plan: Plan) -> Iterator[Run]:
    """The runs, and the base models that are scored beside them (evaluate.base)."""
    yield from plan.runs
    runs, scored = {run.id for run in plan.runs}, {generation.subject.id for generation in plan.generations}
    for model in plan.models:
        if model.id in scored - runs:
            yield Run(f"{plan.labels[model.id]} base", "base", model, ())


def _subjects(run: Run) -> tuple[Subject, ...]:
    return run.derived or (run.model,)


def _after(subject: Subject, by_subject: Mapping[str, Mapping[str, Scored]]) -> StageScores:
    label = "+".join(_abilities(subject)) if isinstance(subject, Stage) else subject.label
    return StageScores(subject.id, label, by_subject.get(subject.id, {}))


def _abilities(stage: Stage) -> list[str]:
    """With their fractions; two sources of one ability are named twice where their fractions differ."""
    shown = (c.source.ability + ("" if c.fraction == 1 else f" {c.fraction}") for c in stage.mixture.components)
    return list(dict.fromkeys(shown))


def _statistics(made: Mapping[str, Any]) -> tuple[tuple[Comparison, ...], tuple[Replicated, ...]]:
    """What `to_json` took apart."""
    return revive(tuple[Comparison, ...], made["comparisons"]), revive(tuple[Replicated, ...], made["replicated"])


def _scored(known: Scores, score: Score) -> tuple[Scored | None, str]:
    """A score, or None and, where a record is there that cannot be trusted, why."""
    record = known.record(score)
    if record is None:
        return None, ""
    try:
        return Scored.from_record(record, score.id), ""
    except ValueError as error:
        folder = known.store.read_folder(score)
        why = f"its record cannot be trusted: {error}; remove {folder} of the store and launch again"
        return None, f" ({without_folders(why, known.store)})"


def to_json(results: Results) -> dict[str, Any]:
    """results.json: every number of the tables, for scripts."""
    return {
        "schema": SCHEMA,
        "sweep": results.sweep,
        "question": results.question,
        "confidence": CONFIDENCE,
        "benchmarks": list(results.benchmarks),
        "runs": [_row_json(row) for row in results.rows],
        "missing": list(results.missing),
        "comparisons": [asdict(one) for one in results.comparisons],
        "replicated": [asdict(one) for one in results.replicated],
        "representations": [asdict(one) for one in results.represented],
        "unrepresented": list(results.unrepresented),
        "other_judges": [asdict(one) for one in results.other_judges],
        "previews": [asdict(one) for one in results.previews],
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
        "points": list(map(portable, run.points)),
        "scores": _scores_json(row.scores),
        "stages": [{"id": a.id, "label": a.label, "scores": _scores_json(a.scores)} for a in row.after],
    }


def _scores_json(scores: Mapping[str, Scored]) -> dict[str, Any]:
    return {name: {**asdict(value), "format_rate": value.format_rate} for name, value in scores.items()}
