"""Losses on examples that are held out: right, the same on any number of processes, and nothing to the training."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import values
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from training import SHAPE, Job, Outcome, examples, heldout, run
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.data.encode.mixture import check_repeats, mixture_examples
from sft_sweeps.data.select import order_of
from sft_sweeps.errors import RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.data import Source
from sft_sweeps.train.heldout import heldout_of
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
    return Job(str(base), str(base.parent / name), execution=execution)


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


class Shelf:
    """A source as it is encoded: of each of its rows an example, the third of which teaches nothing."""

    def __init__(self, source: Source) -> None:
        self.source, self.name = source, source.name
        self.account = {"rows": source.rows}
        self.dropped: dict[str, int] = {}

    def __len__(self) -> int:
        return self.source.rows

    def order(self, seed: int) -> list[int]:
        return order_of([str(row) for row in range(len(self))], seed, self.source.name)

    def encoded(self, row: int) -> Encoded:
        ids = np.zeros(3, np.int32)
        return Encoded(f"{self.source.name}/{row}", self.source.name, ids, ids == 0, reason="" if row % 3 else "empty")


def shelf(source: Source) -> Any:
    return Shelf(source)


COMPONENTS = st.builds(
    lambda name, fraction, kept, limit: replace(
        values.component(name, fraction=fraction, rows=60), heldout=kept, limit=limit
    ),
    st.sampled_from(["math", "code", "general"]),
    st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 8)]),
    st.sampled_from([0, 5, 20]),
    st.sampled_from([None, 4, 40]),
)
MIXTURES = st.lists(COMPONENTS, min_size=1, max_size=3, unique_by=lambda c: c.source.name).map(tuple)


@given(first=MIXTURES, second=MIXTURES, count=st.integers(1, 30))
def test_nothing_of_the_chain_is_trained_on_what_is_held_out(first: Any, second: Any, count: int) -> None:
    """Of a source that the chain leaves so many of, it is the end of its order; of another one nothing."""
    last = values.stage(values.stage(components=first), components=second)
    held = {example.id for example in heldout_of(last, shelf, count)}
    trained = {example.id for one in last.chain for example in mixture_examples(one.mixture, shelf)[0]}
    assert not held & trained
    for name in {c.source.name for one in last.chain for c in one.mixture.components}:
        parts = [c for one in last.chain for c in one.mixture.components if c.source.name == name]
        of = shelf(parts[0].source)
        end = {of.encoded(row).id for row in of.order(0)[-count:] if row % 3}
        left = all(c.taken_of(60) <= 60 - count for c in parts)
        assert {one for one in held if one.startswith(f"{name}/")} == (end if left else set())


def test_a_source_that_is_not_here_or_has_two_orders_has_none() -> None:
    half = values.component("math", fraction=Fraction(1, 2), rows=60)
    stage = values.stage(values.stage(components=[half]), components=[replace(half, seed=1)])
    assert heldout_of(stage, shelf, 5) == []
    assert heldout_of(stage.parent, lambda _: None, 5) == []  # type: ignore[arg-type]
    assert heldout_of(stage.parent, shelf, 5)  # type: ignore[arg-type]


def test_a_repeated_source_of_which_too_little_can_be_learnt_is_refused() -> None:
    once = [one for one in map(shelf(values.source("math", rows=30)).encoded, range(30)) if not one.reason]
    twice = [replace(one, repeat=2) for one in once]
    check_repeats(once, 21)
    check_repeats(twice, 20)
    with pytest.raises(RunError, match="math is repeated, and has 20 examples of which something can be learnt, fewer"):
        check_repeats(twice, 21)


def test_what_is_trained_on_is_not_held_out(base: Path) -> None:
    data = examples(4)
    stage = train(base, base.parent / "both", data, None, TrainExecution(), stop=bool, heldout=data[2:])  # type: ignore[arg-type]
    with pytest.raises(RunError, match="code/3 is held out, and trained on"):
        next(stage)
