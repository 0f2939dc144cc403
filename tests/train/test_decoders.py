"""Decoders of many families: a packed step is transformers' padded one; what is not is refused by its reason."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import goldens
import pytest
import torch
from common import ROOT
from decoders import FAMILIES, PADDED, answered, apart, generated, made, saved
from hypothesis import given
from hypothesis import strategies as st
from training import RECIPE, SHAPE, Job, Outcome, examples, plain_training, run
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from sft_sweeps.data.encode import batches
from sft_sweeps.launch.examined import examine
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.models.folder import Examined, problems
from sft_sweeps.models.init import materialise
from sft_sweeps.train import attention, decoder, head
from sft_sweeps.train.loss import to_bin
from sft_sweeps.train.steps import plan_batch

REFUSED = {
    "t5": "only decoders are trained",
    "gemma3": "also sees or hears; its language model is trained",
    "mixtral": "mixture of experts",
    "qwen3_moe": "mixture of experts",
    "bert": "not trained exactly.*; and a bert model is not trained exactly",
    "modernbert-decoder": "not trained exactly",
    "mamba": "keeps no keys and values",
    "qwen3_next": "mixture of experts",
    "openai-gpt": "keeps no keys and values",
}


def inexact(config: Any, *, padded: bool = False) -> str:
    return decoder.inexact(config, decoder.without_memory(config), padded=padded)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_transformers_padded_one(family: str) -> None:
    assert decoder.refusal(made(family)) == ""
    assert apart(family) <= decoder.TOLERANCE


def test_the_table() -> None:
    """docs/models.md has every family, and how far it was."""
    lines = ["| `model_type` | trained in | differs by |", "|---|---|---|"]
    for family in sorted(FAMILIES):
        rows = "padded rows" if family in PADDED else "rows of several examples"
        lines.append(f"| {family} | {rows} | {apart(family):.1e} |")
    assert max(goldens.compare_part(ROOT / "docs" / "models.md", "families", lines)) <= decoder.TOLERANCE


@pytest.mark.parametrize("family", PADDED)
def test_padded_are_those_alone_that_have_to_be(family: str) -> None:
    assert " rows without padding (" in inexact(made(family))


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "olmo3", "cohere2", "phi3"])
def test_windows_matter_to_the_trial(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they left out, the trial would show it."""
    everything = lambda length, *_: torch.ones(length, length).bool().tril()  # noqa: E731
    monkeypatch.setattr(decoder.attention, "_seen", everything)
    assert "not trained exactly" in inexact(made(family, **({"sliding_window": 99} if family == "phi3" else {})))


@pytest.mark.parametrize("family", REFUSED)
def test_refused(family: str, tmp_path: Path) -> None:
    made(family).save_pretrained(tmp_path)
    examined = Examined(**decoder.examine(tmp_path))
    for padded in (False, True):
        assert re.search(REFUSED[family], examined.refusal(padded=padded))


def test_what_is_exact_in_one_way_alone_names_it(tmp_path: Path) -> None:
    made("falcon").save_pretrained(tmp_path)
    examined = Examined(**decoder.examine(tmp_path))
    assert examined.refusal(padded=True) == ""
    assert examined.refusal(padded=False).endswith(", but it is with it: type train.padded=true")


def test_dropout_is_refused() -> None:
    assert (
        decoder.refusal(CONFIG_MAPPING["gpt2"]()) == "config.json sets resid_pdrop=0.1. Dropout is refused: set it to 0"
    )


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
RESUMED = ("gemma2", "bloom")  # one in packed rows, one in padded: what saves and reads a state knows no family


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "olmo2", "gpt2", "bloom", "falcon"])
def test_a_stage_of_it_is_plain_torch_and_resumes_bit_for_bit(family: str, tmp_path: Path) -> None:
    """At one and two processes under ZeRO-3; the saved model is one that transformers loads, and answers alike.

    Two of them are stopped, too.
    """
    base, padded = saved(family, tmp_path / "base"), family in PADDED
    how: dict[str, Any] = {"recipe": {"epochs": 1, "padded": padded}}
    how |= {"execution": {"token_budget": 300 if padded else 100, "whole_parameters": 0}}

    def stage(name: str, processes: int, **befalls: int) -> Outcome:
        return run(Job(str(base), str(tmp_path / name), **how, **befalls), processes)[0]

    _, expected = plain_training(base, STEPS, replace(RECIPE, epochs=1))
    one, two = stage("one", 1), stage("two", 2)
    for outcome in (one, two):
        assert not outcome.error, outcome.log
        found = [(step["loss"], step["grad_norm"]) for step in outcome.metrics]
        assert found == [(pytest.approx(a, abs=1e-5), pytest.approx(b, rel=1e-4)) for a, b in expected]
    if family in RESUMED:
        assert stage("stopped", 2, stop_at=2).error == "Interrupted"
        again = stage("stopped", 2)
        assert again.digest == two.digest, again.log
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one" / "model")
    assert decoder.parameters(model) == decoder.parameters(decoder.without_memory(model.config))
    assert answered(tmp_path / "one" / "model") == generated(model)


@pytest.mark.parametrize(
    "family", ["gemma2", "bloom", *(pytest.param(one, marks=pytest.mark.slow) for one in PADDED[1:])]
)
def test_answers_are_those_of_generate(family: str, tmp_path: Path) -> None:
    folder = saved(family, tmp_path / "model")
    expected = generated(AutoModelForCausalLM.from_pretrained(folder))
    assert answered(folder) == expected
    assert len({tuple(answer) for answer in expected}) > 2


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20), budget=st.integers(1, 100))
def test_padded_bins_hold_every_example_once_within_the_budget(lengths: list[int], budget: int) -> None:
    bins = batches.padded_bins(lengths, budget)
    assert sorted(index for one in bins for index in one) == list(range(len(lengths)))
    for one in bins:
        assert len(one) == 1 or len(one) * max(lengths[index] for index in one) <= budget


def test_a_step_in_padded_rows_is_the_step_without_padding(tmp_path: Path) -> None:
    """The same batches, loss and gradient, of any architecture that takes both."""
    materialise(SHAPE, 0, [], tmp_path / "base")
    config = AutoConfig.from_pretrained(tmp_path / "base")
    found = {}
    for padded in (False, True):
        recipe = replace(RECIPE, padded=padded, loss_reduction="device_mean", virtual_devices=4)
        batch = plan_batch(examples(16), recipe, 1, 300)
        own = {} if padded else {"attn_implementation": attention.NAME}
        model = head.trained_class(config, padded=padded).from_pretrained(tmp_path / "base", **own)
        rows = [to_bin(*row, torch.device("cpu"), padded=padded) for row in batch.of_rank(0)]
        assert len(rows) > 1
        total = sum(model(row) for row in rows)
        total.backward()
        found[padded] = {"loss": total.detach(), **{name: p.grad for name, p in model.named_parameters()}}
        found[padded]["sources"] = torch.tensor(batch.losses_by_source(0, rows, ["code", "math"]))
    for name, value in found[False].items():
        torch.testing.assert_close(found[True][name], value, rtol=1e-5, atol=1e-6)
