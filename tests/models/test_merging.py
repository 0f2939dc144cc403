"""Adapters on disk: PEFT's files are read, ours are PEFT's, and what they merge to is what PEFT merges."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from sft_sweeps.errors import RunError
from sft_sweeps.models import merging, weights
from sft_sweeps.models.adapter import CONFIG, WEIGHTS, Parts, count_parameters, linear_layers, targeted
from sft_sweeps.models.architectures import LLAMA
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.training import Shape

SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=64),
    "gpt2": GPT2Config(vocab_size=97, n_positions=64, n_embd=32, n_layer=2, n_head=4),  # its weights lie as [in, out]
}


def adapted(family: str, folder: Path, rank: int = 3) -> tuple[Path, Path, Any]:
    """A random model's folder, an adapter's on it as PEFT writes it, and PEFT's model."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[family])
    model.save_pretrained(folder / "base")
    transposed = family == "gpt2"
    asked = LoraConfig(r=rank, lora_alpha=7, target_modules="all-linear", fan_in_fan_out=transposed)
    both: Any = get_peft_model(model, asked)
    for name, parameter in both.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter)
    both.save_pretrained(folder / "adapter")
    return folder / "base", folder / "adapter", both


@pytest.mark.parametrize("family", CONFIGS)
def test_merged_as_peft_merges(family: str, tmp_path: Path) -> None:
    base, adapter, both = adapted(family, tmp_path)
    digest = merging.merge(Parts(base, (adapter,)), tmp_path / "merged")
    assert digest == weights.digest(tmp_path / "merged")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    for name, theirs in both.merge_and_unload().state_dict().items():
        torch.testing.assert_close(ours[name], theirs, atol=2e-6, rtol=2e-6)


def test_rounded_once(tmp_path: Path) -> None:
    """To bf16 from the exact sum: what the adapter adds is not rounded before it is added."""
    base, adapter, _ = adapted("llama", tmp_path)
    merging.merge(Parts(base, (adapter,), "bf16"), tmp_path / "merged")
    name = "model.layers.1.mlp.down_proj"
    before = AutoModelForCausalLM.from_pretrained(base).get_submodule(name).weight.detach().double()
    exact = before + torch.from_numpy(merging.read(adapter).delta(name))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged.get_submodule(name).weight, exact.float().to(torch.bfloat16))


def test_two_stay_two(tmp_path: Path) -> None:
    """Written as one adapter of the sum of the ranks, they add what each adds; PEFT loads it."""
    base, first, _ = adapted("llama", tmp_path / "one")
    _, second, _ = adapted("llama", tmp_path / "two", rank=5)
    one, two = merging.read(first), merging.read(second)
    both = merging.joined(one, two.layers, two.scale)
    for layer in one.layers:
        expected = one.delta(layer) + two.delta(layer)
        np.testing.assert_allclose(both.delta(layer), expected, atol=1e-5 * abs(expected).max())
    folder = tmp_path / "both"
    folder.mkdir()
    merging.write(folder, both.layers)
    said = (second / CONFIG).read_text().replace('"r": 5', '"r": 8').replace('"lora_alpha": 7', '"lora_alpha": 11.2')
    (folder / CONFIG).write_text(said)
    loaded: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    merging.merge(Parts(base, (first, second)), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    for name, theirs in loaded.merge_and_unload().state_dict().items():
        torch.testing.assert_close(merged[name], theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_an_adapter_is_on_every_linear_layer_but_the_head(family: str, tmp_path: Path) -> None:
    """As planning knows it without torch, from the weights' names and shapes."""
    base, adapter, both = adapted(family, tmp_path)
    found = linear_layers({name: one.shape for name, one in weights.tensors(base).items()})
    assert found.keys() == merging.read(adapter).layers.keys()
    trained = sum(one.numel() for name, one in both.named_parameters() if "lora_" in name)
    assert trained == sum(3 * sum(shape) for shape in found.values())


def test_counts_without_weights() -> None:
    shape = Shape(4096, 11008, 32, 32, 32, 32000, 2048)
    assert count_parameters(shape, Adapter("lora", 16, 32.0)) == 39_976_960  # as PEFT prints it of LLaMA-7B
    assert count_parameters(shape, Adapter("lora", 8, 16.0, targets=("q_proj", "v_proj"))) == 4_194_304
    layers = linear_layers(LLAMA.parameters(shape))
    assert len(targeted(layers, ["layers.3.self_attn.q_proj"])) == 1
    assert not targeted(layers, ["proj", "lm_head", "embed_tokens"])


@given(seed=st.integers(0, 2**31), rank=st.integers(1, 8), width=st.integers(1, 50))
def test_first_weights_are_of_seed_and_name(seed: int, rank: int, width: int) -> None:
    drawn = merging.first_weights("layers.0.q", (rank, width), seed)
    assert (abs(drawn) <= width**-0.5).all()
    assert np.array_equal(drawn, merging.first_weights("layers.0.q", (rank, width), seed))
    if rank * width > 4:
        assert not np.array_equal(drawn, merging.first_weights("layers.1.q", (rank, width), seed))
        assert not np.array_equal(drawn, merging.first_weights("layers.0.q", (rank, width), seed + 1))


def test_a_bad_adapter_is_named(tmp_path: Path) -> None:
    base, adapter, _ = adapted("llama", tmp_path)
    _, other, _ = adapted("gpt2", tmp_path / "other")
    with pytest.raises(RunError, match="the adapter is of another model: it has weights for transformer"):
        merging.merge(Parts(base, (other,)), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    (adapter / CONFIG).write_text("{}")
    with pytest.raises(RunError, match=re.escape(f"the adapter in {adapter} cannot be read")):
        merging.read(adapter)
    (adapter / WEIGHTS).unlink()
    with pytest.raises(RunError, match="cannot be read"):
        merging.read(adapter)
