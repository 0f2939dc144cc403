"""Models for tests: a LLaMA of a few thousand random weights, which loads in milliseconds, and one that is made up."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from sft_sweeps.data import mini
from sft_sweeps.models import train_tokenizer
from sft_sweeps.store.answers import Answer

POSITIONS = 96
WORDS = Tokenizer.from_file(str(mini.TOKENIZER))


def write(folder: Path, hidden: int = 32) -> Path:
    """The folder of a random LLaMA with the shipped tokenizer.

    Its weights are large, so that no two logits are near each other and every prompt is answered differently.
    """
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=mini.VOCABULARY,
        hidden_size=hidden,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.4 * (32 / hidden) ** 0.5,
        bos_token_id=train_tokenizer.START,
        eos_token_id=train_tokenizer.END,
        pad_token_id=train_tokenizer.UNKNOWN,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    train_tokenizer.copy(mini.TOKENIZER, folder)
    return folder


class FakeEngine:
    """Stands in for HFEngine: answers each prompt by `script`, and no other; a supervised token costs 2 nats."""

    loads = answered = differing = 0
    script: dict[tuple[int, ...], str]

    def __init__(self, _folder: Path, _engine: Any) -> None:
        type(self).loads += 1

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        new: int,
        batch_size: int,
        _eos: int,
        progress: Callable[[int], None],
        *,
        keep: Callable[[int, Answer], None],
        sampling: Sequence[tuple[float, int]],  # noqa: ARG002
    ) -> list[Answer]:
        found = [WORDS.encode(f" {self.script[tuple(prompt)]}").ids for prompt in prompts]
        answers = [Answer(ids[:new], len(ids) < new) for ids in found]
        for start in range(0, len(prompts), batch_size):
            for place, answer in enumerate(answers[start : start + batch_size], start):
                keep(place, answer)
                type(self).answered += 1
            progress(min(start + batch_size, len(prompts)))
        return answers

    def self_check(self, prompts: Sequence[Sequence[int]], _batch_size: int, _eos: int) -> tuple[int, int]:
        return min(len(prompts), 4), self.differing

    def losses(self, encoded: Sequence[Any], progress: Callable[[int], None]) -> list[tuple[float, int]]:
        progress(len(encoded))
        return [(2.0 * float(example.supervised.sum()), int(example.supervised.sum())) for example in encoded]
