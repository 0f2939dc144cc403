"""Scores are made from kept answers alone: a new scorer needs no model, and nothing here needs torch."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from sft_sweeps.benchmarks.base import ScoringContext
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.judging import Grader
from sft_sweeps.benchmarks.registry import definition_of, items_of
from sft_sweeps.benchmarks.scored import ScoringResult
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.identity import digest
from sft_sweeps.plan.build import score_of
from sft_sweeps.sandbox.run import DEFAULT
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge
from sft_sweeps.store.answers import ITEMS, VERDICTS, AnswerRow, read_rows, write_rows
from sft_sweeps.store.store import Store, write_record

log = logging.getLogger(__name__)

JUDGMENTS = "judgments"  # in the store: replies that were paid for, for every stage
Stop = Callable[[], bool]


def score_all(generations: Sequence[Generation], store: Store, stop: Stop, isolation: Isolation = DEFAULT) -> None:
    """Score those that are not scored yet; a signal stops between two."""
    for generation in generations:
        if stop():
            raise Interrupted("scoring stopped; launch again to continue")
        if store.record(score_of(generation)) is None:
            score(generation, store, stop, isolation)


def score(generation: Generation, store: Store, stop: Stop = lambda: False, isolation: Isolation = DEFAULT) -> None:
    """Score the kept answers; the record carries k, n, the interval and which items they were."""
    planned, benchmark = score_of(generation), generation.benchmark
    folder = store.score(planned)
    if store.record(generation) is None:
        raise RunError(f"{generation.subject.label} has not answered {benchmark.name}; launch again")
    rows = read_rows(store.read_folder(generation) / ITEMS)
    if benchmark.generates:
        complete(rows, benchmark)
    result = _scored(rows, benchmark, store, stop, isolation)
    write_rows(folder / VERDICTS, result.verdicts)
    reasons = Counter(str(verdict["reason"]) for verdict in result.verdicts if "reason" in verdict)
    extra = {"score": result.scored.to_record(), **result.details}
    extra |= {"reasons": dict(reasons), "items": digest([row["id"] for row in rows])}
    write_record(folder, planned.payload, [VERDICTS], extra)
    log.info("%s: %s", benchmark.name, result.scored.text())


def complete(rows: Sequence[AnswerRow], benchmark: Benchmark) -> None:
    """RunError unless every item is answered as often as planned: a partial set is no smaller benchmark."""
    answered = {(row["id"], row.get("sample", 0)) for row in rows}
    expected = benchmark.examples * benchmark.samples
    if not len(rows) == len(answered) == expected:
        items = len({row["id"] for row in rows})
        raise RunError(f"{benchmark.name} has {benchmark.examples} items, {items} were answered; nothing is scored")


def _scored(
    rows: Sequence[AnswerRow], benchmark: Benchmark, store: Store, stop: Stop, isolation: Isolation
) -> ScoringResult:
    """What the benchmark's scorer, which must be the planned one, makes of the answers to its items."""
    definition = definition_of(benchmark)
    if definition.version != benchmark.scorer_version:
        raise RunError(
            f"version {benchmark.scorer_version} of the scorer of {benchmark.name} was planned, {definition.version} "
            "is installed; launch again"
        )
    items: dict[str, Item] = {}
    if benchmark.generates:
        items = {item.id: item for item in items_of(benchmark)}
        if unknown := next((row["id"] for row in rows if row["id"] not in items), None):
            raise RunError(f"{unknown} is no item of {benchmark.name}; nothing is scored")

    def grader(judge: Judge) -> Grader:
        from sft_sweeps.score.judge import JudgeClient  # httpx, which other benchmarks do not need

        return JudgeClient(judge, store.root / JUDGMENTS, stop)

    return definition.score(rows, items, ScoringContext(benchmark, isolation, grader, stop))
