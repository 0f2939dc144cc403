"""Scores are made from kept answers alone: a new scorer needs no model, and nothing here needs torch."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from sft_sweeps.benchmarks import mini
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.generate.rows import ITEMS, Row, read_rows, write_rows
from sft_sweeps.identity import digest
from sft_sweeps.plan import score_of
from sft_sweeps.spec import Benchmark, Generation
from sft_sweeps.statistics import Interval, proportion, weighted_mean
from sft_sweeps.store import Store, write_record

VERDICTS = "verdicts.jsonl"


def score_all(generations: Sequence[Generation], store: Store, stop: Callable[[], bool]) -> None:
    """Score those that are not scored yet; a signal stops between two."""
    for generation in generations:
        if stop():
            raise Interrupted("scoring stopped; launch again to continue")
        if store.record(score_of(generation)) is None:
            score(generation, store)


def score(generation: Generation, store: Store) -> None:
    """Judge the kept answers; the record carries k, n, the interval and which items they were."""
    wanted = score_of(generation)
    folder = store.score(wanted)
    if store.record(generation) is None:
        raise RunError(f"{generation.subject.label} has not answered {generation.benchmark.name}; launch again")
    rows = read_rows(store.place(generation) / ITEMS)
    expected = generation.benchmark.examples
    answered = len({row["id"] for row in rows})
    if generation.benchmark.generates and not len(rows) == answered == expected:
        raise RunError(f"{generation.benchmark.name} has {expected} items, {answered} were answered; nothing is scored")
    found, verdicts = _losses(rows) if generation.benchmark.source else _judge(generation.benchmark, rows)
    write_rows(folder / VERDICTS, verdicts)
    reasons = Counter(str(verdict["reason"]) for verdict in verdicts if "reason" in verdict)
    extra = {"score": found, "reasons": dict(reasons), "items": digest([row["id"] for row in rows])}
    write_record(folder, wanted.payload, [VERDICTS], extra)


def _judge(benchmark: Benchmark, rows: Sequence[Row]) -> tuple[Row, list[Row]]:
    items = {item.id: item for item in mini.items(benchmark.name, benchmark.examples, benchmark.seed)}
    verdicts = [mini.judge(benchmark.name, items[row["id"]], row["answers"]) for row in rows]
    k = sum(verdict.correct for verdict in verdicts)
    return _score("accuracy", proportion(k, len(verdicts)), len(verdicts), k), [asdict(v) for v in verdicts]


def _losses(rows: Sequence[Row]) -> tuple[Row, list[Row]]:
    found = weighted_mean([row["loss"] for row in rows], [row["tokens"] for row in rows])
    return _score("loss", found, len(rows), None), [{"item": row["id"], "loss": row["loss"]} for row in rows]


def _score(metric: str, found: Interval, n: int, k: int | None) -> Row:
    return {"metric": metric, "value": found.value, "low": found.low, "high": found.high, "n": n, "k": k}
