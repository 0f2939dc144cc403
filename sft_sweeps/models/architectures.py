"""What is known of an architecture without torch: the names in its config.json, its parameters and their shapes.

`ARCHITECTURES` has one entry for each `model_type` on which training is exact. Other distributions cannot add one: its
layers are in train/layers.py and train/head.py. A `Shape` is a LLaMA's until it says otherwise, so what follows from a
shape alone is asked of `of(shape)`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sft_sweeps.spec import Shape

Shapes = dict[str, tuple[int, ...]]  # of parameters, by name


@dataclass(frozen=True)
class Architecture:
    """One kind of model.

    `config_keys` are the keys of config.json that hold a `Shape`'s fields, `parameters` the shapes of all weights by
    name, sorted, `config` what a config.json of that shape says of the architecture, `shape` the shape that a
    config.json describes, with transformers' values for what it leaves out.
    """

    config_keys: Mapping[str, str]
    parameters: Callable[[Shape], Shapes]
    config: Callable[[Shape], dict[str, Any]]
    shape: Callable[[Mapping[str, Any]], Shape]


def _llama_parameters(shape: Shape) -> Shapes:
    hidden, inner = shape.hidden_size, shape.intermediate_size
    key_width = hidden // shape.heads * shape.kv_heads
    shapes: Shapes = {
        "model.embed_tokens.weight": (shape.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not shape.tie_embeddings:
        shapes["lm_head.weight"] = (shape.vocab_size, hidden)
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
    for layer in range(shape.layers):
        shapes |= {f"model.layers.{layer}.{name}.weight": dimensions for name, dimensions in of_layer.items()}
    return dict(sorted(shapes.items()))


LLAMA_KEYS = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "max_positions": "max_position_embeddings",
}


def _llama_config(shape: Shape) -> dict[str, Any]:
    return {
        **{key: getattr(shape, field) for field, key in LLAMA_KEYS.items()},
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "head_dim": shape.hidden_size // shape.heads,
        "hidden_act": "silu",
        "mlp_bias": False,
        "model_type": "llama",
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tie_embeddings,
        "vocab_size": shape.vocab_size,
    }


def _llama_shape(config: Mapping[str, Any]) -> Shape:
    said = {field: int(config.get(key, LLAMA_DEFAULTS[field]) or 0) for field, key in LLAMA_KEYS.items()}
    said["kv_heads"] = said["kv_heads"] or said["heads"]
    vocabulary, tied = int(config.get("vocab_size", 32000)), bool(config.get("tie_word_embeddings", False))
    return Shape(**said, vocab_size=vocabulary, tie_embeddings=tied)


LLAMA_DEFAULTS = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "layers": 32,
    "heads": 32,
    "kv_heads": 0,
    "max_positions": 2048,
}
LLAMA = Architecture(LLAMA_KEYS, _llama_parameters, _llama_config, _llama_shape)
ARCHITECTURES = {"llama": LLAMA}


def of(shape: Shape) -> Architecture:  # noqa: ARG001
    """The architecture of a model of this shape."""
    return LLAMA


@lru_cache(maxsize=64)
def count_parameters(shape: Shape) -> int:
    """The number of weights of a model of this shape."""
    return sum(map(math.prod, of(shape).parameters(shape).values()))
