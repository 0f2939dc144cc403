"""The finished weights of a stage as a Hugging Face folder that loads anywhere.

The weights are gathered one parameter at a time and written shard by shard under a temporary name; `model/` appears
whole or not at all. Configuration and tokenizer are the parent's, with the number format of these weights.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig

from sft_sweeps.errors import RunError
from sft_sweeps.files import fence
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models import merging, weights
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models import train_tokenizer as tokenizers
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.models.adapter import Parts
from sft_sweeps.models.arrays import STORED
from sft_sweeps.train import ranks
from sft_sweeps.train.adapter import pairs_of
from sft_sweeps.train.engine import TrainEngine

FOLDER = "model"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def save_model(
    engine: TrainEngine, parent: Path, folder: Path, dtype: str, *, tokenizer: Path, chat_template: str = ""
) -> str:
    """Write `folder/model`, on every rank, and return the digest of its weights.

    `tokenizer` is the folder of the one that it was trained with. An empty `chat_template` keeps the parent's.
    """
    if engine.rank != 0:
        for _ in engine.full_weights():
            pass
        return str(ranks.from_first(""))
    try:
        with fence.new_folder(folder / FOLDER) as writing:
            _write_weights(engine, writing, DTYPES[dtype])
            checkpoint.copy_config(parent, writing, dtype)
            _write_beside(engine, parent, writing, tokenizer=tokenizer, chat_template=chat_template)
            weights.share(writing)
            if wrong := checkpoint.unfinished(writing, engine.shapes(), STORED[dtype], bool(chat_template)):
                raise RunError(f"the model of {folder} was not written as it should be: {'; '.join(wrong[:3])}")
            digest = weights.digest(writing)
    except OSError as error:
        raise RunError(f"the model of {folder} could not be written: {error}") from None
    return str(ranks.from_first(digest))


def save_adapter(
    engine: TrainEngine, parent: Path, folder: Path, *, base: str, tokenizer: Path, chat_template: str = ""
) -> str:
    """The same of what a stage with an adapter has trained: `folder/adapter`, as PEFT loads it onto `base`."""
    assert engine.adapter
    full = {name: tensor.to("cpu", copy=True) for name, tensor in engine.full_weights()}
    if engine.rank != 0:
        return str(ranks.from_first(""))
    try:
        with fence.new_folder(folder / ADAPTER) as writing:
            digest = engine.adapter.save(pairs_of(full), writing, base)
            _write_beside(engine, parent, writing, tokenizer=tokenizer, chat_template=chat_template)
    except OSError as error:
        raise RunError(f"the adapter of {folder} could not be written: {error}") from None
    return str(ranks.from_first(digest))


def merge_adapter(parts: Parts, folder: Path, dtype: str) -> None:
    """Write `folder/model`, the adapter that lies there merged into what it lies on. Every rank calls it."""
    own = Parts(parts.whole, (*parts.adapters, folder / ADAPTER), dtype)
    ranks.by_first(lambda: merging.merge(own, folder / FOLDER))


def _write_weights(engine: TrainEngine, folder: Path, dtype: torch.dtype) -> None:
    sizes = {name: torch.Size(shape).numel() * dtype.itemsize for name, shape in engine.shapes().items()}
    shard_names = weights.shard_names(sizes, weights.SHARD_BYTES)
    for file, shard in _shards(engine.full_weights(), shard_names, dtype):
        save_file(shard, folder / file, metadata={"format": "pt"})
    weights.write_index(folder, shard_names, sum(sizes.values()))


def _shards(
    full: Iterator[tuple[str, Tensor]], shard_names: dict[str, str], dtype: torch.dtype
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The shards one after the other; no more than one is held."""
    file, shard = "", dict[str, Tensor]()
    for name, tensor in full:
        if shard_names[name] != file and shard:
            yield file, shard
            shard = {}
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(f"{name} holds NaN or infinite numbers: the model is not written.")
        file = shard_names[name]
        shard[name] = tensor.to("cpu", dtype, copy=True).contiguous()
    yield file, shard


def _write_beside(engine: TrainEngine, parent: Path, folder: Path, *, tokenizer: Path, chat_template: str) -> None:
    """Tokenizer, chat template and how to generate."""
    if tokenizer.is_file():
        tokenizers.copy(tokenizer, folder)
    weights.copy((*weights.TOKENIZER_FILES, weights.CHAT_TEMPLATE), tokenizer, folder)
    weights.copy(("generation_config.json",), parent, folder)
    vocabulary.complete(folder)
    if not (folder / "generation_config.json").is_file():
        GenerationConfig.from_model_config(engine.deepspeed.module.config).save_pretrained(folder)
    if chat_template:
        (folder / weights.CHAT_TEMPLATE).write_text(chat_template, encoding="utf-8")
