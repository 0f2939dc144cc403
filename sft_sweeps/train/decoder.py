"""Any decoder that transformers loads: what its parameters are, and whether it is trained exactly here.

Asked of transformers itself, in a process of its own (`python -m sft_sweeps.train.decoder FOLDER`), as planning imports
no torch. Its model is made twice: without memory, for the names and shapes of the parameters, and tiny, with the same
layers as config.json asks for. On the tiny one, loss and gradients of a step of packed rows (train/head.py,
train/attention.py) are compared with transformers' own forward of padded rows, in fp32. What is not the same is
tried in padded rows, and refused where it is not the same there either, whatever it is called.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, DynamicCache, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.train import attention, head
from sft_sweeps.train.loss import Bin, to_bin

LENGTHS = (17, 9, 3, 13)  # of the tiny model's examples
WINDOW = 6  # of its sliding layers, so that it matters
SPREAD = 0.15  # standard deviation of its weights: attention that is not uniform, and gradients that do not explode
TOLERANCE = 1e-5  # of the loss, and of each gradient's largest number
# Of the largest gradient: one that is 0 but for rounding, such as that of the biases of keys without rotation, of which
# softmax knows nothing.
ROUNDING = 1e-6
SMALL = 30_000_000  # weights of a tiny model at most
REMOTE = (
    "transformers has no model of its type, and code that comes with one (auto_map) is not run; use a model that "
    "transformers knows"
)
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
TINY = {
    "vocab_size": 96,
    "intermediate_size": 64,
    "n_inner": 64,
    "ffn_dim": 64,
    "ffn_hidden_size": 64,
    "max_position_embeddings": 128,
    "n_positions": 128,
    "max_seq_len": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def refusal(config: PretrainedConfig) -> str:
    """Why a model of this configuration is not trained, or ""."""
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        return f"a {kind} model reads with an encoder; only decoders are trained"
    if getattr(config, "vision_config", None) or getattr(config, "audio_config", None):
        return (
            f"a {kind} model also sees or hears; its language model is trained, in a folder of its own: docs/models.md"
        )
    if any((getattr(config, key, 0) or 0) > 1 for key in EXPERTS):
        return f"a {kind} model is a mixture of experts, on which training is not tested"
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return f"transformers has no language model of type {kind}"
    if dropped := [key for key, value in config.to_dict().items() if _drops(key, value)]:
        return f"config.json sets {dropped[0]}={getattr(config, dropped[0])}. Dropout is refused: set it to 0"
    return ""


def _drops(key: str, value: Any) -> bool:
    named = "dropout" in key or key.endswith("_pdrop")
    return named and not key.startswith("classifier") and isinstance(value, int | float) and value > 0


def without_memory(config: PretrainedConfig) -> Any:
    """Transformers' model, whose weights have shapes and no numbers."""
    with torch.device("meta"):
        model = _class(config)(config)
    model.tie_weights()
    return model


