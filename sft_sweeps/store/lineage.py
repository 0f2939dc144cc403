"""What is made of what, as a tracker's artifacts: sources, models, answers and scores, by reference to where they lie.

A name ends in an identity, so that what one run makes is what the next one uses, from source to score.
"""

import contextlib
from typing import Any

from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import digest, plain
from sft_sweeps.models import hub_cache
from sft_sweeps.plan.build import Subject
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.evaluation import Generation, Score
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.answers import ITEMS, VERDICTS
from sft_sweeps.store.store import RECORD, Store
from sft_sweeps.tracking.base import Artifact

DATA = "data.json"


def used(subject: Subject, store: Store) -> tuple[Artifact, ...]:
    """What a stage is trained from: its parent's model, and its sources; the models that a merge is the average of.

    A base model is made of nothing.
    """
    if isinstance(subject, Merge):
        return tuple(model(stage, store) for stage in subject.parents)
    if not isinstance(subject, Stage):
        return ()
    return (model(subject.parent, store), *(source(c.source) for c in subject.mixture.components))


def made(stage: Stage, store: Store) -> tuple[Artifact, ...]:
    """The model, and which examples it was trained on."""
    path = store.read_folder(stage) / DATA
    counts: dict[str, Any] = {c.source.name: c.examples for c in stage.mixture.components}
    return (model(stage, store), Artifact(f"examples-{stage.id}", "data", {DATA: str(path)}, counts))


def source(of: Source) -> Artifact:
    """A source by its content, whose name is enough where the file is elsewhere."""
    facts = {"content": of.content, "rows": of.rows, "format": of.format, "ability": of.ability}
    files = {of.name: of.path} if of.path else {}
    return Artifact(f"source-{of.name}-{digest([of.name, of.content])}", "data", files, facts)


def model(subject: Subject, store: Store) -> Artifact:
    """Weights, with the digest that their record has; of the hub's by their address."""
    name, revision = hub_cache.repository_and_revision(subject.weights) if isinstance(subject, Model) else ("", "")
    where = f"https://huggingface.co/{name}/tree/{revision}" if name else str(store.weights(subject))
    record: Any = None
    if subject.made:
        with contextlib.suppress(OSError, ValueError):  # damaged: the next launch makes it again
            record = read_json(store.read_folder(subject) / RECORD)
    weights_digest = record.get("digest", "") if isinstance(record, dict) else ""
    facts = {"label": subject.label, "digest": weights_digest, "weights": subject.model.weights}
    return Artifact(f"model-{subject.id}", "model", {"model": where}, facts)


def answers(of: Generation, store: Store) -> Artifact:
    """A model's answers to one benchmark."""
    facts = {"benchmark": of.benchmark.name, "items": of.benchmark.examples, "samples": of.benchmark.samples}
    return Artifact(f"answers-{of.id}", "answers", {ITEMS: str(store.read_folder(of) / ITEMS)}, facts)


def scores(of: Score, store: Store) -> Artifact:
    """The record of a score, and the verdicts that it rests on."""
    folder = store.read_folder(of)
    files = {RECORD: str(folder / RECORD), VERDICTS: str(folder / VERDICTS)}
    return Artifact(f"scores-{of.id}", "scores", files, {"scorer": of.scorer, "version": of.version})


def training(stage: Stage) -> dict[str, Any]:
    """What a training run says of itself, while it is trained and afterwards."""
    mixture = {c.source.name: {"fraction": str(c.fraction), "examples": c.examples} for c in stage.mixture.components}
    return {"recipe": plain(stage.recipe), "mixture": mixture, "identity": {"id": stage.id, "parent": stage.parent.id}}
