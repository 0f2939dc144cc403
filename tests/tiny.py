"""Models for tests: a LLaMA of a few thousand random weights, which loads in milliseconds, and one that is made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from sft_sweeps.data import mini
from sft_sweeps.generate.engine import Keep, Progress, Prompts, Sampling, greedy, no_progress, not_kept
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


def prompts(ids: Sequence[Sequence[int]], limit: int, sampling: Sequence[tuple[float, int]] = ()) -> Prompts:
    """Prompts with one limit, the end token 2, and (temperature, seed) of each, or the likeliest tokens."""
    given = greedy(ids, limit, 2)
    return replace(given, sampling=[Sampling(*each) for each in sampling]) if sampling else given


class FakeEngine:
    """Stands in for HFEngine: answers each prompt by `script`, and no other; a supervised token costs 2 nats."""

    loads = answered = differing = 0
    script: dict[tuple[int, ...], str]

    def __init__(self, _folder: Path, _engine: Any) -> None:
        type(self).loads += 1

    def generate(
        self, prompts: Prompts, batch_size: int, *, progress: Progress = no_progress, keep: Keep = not_kept
    ) -> list[Answer]:
        written = [WORDS.encode(f" {self.script[tuple(ids)]}").ids for ids in prompts.ids]
        limited = zip(written, prompts.limits, strict=True)
        answers = [Answer(ids[:limit], len(ids) < limit) for ids, limit in limited]
        for start in range(0, len(prompts), batch_size):
            for index, answer in enumerate(answers[start : start + batch_size], start):
                keep(index, answer)
                type(self).answered += 1
            progress(min(start + batch_size, len(prompts)))
        return answers

    def self_check(self, prompts: Prompts, _batch_size: int) -> tuple[int, int]:
        return min(len(prompts), 4), self.differing

    def losses(self, encoded: Sequence[Any], progress: Progress = no_progress) -> list[tuple[float, int]]:
        progress(len(encoded))
        return [(2.0 * float(example.supervised.sum()), int(example.supervised.sum())) for example in encoded]

    def close(self) -> None:
        """Nothing was started."""
