"""Adapters: a packed step is PEFT's own, whatever the processes; what is saved is what PEFT loads, and merges to."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoders import saved
from training import RECIPE, Job, Outcome, examples, run

from sft_sweeps.data.encode import batches
from sft_sweeps.models import merging, weights
from sft_sweeps.models.adapter import Parts
from sft_sweeps.spec.adapter import Adapter

LORA = Adapter("lora", rank=4, alpha=8.0)
STEPS = 4


def oracle(base: Path, steps: int = STEPS) -> tuple[Any, list[tuple[float, float]]]:
    """PEFT's own model with the same first weights, trained by plain torch on transformers' padded forward."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from sft_sweeps.train.engine import learning_rate

    torch.set_num_threads(1)
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    transposed = whole.config.model_type == "gpt2"
    asked = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", fan_in_fan_out=transposed)
    model: Any = get_peft_model(whole, asked)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            layer = name.removeprefix("base_model.model.").partition(".lora_A")[0]
            parameter.data = torch.from_numpy(merging.first_weights(layer, tuple(parameter.shape), RECIPE.seed))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    data, measured = examples(), []
    shown = batches.Shown(tuple(example.id for example in data))
    for step in range(steps):
        batch = [data[place] for place in batches.batch(shown, RECIPE.seed, RECIPE.batch_size, step)]
        rows = [torch.tensor(example.input_ids.tolist()) for example in batch]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        labels = padded.clone()
        for row, example in zip(labels, batch, strict=True):
            left = len(row) - len(example.supervised)
            row[~torch.nn.functional.pad(torch.tensor(example.supervised), (0, left))] = -100
        labels[:, 0] = -100
        value = model(input_ids=padded, attention_mask=mask, labels=labels).loss
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, RECIPE.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(RECIPE, step, steps)
        optimizer.step()
        optimizer.zero_grad()
        measured.append((float(value.detach()), float(norm)))
    return model, measured


def stage(base: Path, folder: Path, processes: int = 1, lora: Adapter = LORA, **how: Any) -> Outcome:
    """Train an adapter; the rest of a Job, and of its recipe and execution what is named."""
    recipe = {"adapter": lora, "epochs": how.pop("epochs", 5), **how.pop("recipe", {})}
    execution = {"token_budget": 100, "whole_parameters": 0, "zero_stage": how.pop("zero", 3)}
    execution |= {"save_every_steps": how.pop("saved_every", 0), "merged": how.pop("merged", False)}
    return run(Job(str(base), str(folder), execution=execution, recipe=recipe, **how), processes)[0]


def losses(outcome: Outcome) -> list[tuple[float, float]]:
    assert outcome.metrics, outcome.log
    return [(step["loss"], step["grad_norm"]) for step in outcome.metrics]


