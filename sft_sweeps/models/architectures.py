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
    values = {field: (key, config.get(key, LLAMA_DEFAULTS[field])) for field, key in LLAMA_KEYS.items()}
    said: dict[str, Any] = {field: _whole(key, value) for field, (key, value) in values.items()}
    said["kv_heads"] = said["kv_heads"] or said["heads"]
    vocabulary, tied = _spelt(config, ("vocab_size",)) or 32000, bool(config.get("tie_word_embeddings", False))
    width = _spelt(config, ("head_dim",))
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
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "vocab_size": ("vocab_size",),
    "max_positions": ("max_position_embeddings", "n_positions", "max_seq_len"),
}
MOST_LAYERS = 10_000  # each has tensors that are listed by name
POSITIONS = {"bloom": 2048}  # that it was published for, of what has no table of them (ALiBi, Press et al. 2022)
TIED = ("cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "gpt2", "starcoder2")  # embeddings, unless they say no
# Of those that train/decoder.py was tried on, what keeps examples of one row apart in none: they are padded.
PADDED = ("bloom", "falcon", "gpt_neo", "gpt_neox_japanese", "mpt", "nemotron", "stablelm", "xglm")

# Of those, what computes attention as products of every two tokens, which the backward pass holds: what torch's own
# function does not do (ALiBi's biases, scores without a scale, soft caps).
HOLDS_SCORES = ("bloom", "gemma2", "gpt_neo", "gpt_neox_japanese", "mpt", "vaultgemma", "xglm")


def is_padded(model_type: str) -> bool:
    """Whether an architecture's examples are trained in padded rows, each its own."""
    return model_type in PADDED


def read_shape(config: Mapping[str, Any], parameters: int = 0) -> Shape:
    """The shape that any decoder's config.json describes; ValueError where it lacks a dimension.

    `parameters` is the number of weights in its files.
    """
    model_type = str(config.get("model_type"))
    if model_type in ARCHITECTURES:
        return _sound(ARCHITECTURES[model_type].shape(config))
    found: dict[str, Any] = {field: _spelt(config, keys) for field, keys in SPELLINGS.items()}
    found |= {field: value for field, value in _implied(config, found).items() if not found[field]}
    if _shares_one_key(config):
        found["kv_heads"] = 1
    if lacking := [field for field, value in found.items() if value < 1]:
        raise ValueError(f"it has none of {', '.join(SPELLINGS[lacking[0]])}")
    width = _spelt(config, ("head_dim",))
    made = Shape(
        **found,
        tie_embeddings=bool(config.get("tie_word_embeddings", model_type in TIED)),
        model_type=model_type,
        head_dim=0 if width * found["heads"] == found["hidden_size"] else width,
        parameters=parameters,
    )
    return _sound(made)


def _sound(shape: Shape) -> Shape:
    """The shape; ValueError where it is none of a model."""
    for field in SPELLINGS:
        if getattr(shape, field) < 1:
            raise ValueError(f"its {field.replace('_', ' ')} are {getattr(shape, field)}")
    if shape.layers > MOST_LAYERS:
        raise ValueError(f"its {shape.layers:,} layers are more than any model has ({MOST_LAYERS:,})")
    if shape.heads % shape.kv_heads:
        raise ValueError(f"its {shape.heads} heads cannot share {shape.kv_heads} keys")
    return shape


def _implied(config: Mapping[str, Any], found: Mapping[str, int]) -> dict[str, int]:
    """What config.json leaves out: as many keys as queries, and the width of GPT-2's and its heirs' MLPs."""
    inner = 4 * found["hidden_size"]
    return {
        "kv_heads": found["heads"],
        "intermediate_size": inner,
        "max_positions": POSITIONS.get(str(config.get("model_type")), 0),
    }


def _shares_one_key(config: Mapping[str, Any]) -> bool:
    """Whether all heads share one key and value (Shazeer 2019), as Falcon 7B and StarCoder say it."""
    return bool(config.get("multi_query")) and not config.get("new_decoder_architecture")


def _spelt(config: Mapping[str, Any], keys: Sequence[str]) -> int:
    key = next((key for key in keys if config.get(key) is not None), "")
    return _whole(key, config.get(key))


def _whole(key: str, value: Any) -> int:
    """A value of config.json as a whole number, null as 0; ValueError where it is none."""
    value = 0 if value is None else value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} is {value!r:.60}, no whole number")
    return value


def of(shape: Shape) -> Architecture:  # noqa: ARG001
    """The architecture of a model that is made here."""
    return LLAMA


def mlp_matrices(shape: Shape) -> int:
    """How many matrices an MLP has: 3 with a gate (Shazeer 2020), else 2; from the number of weights."""
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tie_embeddings else 2)
    attention = 2 * shape.hidden_size * shape.head_width * (shape.heads + shape.kv_heads)
    a_layer = (count_parameters(shape) - embeddings) / shape.layers
    return 2 if a_layer - attention < 2.5 * shape.hidden_size * shape.intermediate_size else 3


@lru_cache(maxsize=64)
def count_parameters(shape: Shape) -> int:
    """The number of weights of a model of this shape."""
    return shape.parameters or sum(map(math.prod, of(shape).parameters(shape).values()))