def parameters(model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights by name."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _class(config: PretrainedConfig) -> Any:
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def tiny(config: PretrainedConfig) -> PretrainedConfig:
    """The same architecture, small: heads of 16 numbers, four layers at most, sliding windows of few tokens."""
    said, own = config.to_dict(), config.attribute_map
    heads = int(said.get(own.get("num_attention_heads", "num_attention_heads")) or 1)
    shared = next((int(said[key]) for key in ("num_key_value_heads", "num_kv_heads") if said.get(key)), heads)
    groups = max(1, heads // shared)
    changed: dict[str, Any] = {key: value for key, value in TINY.items() if said.get(key) is not None}
    few = 4 * groups if groups <= 4 else groups
    for names, value in (
        ((own.get("num_attention_heads", "num_attention_heads"),), few),
        (("num_key_value_heads", "num_kv_heads"), few // groups),
        ((own.get("hidden_size", "hidden_size"), "word_embed_proj_dim"), 16 * few),
        (("head_dim",), 16),
        (("sliding_window", "window_size"), WINDOW),
        (("rotary_dim",), 8),
    ):
        changed |= {name: value for name in names if said.get(name) is not None}
    layers = _layers(said, config.num_hidden_layers)
    changed[own.get("num_hidden_layers", "num_hidden_layers")] = len(layers)
    if said.get("layer_types"):
        changed |= {"layer_types": layers}
    if said.pop("attention_types", None):  # GPT-Neo's, which it writes out once more
        said.pop("attention_layers", None)
        changed |= {"attention_types": [[["global", "local"], len(layers) // 2]]}
    if isinstance(said.get("query_pre_attn_scalar"), int):
        changed["query_pre_attn_scalar"] = 16
    return type(config).from_dict({**said, **changed})


def _layers(said: dict[str, Any], count: int) -> list[str]:
    """The types of four layers, each type that the model has among them."""
    types: list[str] = list(said.get("layer_types") or ["full_attention"] * count)
    kinds = list(dict.fromkeys(types))
    return (kinds * 4)[: min(4, max(len(types), len(kinds)))]


def difference(config: PretrainedConfig, *, padded: bool = False) -> float:
    """How far a step of a tiny model is from transformers' own: of its loss, or of a gradient, relative."""
    generator = torch.Generator().manual_seed(0)
    settings = {"dtype": torch.float32}
    theirs = _class(config)._from_config(tiny(config), attn_implementation="eager", **settings)
    own_attention = {} if padded else {"attn_implementation": attention.NAME}
    ours = head.trained_class(config, padded=padded)._from_config(tiny(config), **own_attention, **settings)
    for name, parameter in theirs.named_parameters():
        centre = 0.0 if parameter.dim() > 1 or name.endswith("bias") else 0.5
        parameter.data = centre + SPREAD * torch.randn(parameter.shape, generator=generator)
    ours.load_state_dict(theirs.state_dict())
    examples = [torch.randint(3, TINY["vocab_size"], (length,), generator=generator) for length in LENGTHS]
    losses = [_padded(theirs, examples), ours(_bin(examples, padded=padded))]
    for loss in losses:
        loss.backward()
    pairs = zip(theirs.named_parameters(), ours.named_parameters(), strict=True)
    gradients = [(a.grad, b.grad) for (_, a), (_, b) in pairs if a.grad is not None]
    nothing = ROUNDING * max(float(expected.abs().max()) for expected, _ in gradients)
    return max(_apart(*losses), *(_apart(expected, found, nothing) for expected, found in gradients))


def _apart(expected: Tensor, found: Tensor | None, nothing: float = 0.0) -> float:
    """Relative to the largest number; 0 where both are `nothing` but for rounding."""
    if found is None or not bool(torch.isfinite(expected).all()):
        return float("inf")
    expected, found = expected.detach(), found.detach()
    if max(float(expected.abs().max()), float(found.abs().max())) < nothing:
        return 0.0
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-9))


def _padded(model: Any, examples: list[Tensor]) -> Tensor:
    """The sum of the tokens' losses as transformers computes them, rows padded on the right."""
    ids = torch.nn.utils.rnn.pad_sequence(examples, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(example) for example in examples], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return sum(  # type: ignore[return-value]
        torch.nn.functional.cross_entropy(row[: len(example) - 1], example[1:], reduction="sum")
        for row, example in zip(logits, examples, strict=True)
    )


def _bin(examples: list[Tensor], *, padded: bool) -> Bin:
    """The same examples as one bin, all of their tokens supervised."""
    encoded = [Encoded(str(n), "", ids.numpy(), np.ones(len(ids), dtype=np.bool_)) for n, ids in enumerate(examples)]
    return to_bin(encoded, [1.0] * len(encoded), torch.device("cpu"), padded=padded)


def examine(folder: Path) -> dict[str, Any]:
    """What is wrong with training a folder's model, "" where nothing is, and the shapes of its parameters.

    The keys are those of models/folder.py's `Examined`.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if problem := refusal(config):
            return {"problem": problem, "parameters": {}}
        model = without_memory(config)
        if too_large := _too_large(config) or without_cache(config):
            return {"problem": too_large, "parameters": {}}
        packed = inexact(config, model)
        padded = inexact(config, model, padded=True) if packed else ""
        return {"problem": "", "packed": packed, "padded": padded, "parameters": parameters(model)}
    except Exception as error:  # whatever a configuration makes transformers raise
        if "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
            return {"problem": REMOTE, "parameters": {}}
        text = str(error).strip().partition("\n")[0]
        why = f"transformers cannot make a model of config.json ({type(error).__name__}: {text:.200})"
        return {"problem": why, "parameters": {}}


def inexact(config: PretrainedConfig, model: Any, *, padded: bool = False) -> str:
    """Why a model of this configuration, which was made without memory, would not be trained exactly, or ""."""
    how = "with padding" if padded else "without padding"
    if differ := _layer_classes(model) ^ _layer_classes(without_memory(tiny(config))):
        return f"a {config.model_type} model cannot be tried in small: {', '.join(sorted(differ))} would differ"
    try:
        apart = difference(config, padded=padded)
    except (TypeError, KeyError, RuntimeError, ValueError, AttributeError) as error:
        return f"a {config.model_type} model does not take rows {how} ({type(error).__name__}: {error!s:.120})"
    if apart <= TOLERANCE:
        return ""
    return (
        f"a {config.model_type} model is not trained exactly on rows {how} (a tiny one is {apart:.1g} away from "
        "transformers' own loss or gradients)"
    )


def _too_large(config: PretrainedConfig) -> str:
    """Why a tiny model of a configuration would not be tiny, or ""."""
    size = sum(parameter.numel() for parameter in without_memory(tiny(config)).parameters())
    return f"a {config.model_type} model cannot be tried in small: one has {size:,} weights" if size > SMALL else ""


def without_cache(config: PretrainedConfig) -> str:
    """Why a model could not answer (generate/decode.py): what it keeps of a prompt are not keys and values; or ""."""
    model = _class(config)._from_config(tiny(config), dtype=torch.float32).eval()
    cache, ids = DynamicCache(config=model.config), torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        model(input_ids=ids, attention_mask=torch.ones_like(ids), cache=cache, use_cache=True)
    kept = [getattr(layer, "keys", None) for layer in cache.layers]
    if len(kept) == model.config.num_hidden_layers and all(keys is not None and keys.numel() for keys in kept):
        return ""
    return f"a {config.model_type} model keeps no keys and values of every layer, with which prompts are answered"


def _layer_classes(model: Any) -> set[str]:
    return {type(module).__name__ for module in model.modules()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(examine(Path(sys.argv[1]))))