def close(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> bool:
    return found == [(pytest.approx(a, abs=1e-5), pytest.approx(b, rel=1e-4)) for a, b in expected]


@pytest.mark.slow
def test_a_stage_is_peft_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Under ZeRO-2 and 3, at one and two processes; a kill changes nothing, and PEFT loads what is written."""
    base = saved("llama", tmp_path / "base")
    model, expected = oracle(base)
    how: dict[str, Any] = {"epochs": 1}
    two = stage(base, tmp_path / "two", 2, **how)
    for outcome in (two, stage(base, tmp_path / "one", 1, **how), stage(base, tmp_path / "zero2", 1, zero=2, **how)):
        assert close(losses(outcome), expected), outcome.log
    killed = stage(base, tmp_path / "killed", 2, kill_at=3, saved_every=2, **how)
    assert killed.status == -9
    assert {path.name for path in (tmp_path / "killed" / "resume").glob("step-*")} == {"step-00000002"}
    state = sum(path.stat().st_size for path in (tmp_path / "killed" / "resume").rglob("*.pt"))
    again = stage(base, tmp_path / "killed", 2, **how)
    assert again.digest == two.digest, again.log
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert state < 12 * trained + 200_000, "frozen weights are in it"
    other = stage(base, tmp_path / "other", 1, stop_at=2, **how)
    assert other.error == "Interrupted"
    assert close(losses(stage(base, tmp_path / "other", 2, **how)), expected[2:])
    assert_peft_loads(base, tmp_path / "one" / "adapter", model)


@pytest.mark.slow
def test_a_stage_of_another_family_is_peft_too(tmp_path: Path) -> None:
    base = saved("gemma2", tmp_path / "base")
    model, expected = oracle(base)
    for processes in (1, 2):
        assert close(losses(stage(base, tmp_path / str(processes), processes, epochs=1)), expected)
    assert_peft_loads(base, tmp_path / "1" / "adapter", model)


def assert_peft_loads(base: Path, folder: Path, trained: Any) -> None:
    """By the name of the base that is in it; its logits are those of what was trained, and those of what is merged."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    merging.merge(Parts(base, (folder,)), folder.parent / "merged")
    loaded = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(folder.parent / "merged", dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        logits = [one.eval()(input_ids=ids).logits for one in (trained, loaded, merged)]
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[2], logits[1], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_what_becomes_of_the_parents_adapter(tmp_path: Path) -> None:
    """Trained on, it begins at its loss; a new one beside it or on its merged weights does too, and adds to it."""
    base = saved("llama", tmp_path / "base")
    first = stage(base, tmp_path / "first", 1, epochs=1)
    before, start = tmp_path / "first" / "adapter", {"epochs": 1, "before": str(tmp_path / "first" / "adapter")}
    on = stage(base, tmp_path / "on", 1, lora=LORA, **start)
    beside = stage(base, tmp_path / "beside", 2, lora=replace(LORA, then="stack"), **start)
    merging.merge(Parts(base, (before,)), tmp_path / "merged")
    anew = stage(tmp_path / "merged", tmp_path / "anew", 1, lora=replace(LORA, then="merge"), epochs=1)
    opening = [losses(outcome)[0][0] for outcome in (on, beside, anew)]
    assert opening == [pytest.approx(opening[0], abs=1e-5)] * 3
    assert opening[0] < losses(first)[0][0] - 1e-3
    one, two, both = (merging.read(tmp_path / name / "adapter") for name in ("first", "anew", "beside"))
    assert close(losses(beside), losses(anew)), "the same frozen weights, stored once as two adapters"
    for layer in both.layers:
        together = one.delta(layer) + two.delta(layer)
        assert abs(both.delta(layer) - together).max() < 1e-4 * abs(together).max()
        assert len(both.layers[layer][0]) == 2 * LORA.rank
    assert_peft_loads(base, tmp_path / "beside" / "adapter", _loaded(tmp_path / "anew" / "adapter"))


@pytest.mark.slow
def test_layers_that_lie_transposed_in_a_folder_without_the_models_prefix(tmp_path: Path) -> None:
    """GPT-2 as it is on the hub: its tensors are named as in the model without its head, and its masks are stored."""
    from safetensors.torch import load_file, save_file

    base = saved("gpt2", tmp_path / "base")
    stored = {name.removeprefix("transformer."): one for name, one in load_file(base / "model.safetensors").items()}
    masks = {"h.0.attn.bias": torch.ones(1, 1, 256, 256), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(stored | masks, base / "model.safetensors", {"format": "pt"})
    model, expected = oracle(base)
    made = stage(base, tmp_path / "made", 1, epochs=1)
    assert close(losses(made), expected), made.log
    assert_peft_loads(base, tmp_path / "made" / "adapter", model)


def _loaded(folder: Path) -> Any:
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.long  # a generator's state goes on with a stage: the first test, test_resume.py
def test_dropout_resumes_bit_for_bit(tmp_path: Path) -> None:
    base, lora = saved("llama", tmp_path / "base"), replace(LORA, dropout=0.3)
    whole = stage(base, tmp_path / "whole", 1, lora, epochs=1)
    assert not close(losses(whole), losses(stage(base, tmp_path / "without", 1, epochs=1)))
    assert stage(base, tmp_path / "stopped", 1, lora, epochs=1, stop_at=2).error == "Interrupted"
    assert stage(base, tmp_path / "stopped", 1, lora, epochs=1).digest == whole.digest


@pytest.mark.slow
def test_bf16_and_the_merged_model(tmp_path: Path) -> None:
    """Frozen weights are computed with in bf16; the merged model is a model's folder, of the dtype asked for."""
    base = saved("llama", tmp_path / "base")
    recipe = {"precision": "bf16", "model_dtype": "bf16"}
    made = stage(base, tmp_path / "made", 2, epochs=1, recipe=recipe, merged=True)
    assert not made.error, made.log
    _, expected = oracle(base)
    assert losses(made)[-1][0] == pytest.approx(expected[-1][0], abs=0.02)
    merged = tmp_path / "made" / "model"
    assert {one.dtype for one in weights.tensors(merged).values()} == {"BF16"}
    before = weights.digest(merged)
    merging.merge(Parts(base, (tmp_path / "made" / "adapter",), "bf16"), tmp_path / "again")
    assert weights.digest(tmp_path / "again") == before
