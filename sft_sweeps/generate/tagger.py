"""`sft-sweeps tag`: InsTagger, or a model that answers as it does, tags the conversations of a file.

    sft-sweeps tag sharegpt.jsonl --model InsTagger --out tags.jsonl        on a GPU; then clean.tags_file=tags.jsonl

Every human turn is a query of its own, as InsTag's authors tag sessions; a conversation has the tags of all of them.
The file of tags enters a source's identity by its content, so a plan never waits for a model. What has been answered is
kept: stopped, the same command goes on. Beside OUT, OUT.made.json says what it was made of, by what and how.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import read
from sft_sweeps.data.tags import drop_reason
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.json_files import write_json
from sft_sweeps.generate.engine import AnswerEngine, greedy
from sft_sweeps.identity import digest, plain
from sft_sweeps.models.pins import weights_pin
from sft_sweeps.spec.data import Cleaning
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.store.answers import Answer, Journal, write_rows

# As public scripts prompt InsTagger, with no template around it.
PROMPT = (
    "You are a helpful assistant. Please identify tags of user intentions in the following user query and provide an "
    'explanation for each tag. Please respond in the JSON format {"tag": str, "explanation": str}.\n'
    "Query: {query}\nAssistant:"
)
TAG = re.compile(r'"tag"\s*:\s*("(?:[^"\\]|\\.)*")')
BLOCK = 4096  # prompts that are made at once
DROPPED = ("code", "math")  # what the paper drops


@dataclass(frozen=True)
class Asking:
    """How a tagger is asked; lengths in tokens."""

    engine: Engine
    batch_size: int = 64
    max_new_tokens: int = 512
    python: str = ""  # of vLLM's environment


def tag(file: Path, folder: Path, out: Path, asking: Asking, say: Callable[[str], None]) -> None:
    """Write the tags of every conversation of a file that has an id; `say` gets lines of progress and results."""
    examples = _examples(file, say)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    room = int(config["max_position_embeddings"]) - asking.max_new_tokens
    made = {
        "file": content_pin(file)[0],
        "weights": weights_pin(folder),
        "prompt": PROMPT,
        **{key: value for key, value in plain(asking).items() if key not in ("batch_size", "python")},
    }
    journal = Journal(out.with_name(f".{out.name}.{digest(made)}.partial.jsonl"))
    try:
        asker = _Asker(folder, asking, room, journal, say)
        asker.ask([(e.id, turn, prompt) for e in examples for turn, (prompt, _) in enumerate(e.rounds)])
    finally:
        journal.close()
    tags_by_id, without = _gathered(examples, journal)
    write_rows(out, ({"id": row_id, "tags": tags} for row_id, tags in tags_by_id.items()))
    counts = {"conversations": len(examples), "answers": len(journal.rows), "answers_without_tags": without}
    write_json(out.with_name(f"{out.name}.made.json"), {**made, **counts, "queries_cut": asker.cut})
    say(f"{len(examples):,} conversations, {len(journal.rows):,} answers, {without:,} of them without a tag")
    for line in removed(examples, out):
        say(line)
    Path(journal.file.name).unlink()


def _examples(file: Path, say: Callable[[str], None]) -> list[Example]:
    table = read(file, "tag", max_bad_fraction=1.0)
    examples = [example for example in table.examples if example.row_id]
    if not examples:
        raise RequestError(f"{file} has no conversation with an id. Tags are found by ids: add one to each row.")
    if lost := table.rows - len({example.id for example in examples}):
        say(f"{lost:,} of the {table.rows:,} rows have no id or cannot be used, and get no tags")
    return examples


class _Asker:
    """Puts queries to a model that is loaded when the first one is not answered yet."""

    def __init__(self, folder: Path, asking: Asking, room: int, journal: Journal, say: Callable[[str], None]) -> None:
        self.folder, self.asking, self.journal, self.say = folder, asking, journal, say
        self.encoder = Encoder(folder, "vicuna_v1.1", 1 << 30)
        self.cut, self.room = 0, room
        if self.room < len(self.encoder.text_ids(PROMPT)):
            most = f"{asking.max_new_tokens} new tokens leave no room for a query"
            raise RequestError(f"{most} in the context of {folder}; give a smaller --max-new-tokens")

    def ask(self, queries: Sequence[tuple[str, int, str]]) -> None:
        """Every (row, turn, text) that the journal lacks."""
        answered = {(row["id"], row["turn"]) for row in self.journal.rows}
        left = [query for query in queries if query[:2] not in answered]
        if not left:
            return
        engine = engine_of(self.folder, self.asking)
        try:
            for start in range(0, len(left), BLOCK):
                self._block(engine, left[start : start + BLOCK], len(queries))
        finally:
            engine.close()

    def _block(self, engine: AnswerEngine, some: Sequence[tuple[str, int, str]], total: int) -> None:
        def keep(index: int, answer: Answer) -> None:
            row_id, turn, _ = some[index]
            text = self.encoder.decode(answer.ids)
            row = {"id": row_id, "sample": 0, "turn": turn, "answer": text, "ids": [], "finished": answer.finished}
            self.journal.add(row)

        ids = [self.prompt(text) for _, _, text in some]
        prompts = greedy(ids, self.asking.max_new_tokens, self.encoder.eos_id)
        engine.generate(prompts, self.asking.batch_size, keep=keep)
        self.say(f"{len(self.journal.rows):,} of {total:,} queries are answered")

    def prompt(self, query: str) -> list[int]:
        """The ids of a query's prompt; of a query that is too long, of its beginning."""
        ids = self.encoder.text_ids(PROMPT.replace("{query}", query))
        self.cut += len(ids) > self.room
        while len(ids) > self.room:
            query = query[: int(0.95 * len(query) * self.room / len(ids))]
            ids = self.encoder.text_ids(PROMPT.replace("{query}", query))
        return ids


