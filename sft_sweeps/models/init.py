"""A miniature base model: a random initialisation that is the same bytes everywhere.

The weights come from numpy's RandomState, whose stream is frozen, in the order of the parameters' names: normal with
mean 0, norms 1. Neither torch nor transformers takes part, so that the digest of
the weights depends on no version of theirs.
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

from sft_sweeps.models.weights import share
from sft_sweeps.spec import Shape

STD = 0.02  # of the normal distribution that LLaMA is initialised from


def parameters(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The parameters of a LLaMA of this shape by name, sorted."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    key_width = hidden // shape.heads * shape.kv_heads
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not shape.tie_embeddings:
        found["lm_head.weight"] = (shape.vocab_size, hidden)
    for layer in range(shape.layers):
        of_layer = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (key_width, hidden),
            "self_attn.v_proj": (key_width, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        found |= {f"model.layers.{layer}.{name}.weight": dimensions for name, dimensions in of_layer.items()}
    return dict(sorted(found.items()))


def initial_weights(shape: Shape, seed: int, std: float = STD) -> dict[str, npt.NDArray[np.float32]]:
    """The weights of the seed, in fp32."""
    stream = np.random.RandomState(seed)
    weights = {}
    for name, dimensions in parameters(shape).items():
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
        writing.rename(folder)
    except OSError:
        # Another process was faster; what it wrote is the same.
        shutil.rmtree(writing)
        if not folder.is_dir():
            raise


def _config(shape: Shape, std: float, tokens: dict[str, int | None]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "head_dim": shape.hidden_size // shape.heads,
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "initializer_range": std,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_positions,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tie_embeddings,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": shape.vocab_size,
        **tokens,
    }


def _special_tokens(folder: Path) -> dict[str, int | None]:
    """The ids of the tokens that tokenizer_config.json names; null, and not LLaMA's defaults, where there is none."""
    named, vocabulary = folder / "tokenizer_config.json", folder / "tokenizer.json"
    config = json.loads(named.read_text(encoding="utf-8")) if named.is_file() else {}
    tokenizer = Tokenizer.from_file(str(vocabulary)) if vocabulary.is_file() else None
    found: dict[str, int | None] = {}
    for key in ("bos_token", "eos_token", "pad_token"):
        value = config.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        found[f"{key}_id"] = tokenizer.token_to_id(content) if tokenizer and isinstance(content, str) else None
    return found


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
