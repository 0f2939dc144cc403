"""Any decoder that transformers loads: what its parameters are, and whether it is trained exactly here.

Asked of transformers itself, in a process of its own (`python -m sft_sweeps.train.decoder FOLDER`), as planning imports
no torch. Its model is made twice: without memory, for the names and shapes of the parameters, and tiny, with the same
layers as config.json asks for. On the tiny one, loss and gradients of a step of packed rows (train/head.py,
train/attention.py) are compared with transformers' own forward of padded rows, in fp32. What is not the same is
refused, whatever it is called.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.train import attention, head
from sft_sweeps.train.loss import Bin, to_bin

LENGTHS = (17, 9, 3, 13)  # of the tiny model's examples
WINDOW = 6  # of its sliding layers, so that it matters
SPREAD = 0.15  # standard deviation of its weights: attention that is not uniform, and gradients that do not explode
TOLERANCE = 1e-5  # of the loss, and of each gradient's largest number
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
TINY = {
    "vocab_size": 96,
    "intermediate_size": 64,
    "n_inner": 64,
    "ffn_dim": 64,
    "max_position_embeddings": 128,
    "n_positions": 128,
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
        return f"a {kind} model also sees or hears; take the language model of its family, e.g. gemma3_text of gemma3"
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
    said = config.to_dict()
    heads, shared = (
        int(said.get(key) or said.get("n_head") or 1) for key in ("num_attention_heads", "num_key_value_heads")
    )
    groups = max(1, heads // shared)
    changed: dict[str, Any] = {key: value for key, value in TINY.items() if said.get(key) is not None}
    few = 4 * groups if groups <= 4 else groups
    for names, value in (
        (("num_attention_heads", "n_head"), few),
        (("num_key_value_heads",), few // groups),
        (("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), 16 * few),
        (("head_dim",), 16),
        (("sliding_window",), WINDOW),
    ):
        changed |= {name: value for name in names if said.get(name) is not None}
    layers = _layers(said)
    changed |= {key: len(layers) for key in ("num_hidden_layers", "n_layer") if said.get(key) is not None}
    if said.get("layer_types"):
        changed |= {"layer_types": layers}
    if isinstance(said.get("query_pre_attn_scalar"), int):
        changed["query_pre_attn_scalar"] = 16
    return type(config).from_dict({**said, **changed})


def _layers(said: dict[str, Any]) -> list[str]:
    """The types of four layers, each type that the model has among them."""
    count = int(said.get("num_hidden_layers") or said.get("n_layer") or 4)
    types: list[str] = list(said.get("layer_types") or ["full_attention"] * count)
    kinds = list(dict.fromkeys(types))
    return (kinds * 4)[: min(4, max(len(types), len(kinds)))]


def difference(config: PretrainedConfig) -> float:
    """How far the packed step of a tiny model is from transformers' own: of its loss, or of a gradient, relative."""
    generator = torch.Generator().manual_seed(0)
    theirs, ours = (
        kind._from_config(tiny(config), dtype=torch.float32, attn_implementation=name)
        for kind, name in ((_class(config), "eager"), (head.trained_class(config), attention.NAME))
    )
    for name, parameter in theirs.named_parameters():
        centre = 0.0 if parameter.dim() > 1 or name.endswith("bias") else 0.5
        parameter.data = centre + SPREAD * torch.randn(parameter.shape, generator=generator)
    ours.load_state_dict(theirs.state_dict())
    examples = [torch.randint(3, TINY["vocab_size"], (length,), generator=generator) for length in LENGTHS]
    losses = [_padded(theirs, examples), ours(_packed(examples))]
    for loss in losses:
        loss.backward()
    pairs = zip(theirs.named_parameters(), ours.named_parameters(), strict=True)
    apart = [_apart(*losses)] + [_apart(a.grad, b.grad) for (_, a), (_, b) in pairs if a.grad is not None]
    return max(apart)


def _apart(expected: Tensor, found: Tensor | None) -> float:
    if found is None or not bool(torch.isfinite(expected).all()):
        return float("inf")
    expected, found = expected.detach(), found.detach()
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


def _packed(examples: list[Tensor]) -> Bin:
    """The same examples as one bin, all of their tokens supervised."""
    encoded = [Encoded(str(n), "", ids.numpy(), np.ones(len(ids), dtype=np.bool_)) for n, ids in enumerate(examples)]
    return to_bin(encoded, [1.0] * len(encoded), torch.device("cpu"))


def examine(folder: Path) -> dict[str, Any]:
    """What is wrong with training a folder's model, "" where nothing is, and the shapes of its parameters."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if problem := refusal(config):
            return {"problem": problem, "parameters": {}}
        model = without_memory(config)
        return {"problem": inexact(config, model), "parameters": parameters(model)}
    except Exception as error:  # whatever a configuration makes transformers raise
        text = str(error).strip().partition("\n")[0]
        why = f"transformers cannot make a model of config.json ({type(error).__name__}: {text:.200})"
        return {"problem": why, "parameters": {}}


def inexact(config: PretrainedConfig, model: Any) -> str:
    """Why a model of this configuration, which was made without memory, would not be trained exactly, or ""."""
    if differ := _layer_classes(model) ^ _layer_classes(without_memory(tiny(config))):
        return f"a {config.model_type} model cannot be tried in small: {', '.join(sorted(differ))} would differ"
    try:
        apart = difference(config)
    except (TypeError, KeyError, RuntimeError, ValueError, AttributeError) as error:
        return (
            f"a {config.model_type} model does not take rows without padding ({type(error).__name__}: {error!s:.120})"
        )
    if apart <= TOLERANCE:
        return ""
    return (
        f"a {config.model_type} model is not trained exactly on rows without padding: a tiny one is {apart:.1g} away "
        "from transformers' own loss or gradients"
    )


def _layer_classes(model: Any) -> set[str]:
    return {type(module).__name__ for module in model.modules()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(examine(Path(sys.argv[1]))))
