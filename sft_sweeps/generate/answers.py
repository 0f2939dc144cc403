"""One model's generations: its weights are loaded once, and only when an answer is missing. Every answer is kept.

Answers are appended to a journal as they come, so that a killed or preempted job goes on with what is missing. When
all are there they are written in the items' order, the record last.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.registry import definition_of, items_of
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.encode.mixture import heldout, source_finder
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.execution import AnswerExecution
from sft_sweeps.files.json_files import write_json
from sft_sweeps.generate import hf
from sft_sweeps.generate.engine import AnswerEngine, Prompts, Sampling
from sft_sweeps.generate.replicas import opened
from sft_sweeps.jobs.job import PROGRESS
from sft_sweeps.plan import engines
from sft_sweeps.plan.build import Subject, reaches_heldout
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.evaluation import Benchmark, Engine, Generation
from sft_sweeps.spec.training import Model
from sft_sweeps.store.answers import ITEMS, JOURNAL, Answer, AnswerRow, Journal, write_rows
from sft_sweeps.store.origins import whole, whole_folder
from sft_sweeps.store.store import Store, write_record

DIFFERING = 0.05  # of the self-check's prompts may depend on the batch, as near ties do
PROGRESS_SECONDS = 2.0  # between two notes of progress
Key = tuple[str, int, int]  # item, sample, turn
log = logging.getLogger(__name__)


class Answerer:
    """A subject with its tokenizer and, once asked for, its weights on the engine."""

    def __init__(
        self, subject: Subject, engine: Engine, store: Store, execution: AnswerExecution, stop: Callable[[], bool]
    ) -> None:
        self.subject, self.wanted, self.store = subject, engine, store
        self.execution, self.batch_size, self.stop = execution, execution.generation_batch, stop
        self.checked: tuple[int, int] | None = None
        self.progress_at = 0.0  # when progress was written last
        self.merged = ExitStack()  # what was merged of an adapter, to be removed at the end

    def encoder(self, benchmark: Benchmark) -> Encoder:
        """The tokenizer with the benchmark's template."""
        return Encoder(self.store.tokenizer(self.subject), benchmark.template, benchmark.max_length or 1 << 30)

    @cached_property
    def engine(self) -> AnswerEngine:
        """On the GPUs that there are."""
        place = self.store.folder(self.subject) / "generate"
        folder = self.merged.enter_context(whole_folder(whole(self.subject, self.store), place))
        wanted, how = self.wanted, self.execution
        devices = replica_devices(folder, wanted, how, self.subject.model)
        label, python = self.subject.label, how.engine_python
        return opened(folder, wanted, devices, label=label, python=python, threads=how.threads, check=self.check)

    def close(self) -> None:
        """End the engine's processes."""
        with self.merged:
            if "engine" in self.__dict__:  # else no answer was missing
                self.engine.close()

    def rows(self, benchmark: Benchmark, folder: Path) -> list[AnswerRow]:
        """The model's answers to every item (for held-out loss: its losses on them)."""
        if benchmark.source is not None:
            return self.losses(benchmark, benchmark.source)
        return self.answers(benchmark, folder)

    def answers(self, benchmark: Benchmark, folder: Path) -> list[AnswerRow]:
        """Conversations turn by turn; a later turn sees the model's own earlier answers."""
        items, encoder = items_of(benchmark), self.encoder(benchmark)
        journal = Journal(folder / JOURNAL)
        try:
            kept: dict[Key, AnswerRow] = {(row["id"], row["sample"], row["turn"]): row for row in journal.rows}
            asked = [(item, sample) for item in items for sample in range(benchmark.samples)]
            for turn in range(max(len(item.turns) for item in items)):
                missing = [
                    (item, sample)
                    for item, sample in asked
                    if turn < len(item.turns) and (item.id, sample, turn) not in kept
                ]
                self.answer(missing, turn, benchmark, encoder=encoder, kept=kept, journal=journal)
        finally:
            journal.close()
        return [_row(item, sample, kept) for item, sample in asked]

    def answer(
        self,
        missing: Sequence[tuple[Item, int]],
        turn: int,
        benchmark: Benchmark,
        *,
        encoder: Encoder,
        kept: dict[Key, AnswerRow],
        journal: Journal,
    ) -> None:
        """One turn of those conversations that lack it."""
        if not missing:
            return
        ids, openings = [], []
        for item, sample in missing:
            own = [kept[item.id, sample, earlier]["answer"] for earlier in range(turn)]
            rounds = list(zip(item.turns[:turn], own, strict=True))
            openings.append(encoder.opening_ids(item.opening) if turn == 0 else [])
            ids.append([*encoder.prompt_ids(rounds, item.turns[turn]), *openings[-1]])

        def keep(index: int, answer: Answer) -> None:
            item, sample = missing[index]
            row = {"id": item.id, "sample": sample, "turn": turn, "ids": answer.ids, "finished": answer.finished}
            row |= {"answer": encoder.decode([*openings[index], *answer.ids]), "prompt_tokens": len(ids[index])}
            kept[item.id, sample, turn] = row
            journal.add(row)

        def progress(done: int) -> None:
            self.check(done)
            self.write_progress(done, len(ids), benchmark.name)

        seeds = [seed_of(benchmark.seed, item.id, sample, turn) for item, sample in missing]
        sampling = [Sampling(item.temperature, seed) for (item, _), seed in zip(missing, seeds, strict=True)]
        prompts = Prompts(ids, [benchmark.max_new_tokens] * len(ids), encoder.eos_id, sampling)
        self.self_check(prompts)
        self.engine.generate(prompts, self.batch_size, progress=progress, keep=keep)

    def self_check(self, prompts: Prompts) -> None:
        """Once for each engine: an answer must not depend on the batch that it is made in."""
        if self.checked is not None:
            return
        self.check()
        count, differing = self.checked = self.engine.self_check(prompts, self.batch_size)
        if differing <= count * DIFFERING:
            return
        text = f"{differing} of {count} answers of {self.subject.label} depend on the batch that they are made in"
        if self.wanted.dtype == "fp32":
            raise RunError(f"{text}; a mask or a position is lost, and no score could be trusted. Report this.")
        log.warning("%s (%s rounds, so near ties fall differently)", text, self.wanted.dtype)

    def check(self, done: int = 0) -> None:
        """Interrupted once a signal came."""
        if self.stop():
            raise Interrupted(f"answering of {self.subject.label} stopped after {done} prompts; launch again to go on")

    def write_progress(self, done: int, of: int, name: str) -> None:
        """Note in the log and in a file how far the work is; `sft-sweeps status` reads the file."""
        if time.monotonic() - self.progress_at > PROGRESS_SECONDS:
            self.progress_at = time.monotonic()
            folder = self.store.folder(self.subject) / "generate"
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / PROGRESS, {"what": name, "done": done, "of": of})
            log.info("%s: %d of %d answered", name, done, of)

    def losses(self, benchmark: Benchmark, source: Source) -> list[AnswerRow]:
        """Loss on the source's last examples, which no stage of the subject has seen."""
        tokenizer, template = self.store.tokenizer(self.subject), benchmark.template
        examples = source_finder(tokenizer, template, benchmark.max_length, self.store.roots)(source)
        if reaches_heldout(self.subject, benchmark, len(examples)):
            raise RunError(f"{self.subject.label} was trained on examples of {source.name} that its loss is taken on")
        encoded = heldout(examples, benchmark.seed, benchmark.examples)
        losses = self.engine.losses(encoded, self.check)
        return [_loss_row(example, *loss) for example, loss in zip(encoded, losses, strict=True)]


