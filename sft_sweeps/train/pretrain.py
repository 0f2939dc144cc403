"""Pretraining of the graded miniature's base models: so many documents once, every token learnt, by the stages' engine.

The paper fine-tunes models that can add and have seen programs, and asks how fine-tuning brings that out. A random
initialisation has nothing to bring out: with 1/256 of the data it would stay at 0 of every benchmark.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sft_sweeps.data import graded
from sft_sweeps.data.drawing import Stream
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.execution import TrainExecution
from sft_sweeps.spec.training import Recipe
from sft_sweeps.store import resume_states
from sft_sweeps.train import loop

DOCUMENTS = 96_000  # of about 20 tokens
RECIPE = Recipe(
    epochs=1,
    batch_size=32,
    learning_rate=6e-3,
    warmup_fraction=0.03,
    schedule="cosine",
    weight_decay=0.0,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_epsilon=1e-8,
    max_grad_norm=1.0,
    max_length=256,
    template="vicuna_bare",  # not used: a document is its text, between the tokens for its start and its end
    loss_reduction="token_mean",
    precision="fp32",
    model_dtype="fp32",
    seed=0,
)


def pretrain(drawn: Path, folder: Path, stop: Callable[[], bool]) -> None:
    """Train a drawn initialisation on the documents and write `folder/model`."""
    for _ in loop.train(drawn, folder, list(documents(drawn)), RECIPE, TrainExecution(), stop=stop):
        pass
    resume_states.remove_all(folder)


def documents(tokenizer: Path) -> Iterator[Encoded]:
    """The documents in the tokens of a model's folder."""
    encoder = Encoder(tokenizer, RECIPE.template, RECIPE.max_length)
    start = encoder.prompt_ids([], "")[0]
    for number in range(DOCUMENTS):
        text = graded.document(Stream(f"pretraining/{number}"))
        ids = np.array([start, *encoder.text_ids(text), encoder.eos_id], dtype=np.int32)
        yield Encoded(f"pretraining/{number}", "pretraining", ids, np.arange(len(ids)) > 0)
