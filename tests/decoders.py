"""The families of decoders that are tried, tiny ones of them, and what such a one answers."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sft_sweeps.generate.engine import greedy
from sft_sweeps.generate.hf import HFEngine
from sft_sweeps.models import architectures
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.train import decoder

# Rows of several examples. With grouped heads, query-key norms, sliding windows, soft caps, scaled logits, biases,
# fused weights, tied heads, partial and interleaved rotation, norms before and behind, learned positions, latent
# attention.
PACKED = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "olmo3", "smollm3"),
    *("phi", "phi3", "granite", "cohere", "cohere2", "glm", "glm4", "starcoder2", "exaone4", "helium", "seed_oss"),
    *("ernie4_5", "arcee", "apertus", "gpt2", "gpt_bigcode", "opt", "gpt_neox", "gptj", "codegen", "biogpt"),
    *("persimmon", "ministral3", "minicpm3", "nanochat", "vaultgemma", "bitnet", "ctrl", "cwm"),
)
PADDED = architectures.PADDED
FAMILIES = (*PACKED, *PADDED)
CHANGES: dict[str, dict[str, Any]] = {  # what transformers' own defaults leave out, and windows that are off
    "qwen2": {"use_sliding_window": True},
    "qwen3": {"use_sliding_window": True},
    "nemotron": {"num_key_value_heads": 8},
}


def made(family: str, **changes: Any) -> Any:
    """The family's configuration, without dropout."""
    config = CONFIG_MAPPING[family](**CHANGES.get(family, {}), **changes)
    for key, value in config.to_dict().items():
        if decoder._drops(key, value):
            setattr(config, key, 0.0)
    return config


@cache
def apart(family: str) -> float:
    """How far a tiny one's loss and gradients are from transformers' own, in the way in which it is trained."""
    return decoder.difference(made(family), padded=family in PADDED)


def saved(family: str, folder: Path) -> Path:
    """A tiny model of a family as transformers writes it."""
    torch.manual_seed(0)
    config = decoder.tiny(made(family))
    config.vocab_size, config.max_position_embeddings = 97, 256
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


PROMPTS = [np.random.RandomState(length).randint(3, 90, length).tolist() for length in (3, 17, 9, 30, 5)]
END, NEW = 2, 8


def generated(model: Any) -> list[list[int]]:
    """What transformers answers, one prompt at a time."""
    how = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": END, "pad_token_id": 0}
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), **how)[0, len(prompt) :].tolist()
        found.append(answer[:-1] if answer[-1] == END else answer)
    return found


def answered(folder: Path) -> list[list[int]]:
    """What is answered here, some at a time."""
    engine = HFEngine(folder, Engine("hf", "5", "fp32"))
    return [list(answer.ids) for answer in engine.generate(greedy(PROMPTS, NEW, END), 3)]
