"""The memory planner: its activations are those that torch saves, and its verdicts hold together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import values
from common import Points
from decoders import made
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from sft_sweeps.config.resolve import request
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models import architectures
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.models.init import materialise
from sft_sweeps.plan import cost, memory
from sft_sweeps.plan.build import build
from sft_sweeps.spec.training import Shape, Stage
from sft_sweeps.train import attention, decoder, head, loss

SHAPES = [Shape(128, 352, 2, 4, 4, 300, 512), Shape(128, 352, 4, 4, 2, 300, 512), Shape(64, 300, 3, 4, 4, 300, 512)]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def saved(model: Any, tokens: int) -> int:
    """Bytes that torch keeps for the backward pass of a row, each storage once, weights apart."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage  # kept, so that no other can take its place
        return tensor

    row = loss.blank(tokens, torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        given = {"attention_mask": row.mask} if model.padded else row.places
        kept = model.base_model(input_ids=row.input_ids, use_cache=False, **given).last_hidden_state
    assert kept.requires_grad
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.hidden_size}x{shape.layers}-{shape.kv_heads}")
def test_activations_are_what_torch_saves(shape: Shape, precision: str, tmp_path: Path) -> None:
    materialise(shape, 0, [], tmp_path / "base")
    model = (
        head.trained_class(AutoConfig.from_pretrained(tmp_path / "base"))
        .from_pretrained(tmp_path / "base", dtype=DTYPES[precision], attn_implementation=attention.NAME)
        .train()
    )
    joined = shape.layers * shape.hidden_size * memory.BYTES[precision]  # attention's pieces, which a GPU has whole
    measured = (saved(model, 512) - saved(model, 256)) / 256 - joined
    assert memory.activations(shape, precision, recompute=False) == pytest.approx(measured, rel=0.03)
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    inputs = (saved(model, 512) - saved(model, 256)) / 256
    a_layer = memory.activations(shape, precision, recompute=False) / shape.layers
    assert memory.activations(shape, precision, recompute=True) - a_layer == pytest.approx(inputs, rel=0.3)


def sized(family: str) -> Any:
    """The family's model in bf16, its layers of 64 x 352 or so, for rows of 1,024 tokens."""
    said = decoder.tiny(made(family)).to_dict()
    long, wide = (
        ("max_position_embeddings", "n_positions", "max_seq_len", "sliding_window", "window_size"),
        ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    )
    changed = {key: 1024 for key in long if said.get(key)} | {key: 352 for key in wide if said.get(key)}
    config = type(made(family)).from_dict({**said, **changed})
    padded = architectures.is_padded(family)
    own = {} if padded else {"attn_implementation": attention.NAME}
    return head.trained_class(config, padded=padded)._from_config(config, dtype=torch.bfloat16, **own).train()


@pytest.mark.parametrize("family", ["mistral", "qwen3", "gemma3_text", "phi", "gpt2", "starcoder2", "stablelm"])
def test_activations_of_other_architectures(family: str) -> None:
    model = sized(family)
    shape = read_shape(model.config.to_dict(), sum(p.numel() for p in model.parameters()))
    measured = (saved(model, 512) - saved(model, 256)) / 256
    assert 0.6 < measured / memory.activations(shape, "bf16", recompute=False) < 1.7


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "vaultgemma", "gpt2", "bloom", "mpt", "xglm"])
def test_which_hold_the_products_of_every_two_tokens(family: str) -> None:
    """Longer rows then hold more of each token."""
    model = sized(family)
    short, long = ((saved(model, 2 * length) - saved(model, length)) / length for length in (128, 256))
    assert (long > 1.2 * short) == (family in architectures.HOLDS_SCORES)