def replica_devices(folder: Path, engine: Engine, execution: AnswerExecution, model: Model) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each replica: each has the GPUs that hold the model, or "" where it needs none."""
    names, gigabytes = hf.gpus()
    if not names or not model.gpus:
        return [""] * max(1, execution.replicas)
    return engines.replica_devices(names, hf.held(folder, engine).size(len(names), gigabytes), execution.replicas)


def seed_of(*parts: Any) -> int:
    """The seed of one sampled answer: its own, whatever is answered beside it."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def _row(item: Item, sample: int, kept: dict[Key, AnswerRow]) -> AnswerRow:
    turns = [kept[item.id, sample, turn] for turn in range(len(item.turns))]
    return {
        "id": item.id,
        "sample": sample,
        "answers": [turn["answer"] for turn in turns],
        "tokens": [turn["ids"] for turn in turns],
        "finished": [turn["finished"] for turn in turns],
    }


def _loss_row(example: Encoded, loss: float, tokens: int) -> AnswerRow:
    return {"id": example.id, "loss": loss, "tokens": tokens}


def generate(
    subject: Subject,
    generations: Sequence[Generation],
    store: Store,
    execution: AnswerExecution,
    stop: Callable[[], bool],
) -> None:
    """Make those of the generations that are missing."""
    answerers: dict[Engine, Answerer] = {}
    try:
        for generation in generations:
            if store.record(generation) is None:
                wanted = generation.engine
                answerer = answerers.setdefault(wanted, Answerer(subject, wanted, store, execution, stop))
                _complete(generation, answerer, store)
    finally:
        for answerer in answerers.values():
            answerer.close()


def _complete(generation: Generation, answerer: Answerer, store: Store) -> None:
    """Make what is missing of a generation and write it.

    The record says how many answers were cut off before their end, or had no room to begin.
    """
    answerer.check()
    folder, started = store.generation(generation), time.monotonic()
    rows = answerer.rows(generation.benchmark, folder)
    write_rows(folder / ITEMS, rows)
    files = [ITEMS, *export(generation, rows, folder)]
    extra: AnswerRow = {
        "n": len(rows),
        "truncated": sum(not all(row.get("finished", [])) for row in rows),
        "seconds": round(time.monotonic() - started, 3),
    }
    if generation.benchmark.generates:
        extra |= _counts(generation, rows)
    if answerer.checked is not None:
        extra["self_check"] = dict(zip(("prompts", "differing"), answerer.checked, strict=True))
    write_record(folder, generation.payload, files, extra)
    (folder / JOURNAL).unlink(missing_ok=True)


def _counts(generation: Generation, rows: Sequence[AnswerRow]) -> AnswerRow:
    """Tokens written, and the turns that the model's positions left no room for: they are empty, which is logged."""
    turns = [turn for row in rows for turn in zip(row["tokens"], row["finished"], strict=True)]
    without_room = sum(not ids and not finished for ids, finished in turns)
    if without_room:
        text = "%d of %d answers of %s to %s are empty: their prompts fill the model's positions"
        log.warning(text, without_room, len(turns), generation.subject.label, generation.benchmark.name)
    return {"tokens": sum(len(ids) for ids, _ in turns), "without_room": without_room}


def export(generation: Generation, rows: Sequence[AnswerRow], folder: Path) -> list[str]:
    """The same answers in the layouts that the benchmark's other programs read; the names of the files."""
    files = definition_of(generation.benchmark).export(generation, rows)
    for name, content in files.items():
        write_rows(folder / name, content)
    return list(files)