def engine_of(folder: Path, asking: Asking) -> AnswerEngine:
    """The engine with its weights, in as many replicas as the GPUs here hold."""
    from sft_sweeps.generate import hf, replicas
    from sft_sweeps.plan import engines

    names, gigabytes = hf.gpus()
    size = hf.held(folder, asking.engine).size(len(names), gigabytes) if names else 1
    devices = engines.replica_devices(names, size, 0) or [""]
    return replicas.opened(folder, asking.engine, devices, label=folder.name, python=asking.python)


def _gathered(examples: Sequence[Example], journal: Journal) -> tuple[dict[str, list[str]], int]:
    """The tags of each conversation's id, and how many answers hold none; rows of one id have theirs together."""
    names = {example.id: example.row_id for example in examples}
    tags_by_id: dict[str, dict[str, None]] = {row_id: {} for row_id in names.values()}
    without = 0
    for row in journal.rows:
        tags = list(tags_in(row["answer"]))
        without += not tags
        tags_by_id[names[row["id"]]] |= dict.fromkeys(tags)
    return {row_id: list(tags) for row_id, tags in tags_by_id.items()}, without


def tags_in(answer: str) -> Iterator[str]:
    """The tags of an answer, also of one that is cut off or is no whole JSON; never its explanations."""
    for text in TAG.findall(answer):
        try:
            value: Any = json.loads(text, strict=False)
        except ValueError:  # a backslash before what needs none
            value = text[1:-1]
        if value.strip():
            yield value.strip()


def removed(examples: Sequence[Example], tags: Path) -> Iterator[str]:
    """How many conversations the paper's rule drops by these tags, and how many words and code fences would."""
    content = content_pin(tags)[0]
    rules = {name: Cleaning(drop_tags=(name,), tags=content, tags_path=str(tags)) for name in DROPPED}
    rules["either"] = Cleaning(drop_tags=DROPPED, tags=content, tags_path=str(tags))
    counts = [f"{name} {_count(examples, rule):,}" for name, rule in rules.items()]
    yield f"tags drop, of {len(examples):,} conversations: {', '.join(counts)} (clean.tags_file={tags})"
    yield f"words and code fences, which stand in without tags, drop {_count(examples, Cleaning(drop_tags=DROPPED)):,}"


def _count(examples: Sequence[Example], rule: Cleaning) -> int:
    reason = drop_reason(rule)
    return sum(bool(reason(example)) for example in examples)