@pytest.mark.parametrize(("family", "matrices"), [("llama", 3), ("qwen3", 3), ("phi", 2), ("starcoder2", 2)])
def test_the_matrices_of_an_mlp_follow_from_the_weights(family: str, matrices: int) -> None:
    """Of the published size, which transformers makes where nothing is said."""
    config = made(family)
    count = sum(parameter.numel() for parameter in decoder.without_memory(config).parameters())
    assert architectures.mlp_matrices(read_shape(config.to_dict(), count)) == matrices


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "bloom"])
def test_operations_are_those_that_torch_counts(family: str) -> None:
    """Products of matrices, forward and backward; an embedding that is no head is looked up, not multiplied."""
    config = decoder.tiny(made(family))
    model = decoder._class(config)._from_config(config, attn_implementation="eager")
    shape = read_shape(config.to_dict(), sum(parameter.numel() for parameter in model.parameters()))
    ids = torch.arange(3, 67)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    looked_up = 0 if shape.tie_embeddings else shape.vocab_size * shape.hidden_size
    weights = 6 * cost.parameters(shape)
    whole = 2 * (cost.flops_per_token(shape, 64) - weights)  # eager attention masks half of it afterwards
    expected = weights - 6 * looked_up + whole
    assert counter.get_total_flops() / 64 == pytest.approx(expected, rel=0.05)


def stages(points: Points, *line: str) -> dict[str, Stage]:
    built = build([(p.name, request(p.config)) for p in points("data=math", *line)])
    return {stage.model.name: stage for stage in built.stages}


def test_the_papers_models_fit_on_the_papers_gpus(points: Points) -> None:
    """8, 8 and 16 A100s of 80 GB, as it says; of 64 GB, 33B with recomputation; on 8 of 80 GB it has to offload."""
    found = stages(points, "model=llama7b,llama13b,llama33b")
    assert len(found) == 3
    for name, stage in found.items():
        how = memory.with_recompute(stage, TrainExecution(token_budget=2048), 80, None)
        assert not how.recompute
        assert memory.with_recompute(stage, TrainExecution(token_budget=2048), 64, None).recompute == (
            name == "llama33b"
        )
        assert memory.problem(stage, how, 80) == ""
        assert memory.with_recompute(stage, how, 80, False).recompute is False
        assert f"model={name} on" in memory.problem(stage, how, 8)
        assert f"{name} on {stage.model.gpus} GPUs of 80 GB: about" in memory.verdict(stage, how, 80)
        best = memory.verdicts(stage.model.shape, stage.recipe, stage.model.gpus, 80e9)[0]
        assert best.token_budget >= 2048
    large = found["llama33b"]
    groups = {v.group for v in memory.verdicts(large.model.shape, large.recipe, 8, 80e9)}
    assert groups == {"zero3_offload"}, groups


def test_what_does_not_fit_says_what_does(points: Points) -> None:
    stage = stages(points, "model=llama13b")["llama13b"]
    text = memory.problem(stage, TrainExecution(token_budget=16384), 40)
    assert text.startswith("model=llama13b on 8 GPUs of 40 GB: a step needs about ")
    assert "Type deepspeed=" in text
    typed = text.partition("Type ")[2].partition(" (")[0]
    zero_stage, offload = memory.GROUPS[typed.partition(" ")[0].removeprefix("deepspeed=")]
    how = TrainExecution(token_budget=2048, zero_stage=zero_stage, offload=offload, recompute="recompute=true" in typed)
    assert memory.problem(stage, how, 40) == ""
    assert "Type model.gpus=" in memory.problem(stage, TrainExecution(token_budget=2048), 20)
    assert "larger GPUs" in memory.problem(stage, TrainExecution(token_budget=2048), 4)


@given(tokens=st.integers(1, 30_000), gpus=st.integers(1, 64), zero_stage=st.sampled_from([2, 3]))
def test_more_gpus_and_fewer_tokens_never_need_more(tokens: int, gpus: int, zero_stage: int) -> None:
    shape, recipe = (
        Shape(4096, 11008, 32, 32, 32, 32000, 2048),
        replace(values.RECIPE, precision="bf16", max_length=2048),
    )
    how = TrainExecution(processes=gpus, zero_stage=zero_stage)
    least = memory.of(shape, recipe, how, tokens).total
    assert memory.of(shape, recipe, how, tokens + 1).total >= least
    more = TrainExecution(processes=gpus + 1, zero_stage=zero_stage)
    assert memory.of(shape, recipe, more, tokens).total <= least
    largest = memory.largest(shape, recipe, how, 80e9)
    assert largest == 0 or memory.of(shape, recipe, how, largest).total <= 80e9
