"""The loss of a step does not depend on how its examples are laid out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from training import RECIPE, SHAPE, examples
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from sft_sweeps.data.encode import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.spec import Execution
from sft_sweeps.train import attention, loss
from sft_sweeps.train.engine import learning_rate
from sft_sweeps.train.init import materialise
from sft_sweeps.train.loop import _check, plan_batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loss") / "base"
    materialise(SHAPE, 0, [], folder)
    return folder


def load(folder: Path, implementation: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=implementation)


def alone(model: Any, example: Encoded) -> torch.Tensor:
    """The summed cross-entropy of one example's supervised tokens, by another way than the one under test."""
    ids = torch.tensor(example.input_ids.tolist())
    scores = log_softmax(model(input_ids=ids[None]).logits[0, :-1], dim=-1)
    chosen = scores.gather(1, ids[1:, None])[:, 0]
    return -chosen[torch.tensor(example.supervised.tolist())[1:]].sum()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


def test_logits_of_a_row_equal_those_of_each_example_alone(base: Path) -> None:
    """Attention never crosses examples and position ids restart, with fewer key heads than query heads too."""
    packed, plain = load(base, attention.NAME), load(base, "eager")
    chosen = examples(8)
    row = loss.to_row(chosen, [1.0] * len(chosen), CPU)
    together = packed(
        input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, lengths=row.lengths
    ).logits[0]
    pieces = together.split(list(row.lengths))
    assert len(pieces) == len(chosen)
    for example, piece in zip(chosen, pieces, strict=True):
        expected = plain(input_ids=torch.tensor(example.input_ids.tolist())[None]).logits[0]
        torch.testing.assert_close(piece, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("budget", [60, 150, 8192])
@pytest.mark.parametrize("processes", [1, 3])
def test_loss_and_gradient_equal_the_sum_over_examples_alone(base: Path, budget: int, processes: int) -> None:
    model, plain = load(base, attention.NAME), load(base, "eager")
    chosen = examples(16)
    total = sum(loss.supervised_tokens(example) for example in chosen)
    expected = sum((alone(plain, example) for example in chosen), torch.zeros(())) / total
    expected.backward()
    batch = plan_batch(chosen, RECIPE, Execution(processes=processes, token_budget=budget))
    found = 0.0
    for rank in range(processes):
        for in_row, weights in batch.rows(rank):
            value = loss.weighted_loss(model, loss.to_row(in_row, weights, CPU))
            value.backward()
            found += float(value.detach())
    assert found == pytest.approx(float(expected.detach()), abs=1e-6)
    ours, theirs = gradients(model), gradients(plain)
    assert len(ours) == 21
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=1e-6)


def test_every_rank_has_as_many_bins_and_every_example_counts_once() -> None:
    chosen = examples(16)
    batch = plan_batch(chosen, RECIPE, Execution(processes=3, token_budget=60))
    rows = [batch.rows(rank) for rank in range(3)]
    assert len({len(of_rank) for of_rank in rows}) == 1
    assert {len(of_rank) for of_rank in batch.bins} != {len(rows[0])}, "no rank needed filling: the test shows nothing"
    counted = [
        example.id for of_rank in rows for row, weights in of_rank for example, w in zip(row, weights, strict=True) if w
    ]
    assert sorted(counted) == sorted(example.id for example in chosen)


def test_an_example_without_supervised_tokens_adds_nothing(base: Path) -> None:
    model = load(base, attention.NAME)
    silent = replace(examples(1)[0], supervised=np.zeros(len(examples(1)[0].input_ids), dtype=np.bool_))
    weights = loss.token_weights([loss.supervised_tokens(silent)], "token_mean")
    value = loss.weighted_loss(model, loss.to_row([silent], weights, CPU))
    value.backward()
    assert float(value.detach()) == 0
    assert all(not gradient.any() for gradient in gradients(model).values())


def test_the_first_token_is_nobodys_target() -> None:
    whole = replace(examples(1)[0], supervised=np.ones(len(examples(1)[0].input_ids), dtype=np.bool_))
    assert loss.supervised_tokens(whole) == len(whole.input_ids) - 1
    assert len(loss.to_row([whole], [1.0], CPU).targets) == len(whole.input_ids) - 1


def test_token_weights() -> None:
    assert loss.token_weights([3, 1, 0], "token_mean") == [0.25, 0.25, 0.25]
    assert loss.token_weights([0, 0], "token_mean") == [0.0, 0.0]
    with pytest.raises(RunError, match="loss_reduction"):
        loss.token_weights([1], "sum")


@pytest.mark.parametrize(("steps", "fraction"), [(1, 0.03), (7, 0.0), (40, 0.03), (101, 0.1), (3, 1.0)])
def test_learning_rate_equals_the_schedule_of_transformers(steps: int, fraction: float) -> None:
    recipe = replace(RECIPE, learning_rate=2e-5, warmup_fraction=fraction)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, int(np.ceil(steps * fraction)), steps)
    for step in range(steps):
        assert learning_rate(recipe, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-15)
        optimizer.step()
        schedule.step()
    assert learning_rate(recipe, 0, steps) == (0.0 if fraction else recipe.learning_rate)


@pytest.mark.parametrize(("value", "norm"), [(float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan"))])
def test_a_loss_that_is_no_number_names_the_step_and_its_examples(value: float, norm: float) -> None:
    batch = plan_batch(examples(2), replace(RECIPE, batch_size=2), Execution())
    with pytest.raises(RunError, match=r"step 7: .*math/0, code/1"):
        _check(value, norm, 7, batch)
