"""Adapters: a packed step is PEFT's own, whatever the processes; what is saved is what PEFT loads, and merges to."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training import RECIPE, Job, Outcome, examples, run

from sft_sweeps.data.encode import batches
from sft_sweeps.models import merging
from sft_sweeps.models.adapter import Parts
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.train import decoder

LORA = Adapter("lora", rank=4, alpha=8.0)
STEPS = 4


def saved(family: str, folder: Path) -> Path:
    """A tiny model of a family as transformers writes it."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.manual_seed(0)
    quiet = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if family == "gpt2" else {}
    config = decoder.tiny(CONFIG_MAPPING[family](**quiet))
    config.vocab_size, config.max_position_embeddings = 97, 256
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def oracle(base: Path, adapter: Path, steps: int = STEPS) -> tuple[Any, list[tuple[float, float]]]:
    """PEFT's model of `adapter`'s beginning, trained by plain torch on transformers' padded forward."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from sft_sweeps.train.engine import learning_rate

    torch.set_num_threads(1)
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model: Any = get_peft_model(
        whole, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            layer = name.removeprefix("base_model.model.").partition(".lora_A")[0]
            parameter.data = torch.from_numpy(merging.first_weights(layer, tuple(parameter.shape), RECIPE.seed))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    data, measured = examples(), []
    ids = tuple(example.id for example in data)
    for step in range(steps):
        batch = [data[place] for place in batches.batch(ids, RECIPE.seed, RECIPE.batch_size, step)]
        rows = [torch.tensor(example.input_ids.tolist()) for example in batch]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        labels = padded.clone()
        for row, example in zip(labels, batch, strict=True):
            row[
                ~torch.nn.functional.pad(torch.tensor(example.supervised), (0, len(row) - len(example.supervised)))
            ] = -100
        labels[:, 0] = -100
        value = model(input_ids=padded, attention_mask=mask, labels=labels).loss
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, RECIPE.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(RECIPE, step, 20)
        optimizer.step()
        optimizer.zero_grad()
        measured.append((float(value.detach()), float(norm)))
    return model, measured


def stage(base: Path, folder: Path, processes: int = 1, lora: Adapter = LORA, **how: Any) -> Outcome:
    recipe = {"adapter": lora, "epochs": how.pop("epochs", 5)}
    execution = {"token_budget": 100, "whole_parameters": 0, **how.pop("execution", {})}
    return run(Job(str(base), str(folder), execution=execution, recipe=recipe, **how), processes)[0]


def test_debug(tmp_path: Path) -> None:
    base = saved("llama", tmp_path / "base")
    _, expected = oracle(base, base)
    for zero in (3,):
        for processes in (1, 2):
            made = stage(
                base, tmp_path / f"made{zero}{processes}", processes, stop_at=STEPS, execution={"zero_stage": zero}
            )
            found = [(step["loss"], step["grad_norm"]) for step in made.metrics]
            print(zero, processes, found, expected, made.error, made.message, made.log[-1500:] if not found else "")
