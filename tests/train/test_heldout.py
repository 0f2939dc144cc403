"""Losses on examples that are held out: right, the same on any number of processes, and nothing to the training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from training import SHAPE, Job, Outcome, examples, heldout, run
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.train.loop import train

STEPS, EVERY, COUNT = 20, 6, 9
DUE = [6, 12, 18, 20]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heldout")
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(
        folder / "tokenizer"
    )
    materialise(SHAPE, 0, sorted((folder / "tokenizer").iterdir()), folder / "base")
    return folder / "base"


def job(base: Path, name: str, **execution: Any) -> Job:
    return Job(str(base), str(base.parent / name), execution)


@pytest.fixture(scope="module")
def one(base: Path) -> Outcome:
    return run(replace(job(base, "one", heldout_every=EVERY), heldout=COUNT))[0]


def losses(outcome: Outcome) -> dict[int, dict[str, float]]:
    assert not outcome.error, outcome.log
    found = {step["step"]: step["heldout_loss_by_source"] for step in outcome.metrics}
    return {step: of for step, of in found.items() if of is not None}


@torch.no_grad()
def plain_losses(folder: Path, data: list[Encoded]) -> dict[str, float]:
    """By transformers' own forward pass, one example at a time."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    sums: dict[str, list[float]] = {}
    for example in data:
        ids = torch.tensor(example.input_ids.tolist())
        labels = torch.where(torch.tensor(example.supervised.tolist()), ids, -100)[1:]
        logits = model(input_ids=ids[None]).logits[0, :-1]
        value = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        total, tokens = sums.setdefault(example.source, [0.0, 0])
        sums[example.source] = [total + float(value), tokens + int((labels >= 0).sum())]
    return {source: total / tokens for source, (total, tokens) in sums.items()}


def test_the_last_is_the_loss_of_the_finished_model(base: Path, one: Outcome) -> None:
    assert list(losses(one)) == DUE
    plain = plain_losses(base.parent / "one" / "model", heldout(COUNT))
    assert set(plain) == {"math", "code"}
    assert losses(one)[STEPS] == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize(
    ("processes", "execution"),
    [
        (2, {"token_budget": 100, "whole_parameters": 0}),
        pytest.param(1, {}, marks=pytest.mark.slow),
        pytest.param(2, {"token_budget": 100, "zero_stage": 2}, marks=pytest.mark.slow),
    ],
    ids=["zero3", "alone", "zero2"],
)
def test_training_does_not_notice(base: Path, one: Outcome, processes: int, execution: dict[str, Any]) -> None:
    """Whatever the ranks: bits of weights and losses as without, and continued from a state in between."""
    name = f"{processes}-{'-'.join(execution)}"
    without = run(job(base, f"{name}-without", **execution), processes)[0]
    asked = replace(job(base, f"{name}-with", **execution, heldout_every=EVERY), heldout=COUNT)
    assert [outcome.error for outcome in run(replace(asked, stop_at=8), processes)] == ["Interrupted"] * processes
    rest = run(asked, processes)[0]
    assert list(losses(rest)) == [step for step in DUE if step > 8]
    for step, of in losses(rest).items():
        assert of == pytest.approx(losses(one)[step], abs=1e-5)
    assert [line["loss"] for line in rest.metrics] == [line["loss"] for line in without.metrics][8:]
    assert rest.digest == without.digest != ""


def test_what_is_trained_on_is_not_held_out(base: Path) -> None:
    data = examples(4)
    stage = train(base, base.parent / "both", data, None, TrainExecution(), stop=bool, heldout=data[2:])  # type: ignore[arg-type]
    with pytest.raises(RunError, match="code/3 is held out, and trained on"):
        next(stage)
