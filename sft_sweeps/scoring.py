"""Generations and scores of one model: its weights are loaded once, and only when an answer is missing.

Every answer is kept (`items.jsonl`); a score is made from the kept answers alone, so a new scorer needs no model.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks import mini
from sft_sweeps.data.encode import Encoded, Encoder
from sft_sweeps.data.load import load
from sft_sweeps.data.select import heldout
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.generate.hf import Answer, HFEngine
from sft_sweeps.identity import digest
from sft_sweeps.plan import Subject, reaches_heldout, score_of
from sft_sweeps.spec import Benchmark, Engine, Generation, Source
from sft_sweeps.statistics import Interval, proportion, weighted_mean
from sft_sweeps.store import Store, write_record

ITEMS = "items.jsonl"
VERDICTS = "verdicts.jsonl"
Row = dict[str, Any]


class Evaluator:
    """A subject with its tokenizer and, once asked for, its weights on the engine."""

    def __init__(
        self, subject: Subject, engine: Engine, store: Store, batch_size: int, stop: Callable[[], bool]
    ) -> None:
        self.subject, self.wanted, self.store = subject, engine, store
        self.batch_size, self.stop = batch_size, stop

    def encoder(self, benchmark: Benchmark) -> Encoder:
        """The tokenizer with the benchmark's template."""
        return Encoder(self.store.tokenizer(self.subject), benchmark.template, benchmark.max_length or 1 << 30)

    @cached_property
    def engine(self) -> HFEngine:
        return HFEngine(self.store.weights(self.subject), self.wanted)

    def rows(self, benchmark: Benchmark) -> list[Row]:
        """The model's answers to every item (for held-out loss: its losses on them)."""
        if benchmark.source is not None:
            return self.losses(benchmark, benchmark.source)
        return self.answers(benchmark)

    def answers(self, benchmark: Benchmark) -> list[Row]:
        """Conversations turn by turn; a later turn sees the model's own earlier answers."""
        encoder = self.encoder(benchmark)
        items = mini.items(benchmark.name, benchmark.examples, benchmark.seed)
        rows: list[Row] = [{"id": item.id, "answers": [], "tokens": [], "finished": []} for item in items]
        for turn in range(max(len(item.turns) for item in items)):
            open_ = [place for place, item in enumerate(items) if len(item.turns) > turn]
            prompts = [
                encoder.prompt_ids(
                    list(zip(items[p].turns[:turn], rows[p]["answers"], strict=True)), items[p].turns[turn]
                )
                for p in open_
            ]
            for place, answer in zip(open_, self.generate(prompts, benchmark, encoder.eos_id), strict=True):
                rows[place]["answers"].append(encoder.decode(answer.ids))
                rows[place]["tokens"].append(answer.ids)
                rows[place]["finished"].append(answer.finished)
        return rows

    def generate(self, prompts: list[list[int]], benchmark: Benchmark, eos_id: int) -> list[Answer]:
        """Answers batch by batch; a signal stops between two."""
        return self.engine.generate(prompts, benchmark.max_new_tokens, self.batch_size, eos_id, self.check)

    def check(self, done: int = 0) -> None:
        """Interrupted once a signal came."""
        if self.stop():
            raise Interrupted(f"scoring {self.subject.label} stopped after {done} prompts; launch again to score it")

    def losses(self, benchmark: Benchmark, source: Source) -> list[Row]:
        """Loss on the source's last examples, which no stage of the subject has seen."""
        table = load(source)
        if reaches_heldout(self.subject, benchmark, len(table.examples)):
            raise RunError(f"{self.subject.label} was trained on examples of {source.name} that its loss is taken on")
        examples = heldout(table.examples, benchmark.seed, source.name, benchmark.examples)
        encoded, _ = self.encoder(benchmark).encode_all(examples)
        found = self.engine.losses(encoded, self.check)
        return [_loss_row(example, *loss) for example, loss in zip(encoded, found, strict=True)]


def _loss_row(example: Encoded, loss: float, tokens: int) -> Row:
    return {"id": example.id, "loss": loss, "tokens": tokens}


def evaluate(
    subject: Subject, generations: Sequence[Generation], store: Store, batch_size: int, stop: Callable[[], bool]
) -> None:
    """Make the generations that are missing, and score them all."""
    evaluators: dict[Engine, Evaluator] = {}
    for generation in generations:
        evaluator = evaluators.setdefault(
            generation.engine, Evaluator(subject, generation.engine, store, batch_size, stop)
        )
        if store.record(generation) is None:
            generate(generation, evaluator, store)
        score(generation, store)


def generate(generation: Generation, evaluator: Evaluator, store: Store) -> None:
    """Keep a model's answers; the record says how many were cut off before their end."""
    evaluator.check()
    folder, started = store.generation(generation), time.monotonic()
    rows = evaluator.rows(generation.benchmark)
    write_rows(folder / ITEMS, rows)
    truncated = sum(not all(row.get("finished", [])) for row in rows)
    extra = {"n": len(rows), "truncated": truncated, "seconds": round(time.monotonic() - started, 3)}
    write_record(folder, generation.payload, [ITEMS], extra)


def score(generation: Generation, store: Store) -> None:
    """Judge the kept answers; the record carries k, n, the interval and which items they were."""
    wanted = score_of(generation)
    folder = store.score(wanted)
    rows = read_rows(store.generation(generation) / ITEMS)
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


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """JSON lines, at once: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    temporary.replace(path)


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
