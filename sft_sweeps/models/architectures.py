"""What is known of an architecture without torch: the names in its config.json, its parameters and their shapes.

`ARCHITECTURES` has an entry for each `model_type` whose parameters follow from a `Shape`: such a model can be made
here. Of any other decoder that transformers loads, the dimensions are read from config.json by the names that
architectures give them, and the number of weights is counted in its files; what its parameters are and whether it is
trained exactly is asked of transformers itself (train/decoder.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sft_sweeps.spec.training import Shape

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
    query_width, key_width = shape.head_width * shape.heads, shape.head_width * shape.kv_heads
    shapes: Shapes = {
        "model.embed_tokens.weight": (shape.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not shape.tie_embeddings:
        shapes["lm_head.weight"] = (shape.vocab_size, hidden)
    of_layer = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (query_width, hidden),
        "self_attn.k_proj": (key_width, hidden),
        "self_attn.v_proj": (key_width, hidden),
        "self_attn.o_proj": (hidden, query_width),
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
        "head_dim": shape.head_width,
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
    values = {field: config.get(key, LLAMA_DEFAULTS[field]) for field, key in LLAMA_KEYS.items()}
    said: dict[str, Any] = {field: int(value or 0) for field, value in values.items()}
    said["kv_heads"] = said["kv_heads"] or said["heads"]
    vocabulary, tied = int(config.get("vocab_size", 32000)), bool(config.get("tie_word_embeddings", False))
    width = int(config.get("head_dim") or 0)
    head_dim = 0 if width * said["heads"] == said["hidden_size"] else width
    return Shape(**said, vocab_size=vocabulary, tie_embeddings=tied, head_dim=head_dim)


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


# The keys of config.json that hold a decoder's dimensions, the usual one first.
SPELLINGS = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "vocab_size": ("vocab_size",),
    "max_positions": ("max_position_embeddings", "n_positions", "max_seq_len"),
}
# What some architectures imply and leave out of config.json.
IMPLIED = {"kv_heads": "heads", "intermediate_size": "hidden_size"}
TIED = ("cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "gpt2", "starcoder2")  # embeddings, unless they say no


def read_shape(config: Mapping[str, Any], parameters: int = 0) -> Shape:
    """The shape that any decoder's config.json describes; ValueError where it lacks a dimension.

    `parameters` is the number of weights in its files.
    """
    model_type = str(config.get("model_type"))
    if model_type in ARCHITECTURES:
        return ARCHITECTURES[model_type].shape(config)
    found: dict[str, Any] = {field: _spelt(config, keys) for field, keys in SPELLINGS.items()}
    found |= {field: found[other] for field, other in IMPLIED.items() if not found[field]}
    if lacking := [field for field, value in found.items() if value < 1]:
        raise ValueError(f"it has none of {', '.join(SPELLINGS[lacking[0]])}")
    width = _spelt(config, ("head_dim",))
    return Shape(
        **found,
        tie_embeddings=bool(config.get("tie_word_embeddings", model_type in TIED)),
        model_type=model_type,
        head_dim=0 if width * found["heads"] == found["hidden_size"] else width,
        parameters=parameters,
    )


def _spelt(config: Mapping[str, Any], keys: Sequence[str]) -> int:
    value = next((config[key] for key in keys if config.get(key) is not None), 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{' or '.join(keys)} is {value!r:.60}, no whole number")
    return value


def of(shape: Shape) -> Architecture:  # noqa: ARG001
    """The architecture of a model that is made here."""
    return LLAMA


@lru_cache(maxsize=64)
def count_parameters(shape: Shape) -> int:
    """The number of weights of a model of this shape."""
    return shape.parameters or sum(map(math.prod, of(shape).parameters(shape).values()))
