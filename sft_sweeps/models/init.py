"""A miniature base model: a random initialisation that is the same bytes everywhere.

The weights come from numpy's RandomState, whose stream is frozen, in the order of the parameters' names: normal with
mean 0, norms 1. Neither torch nor transformers takes part, so that the digest of the weights depends on no version of
theirs.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from sft_sweeps.files import fence
from sft_sweeps.models import architectures
from sft_sweeps.models.weights import share
from sft_sweeps.spec.training import Shape

STD = 0.02  # of the normal distribution that LLaMA is initialised from


def initial_weights(shape: Shape, seed: int, std: float = STD) -> dict[str, npt.NDArray[np.float32]]:
    """The weights of the seed, in fp32."""
    stream = np.random.RandomState(seed)
    weights = {}
    for name, dimensions in architectures.of(shape).parameters(shape).items():
        if len(dimensions) == 1:
            weights[name] = np.ones(dimensions, dtype=np.float32)
        else:
            weights[name] = (stream.standard_normal(dimensions) * std).astype(np.float32)
    return weights


def materialise(shape: Shape, seed: int, tokenizer_files: Iterable[Path], folder: Path, std: float = STD) -> None:
    """Write the model's folder with copies of the tokenizer files; nothing happens where it stands already."""
    if folder.is_dir():
        return
    files = list(tokenizer_files)
    writing = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, writing / file.name)
    tokens = _special_tokens(writing)
    _write_json(writing / "config.json", _config(shape, std, tokens))
    _write_json(writing / "generation_config.json", {"_from_model_config": True, **tokens})
    save_file(initial_weights(shape, seed, std), writing / "model.safetensors", metadata={"format": "pt"})
    share(writing)
    try:
        fence.publish(writing, folder)
    except OSError:
        # Another process was faster; what it wrote is the same.
        shutil.rmtree(writing)
        if not folder.is_dir():
            raise


def _config(shape: Shape, std: float, tokens: dict[str, int | None]) -> dict[str, Any]:
    return {
        **architectures.of(shape).config(shape),
        "dtype": "float32",
        "initializer_range": std,
        "torch_dtype": "float32",
        "use_cache": True,
        **tokens,
    }


def _special_tokens(folder: Path) -> dict[str, int | None]:
    """The ids of the tokens that tokenizer_config.json names; null, and not LLaMA's defaults, where there is none."""
    named, vocabulary = folder / "tokenizer_config.json", folder / "tokenizer.json"
    config = json.loads(named.read_text(encoding="utf-8")) if named.is_file() else {}
    tokenizer = Tokenizer.from_file(str(vocabulary)) if vocabulary.is_file() else None
    ids: dict[str, int | None] = {}
    for key in ("bos_token", "eos_token", "pad_token"):
        value = config.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        ids[f"{key}_id"] = tokenizer.token_to_id(content) if tokenizer and isinstance(content, str) else None
    return ids


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
