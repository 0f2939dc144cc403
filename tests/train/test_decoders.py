"""Decoders of many families: a packed step is transformers' padded one; what is not is refused by its reason."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training import RECIPE, Job, Outcome, plain_training, run
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sft_sweeps.launch.examined import examine
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.models.folder import Examined, problems
from sft_sweeps.train import decoder

# With grouped heads, query-key norms, sliding windows, soft caps, scaled logits, biases, fused weights, tied heads,
# partial and interleaved rotation, norms before and behind, learned positions.
FAMILIES = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "olmo3", "smollm3"),
    *("phi", "phi3", "granite", "cohere", "cohere2", "glm", "glm4", "starcoder2", "exaone4", "helium", "seed_oss"),
    *("ernie4_5", "arcee", "apertus", "gpt2", "gpt_bigcode"),
)
REFUSED = {
    "t5": "only decoders are trained",
    "gemma3": "also sees or hears; take the language model of its family",
    "mixtral": "mixture of experts",
    "qwen3_moe": "mixture of experts",
    "bert": "not trained exactly|takes no|does not take|no language model",
    "opt": "not trained exactly",
    "bloom": "not trained exactly",
    "mamba": "not trained exactly",
    "falcon": "does not take rows without padding",
    "stablelm": "does not take rows without padding",
}


def made(family: str, **changes: Any) -> Any:
    """The family's configuration, without dropout."""
    config = CONFIG_MAPPING[family](**changes)
    for key, value in config.to_dict().items():
        if decoder._drops(key, value):
            setattr(config, key, 0.0)
    return config


def inexact(config: Any) -> str:
    return decoder.inexact(config, decoder.without_memory(config))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_step_is_the_padded_one(family: str) -> None:
    windows = {"use_sliding_window": True} if family in ("qwen2", "qwen3") else {}
    config = made(family, **windows)
    assert decoder.refusal(config) == inexact(config) == ""
    assert decoder.difference(config) <= 1e-5


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "olmo3", "cohere2", "phi3"])
def test_windows_matter_to_the_trial(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they left out, the trial would show it."""
    everything = lambda length, *_: torch.ones(length, length).bool().tril()  # noqa: E731
    monkeypatch.setattr(decoder.attention, "_seen", everything)
    assert "not trained exactly" in inexact(made(family, **({"sliding_window": 99} if family == "phi3" else {})))


@pytest.mark.parametrize("family", REFUSED)
def test_refused(family: str) -> None:
    import re

    config = made(family)
    assert re.search(REFUSED[family], decoder.refusal(config) or inexact(config))


def test_dropout_is_refused() -> None:
    assert (
        decoder.refusal(CONFIG_MAPPING["gpt2"]()) == "config.json sets resid_pdrop=0.1. Dropout is refused: set it to 0"
    )


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


def test_it_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = saved("qwen3", tmp_path / "model")
    examined = examine(folder)
    assert examined.problem == ""
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert examined.parameters == {name: tuple(p.shape) for name, p in model.named_parameters()}
    shape = read_shape(model.config.to_dict(), sum(p.numel() for p in model.parameters()))
    assert list(problems(folder, shape, "", lambda _: examined)) == []
    for lie, message in (
        ({"intermediate_size": 65}, "which is to be ("),
        ({"hidden_act": "nothing"}, "transformers cannot make a model of config.json (KeyError"),
        ({"model_type": "qwen99"}, "describes a qwen99 model"),
    ):
        config = model.config.to_dict() | lie
        (folder / "config.json").write_text(json.dumps(config))
        wide = replace(shape, intermediate_size=config["intermediate_size"])
        found = problems(folder, wide, "", lambda folder: Examined(**decoder.examine(folder)))
        assert any(message in text for text in found), lie


STEPS = 4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "olmo2", "gpt2"])
def test_a_stage_of_it_is_plain_torch_and_resumes_bit_for_bit(family: str, tmp_path: Path) -> None:
    """At one and two processes under ZeRO-3; the saved model is one that transformers loads."""
    base = saved(family, tmp_path / "base")
    how: dict[str, Any] = {"recipe": {"epochs": 1}, "execution": {"token_budget": 100, "whole_parameters": 0}}

    def stage(name: str, processes: int, **befalls: int) -> Outcome:
        return run(Job(str(base), str(tmp_path / name), **how, **befalls), processes)[0]

    _, expected = plain_training(base, STEPS, replace(RECIPE, epochs=1))
    one, two = stage("one", 1), stage("two", 2)
    for outcome in (one, two):
        assert not outcome.error, outcome.log
        found = [(step["loss"], step["grad_norm"]) for step in outcome.metrics]
        assert found == [(pytest.approx(a, abs=1e-5), pytest.approx(b, rel=1e-4)) for a, b in expected]
    assert stage("stopped", 2, stop_at=2).error == "Interrupted"
    again = stage("stopped", 2)
    assert again.digest == two.digest, again.log
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one" / "model")
    assert decoder.parameters(model) == decoder.parameters(decoder.without_memory(model.config))
