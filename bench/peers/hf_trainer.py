"""transformers' own Trainer on encoded examples, padded to the longest of a batch, and laid end to end in one row."""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from bench import trl_speed
from bench.peers import training
from bench.peers.peer import Peer


@contextmanager
def way(base: Path, batches: trl_speed.Batches, *, flattened: bool) -> Iterator[trl_speed.Round]:
    """A new trainer for every round, with the model of the last."""
    from transformers import (
        AutoModelForCausalLM,
        DataCollatorForSeq2Seq,
        DataCollatorWithFlattening,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    collator = DataCollatorWithFlattening() if flattened else DataCollatorForSeq2Seq(tokenizer)
    data = trl_speed.dataset(batches)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(output_dir=folder, **trl_speed.SETTINGS)
        given = {"args": settings, "train_dataset": data, "data_collator": collator}
        yield lambda: trl_speed.trained(Trainer(model=model, **given))


WAYS = {
    "padded": partial(way, flattened=False),
    "flattened": partial(way, flattened=True),
}


PEER = Peer(
    name="hf_trainer",
    title="Trainer of transformers",
    package="transformers",
    runs="`Trainer` with a padding and with the flattening collator, same settings as TRL's",
    compare=partial(training.compare, WAYS),
    lacks=lambda: "" if importlib.util.find_spec("accelerate") else "accelerate is not installed: make install",
)
