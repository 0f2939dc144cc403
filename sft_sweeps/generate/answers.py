"""One model's generations: its weights are loaded once, and only when an answer is missing. Every answer is kept."""

import time
from collections.abc import Callable, Sequence
from functools import cached_property

from sft_sweeps.benchmarks import mini
from sft_sweeps.data.encode import Encoded, Encoder
from sft_sweeps.data.load import load
from sft_sweeps.data.select import heldout
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.generate.hf import Answer, HFEngine
from sft_sweeps.generate.rows import ITEMS, Row, write_rows
from sft_sweeps.plan import Subject, reaches_heldout
from sft_sweeps.spec import Benchmark, Engine, Generation, Source
from sft_sweeps.store import Store, write_record


class Answerer:
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


def generate(
    subject: Subject, generations: Sequence[Generation], store: Store, batch_size: int, stop: Callable[[], bool]
) -> None:
    """Make those of the generations that are missing."""
    answerers: dict[Engine, Answerer] = {}
    for generation in generations:
        if store.record(generation) is None:
            wanted = generation.engine
            answerer = answerers.setdefault(wanted, Answerer(subject, wanted, store, batch_size, stop))
            keep(generation, answerer, store)


def keep(generation: Generation, answerer: Answerer, store: Store) -> None:
    """Keep a model's answers; the record says how many were cut off before their end."""
    answerer.check()
    folder, started = store.generation(generation), time.monotonic()
    rows = answerer.rows(generation.benchmark)
    write_rows(folder / ITEMS, rows)
    truncated = sum(not all(row.get("finished", [])) for row in rows)
    extra = {"n": len(rows), "truncated": truncated, "seconds": round(time.monotonic() - started, 3)}
    write_record(folder, generation.payload, [ITEMS], extra)
