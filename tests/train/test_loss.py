"""The loss of a step does not depend on how its examples are laid out."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, log_softmax, scaled_dot_product_attention
from training import RECIPE, SHAPE, examples
from transformers import AutoConfig, AutoModelForCausalLM, get_cosine_schedule_with_warmup

from sft_sweeps.data.encode import batches
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.models.init import materialise
from sft_sweeps.ranges import literals
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import attention, head, loss
from sft_sweeps.train.engine import learning_rate
from sft_sweeps.train.steps import plan_batch, prepared

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loss") / "base"
    materialise(SHAPE, 0, [], folder)
    return folder


def load(folder: Path, implementation: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=implementation)


def trained(folder: Path) -> Any:
    return head.trained_class(AutoConfig.from_pretrained(folder)).from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention.NAME
    )


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
    row = loss.to_bin(chosen, [1.0] * len(chosen), CPU)
    together = packed(
        input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, lengths=row.lengths
    ).logits[0]
    pieces = together.split(list(row.lengths))
    assert len(pieces) == len(chosen)
    for example, piece in zip(chosen, pieces, strict=True):
        expected = plain(input_ids=torch.tensor(example.input_ids.tolist())[None]).logits[0]
        torch.testing.assert_close(piece, expected, rtol=0, atol=1e-6)


def reference(*given: Any, **how: Any) -> torch.Tensor:
    """What a kernel for rows of several examples is documented to do, for either's names of its settings."""
    q, k, v, first, other, longest, _ = given
    assert how.get("causal") or how.get("window_size") == (-1, 0)
    assert torch.equal(first, other)
    assert first.dtype == torch.int32
    scale = how.get("softmax_scale", how.get("scale"))
    found = []
    for start, end in pairwise(first.tolist()):
        assert end - start <= longest
        heads = [states[start:end].transpose(0, 1)[None] for states in (q, k, v)]
        shared = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}
        attended = scaled_dot_product_attention(*heads, is_causal=True, scale=scale, **shared)
        found.append(attended[0].transpose(0, 1))
    return torch.cat(found)


@pytest.mark.parametrize("made", [attention._of_torch, attention._of_flash_attention])
def test_a_fused_kernel_is_given_what_the_pieces_are(made: Any) -> None:
    """The kernels themselves need a GPU; how they are called does not. Keys are shared between heads."""
    torch.manual_seed(0)
    lengths = (5, 1, 9)
    query, key, value = torch.randn(1, 4, 15, 8), torch.randn(1, 2, 15, 8), torch.randn(1, 2, 15, 8)
    scores = attention.Scores(0.3)
    expected = attention.per_example(query, key, value, lengths, scores)
    flat = tuple(states[0].transpose(0, 1) for states in (query, key, value))
    found = made(reference)(flat, torch.tensor([0, 5, 6, 15], dtype=torch.int32), 9, scores)[None]
    torch.testing.assert_close(found, expected)
    ends = loss.to_bin([examples(3)[at] for at in (2, 0, 1)], [1.0] * 3, CPU).boundaries
    assert ends.tolist() == [0, *np.cumsum([len(examples(3)[at].input_ids) for at in (2, 0, 1)])]


def reduced(parts: list[tuple[torch.Tensor, int]], reduction: str) -> torch.Tensor:
    """The losses of a step as the names say it: means of means, without weights. `parts`: (sum, tokens)."""
    size = {"token_mean": 16, "example_mean": 1, "device_mean": 4}[reduction]
    groups = [parts[start : start + size] for start in range(0, 16, size)]
    means = [torch.stack([part for part, _ in group]).sum() / sum(n for _, n in group) for group in groups]
    return torch.stack(means).mean()


@pytest.mark.parametrize("reduction", literals(Recipe, "loss_reduction"))
@pytest.mark.parametrize(("budget", "processes"), [(60, 1), (150, 3), (8192, 1)])
def test_loss_and_gradient_equal_those_of_examples_alone(
    base: Path, budget: int, processes: int, reduction: str
) -> None:
    model, plain = trained(base), load(base, "eager")
    chosen = examples(16)
    recipe = replace(RECIPE, loss_reduction=reduction, virtual_devices=4 * (reduction == "device_mean"))
    expected = reduced([(alone(plain, example), loss.supervised_tokens(example)) for example in chosen], reduction)
    expected.backward()
    batch = plan_batch(chosen, recipe, processes, budget)
    found = 0.0
    for rank in range(processes):
        for in_row, weights in batch.of_rank(rank):
            value = model(loss.to_bin(in_row, weights, CPU))
            value.backward()
            found += float(value.detach())
    assert found == pytest.approx(float(expected.detach()), abs=1e-6)
    ours, theirs = gradients(model), gradients(plain)
    assert len(ours) == 21
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=1e-6)


def test_every_rank_has_as_many_bins_and_every_example_counts_once() -> None:
    chosen = examples(16)
    batch = plan_batch(chosen, RECIPE, 3, 60)
    rows = [batch.of_rank(rank) for rank in range(3)]
    assert len({len(of_rank) for of_rank in rows}) == 1
    assert {len(of_rank) for of_rank in batch.bins} != {len(rows[0])}, "no rank needed filling: the test shows nothing"
    counted = [
        example.id for of_rank in rows for row, weights in of_rank for example, w in zip(row, weights, strict=True) if w
    ]
    assert sorted(counted) == sorted(example.id for example in chosen)


def test_a_rank_is_filled_up_with_the_shortest_example() -> None:
    """It is computed for nothing, so it must cost as little as there is."""
    chosen = examples(16)
    batch = plan_batch(chosen, RECIPE, 3, 60)
    fillers = [
        (len(row[0].input_ids), len(row))
        for rank in range(3)
        for row, weights in batch.of_rank(rank)
        if not any(weights)
    ]
    assert fillers, "no rank needed filling: the test shows nothing"
    assert set(fillers) == {(min(len(example.input_ids) for example in chosen), 1)}


class OneRank:
    """What laying out batches needs of an engine."""

    processes, rank, device, token_budget = 1, 0, CPU, 60


def test_the_recipes_seed_and_the_step_say_which_examples_come() -> None:
    """Whatever was done before: a resumed stage goes on with the batches that are left."""
    encoded = examples(40)
    ids = tuple(example.id for example in encoded)
    shown = batches.Shown(ids)

    def taken(seed: int, steps: range) -> list[set[str]]:
        made = prepared(OneRank(), encoded, replace(RECIPE, seed=seed), steps)  # type: ignore[arg-type]
        return [{example.id for example in batch.examples} for batch, _ in made]

    for seed in (0, 1):
        expected = [batches.batch(shown, seed, RECIPE.batch_size, step) for step in range(4)]
        assert taken(seed, range(4)) == [{ids[index] for index in step} for step in expected]
        assert taken(seed, range(2, 4)) == taken(seed, range(4))[2:]
    assert taken(0, range(2)) != taken(1, range(2))
    assert taken(0, range(0)) == []


def test_an_example_without_supervised_tokens_adds_nothing(base: Path) -> None:
    model = trained(base)
    silent = replace(examples(1)[0], supervised=np.zeros(len(examples(1)[0].input_ids), dtype=np.bool_))
    weights = loss.token_weights([loss.supervised_tokens(silent)], RECIPE)
    value = model(loss.to_bin([silent], weights, CPU))
    value.backward()
    assert float(value.detach()) == 0
    assert all(not gradient.any() for gradient in gradients(model).values())


def test_the_first_token_is_nobodys_target() -> None:
    whole = replace(examples(1)[0], supervised=np.ones(len(examples(1)[0].input_ids), dtype=np.bool_))
    assert loss.supervised_tokens(whole) == len(whole.input_ids) - 1
    assert len(loss.to_bin([whole], [1.0], CPU).targets) == len(whole.input_ids) - 1


COUNTS = st.lists(st.integers(0, 50), min_size=12, max_size=12)


def recipe(reduction: str, devices: int = 0) -> Recipe:
    return replace(RECIPE, loss_reduction=reduction, virtual_devices=devices)


@given(counts=COUNTS, devices=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_weights_sum_to_one_and_equal_within_each_device(counts: list[int], devices: int) -> None:
    found = loss.token_weights(counts, recipe("device_mean", devices))
    if any(counts):
        assert sum(n * weight for n, weight in zip(counts, found, strict=True)) == pytest.approx(1)
    size = len(counts) // devices
    groups = [slice(start, start + size) for start in range(0, len(counts), size)]
    shares = {round(sum(n * w for n, w in zip(counts[at], found[at], strict=True)), 9) for at in groups}
    assert len(shares - {0.0}) <= 1, "a device counts more than another"
    assert all(len(set(found[at])) == 1 for at in groups)


@given(counts=COUNTS)
def test_the_reductions_meet_where_they_must(counts: list[int]) -> None:
    """One device: every token alike. One example to a device: every example alike."""
    assert loss.token_weights(counts, recipe("device_mean", 1)) == loss.token_weights(counts, recipe("token_mean"))
    assert loss.token_weights(counts, recipe("device_mean", 12)) == loss.token_weights(counts, recipe("example_mean"))


def test_token_weights() -> None:
    assert loss.token_weights([3, 1, 0], recipe("token_mean")) == [0.25, 0.25, 0.25]
    assert loss.token_weights([0, 0], recipe("token_mean")) == [0.0, 0.0]
    assert loss.token_weights([4, 0, 1], recipe("example_mean")) == [0.125, 0.0, 0.5]
    assert loss.token_weights([3, 1, 5, 5, 0, 0], recipe("device_mean", 3)) == [1 / 8, 1 / 8, 1 / 20, 1 / 20, 0, 0]
    for unknown in (recipe("sum"), recipe("device_mean", 0), recipe("device_mean", 2)):
        with pytest.raises(RunError, match="loss_reduction"):
            loss.token_weights([1, 1, 1], unknown)


def test_weights_of_sources() -> None:
    """By hand: a token's share in the mean times its source's weight, and all divided by their sum."""
    counts, factors = [3, 1, 2, 0], [1.0, 2.0, 1.0, 2.0]
    expected = {
        "token_mean": [1 / 7, 2 / 7, 1 / 7],  # 3 + 2 + 2 parts of one
        "example_mean": [1 / 12, 1 / 2, 1 / 8],  # examples of 1, 2 and 1 parts
        "device_mean": [1 / 9, 2 / 9, 2 / 9],  # a device of 3/4 + 2/4 parts and one of 1
    }
    for reduction, shares in expected.items():
        found = loss.token_weights(counts, recipe(reduction, 2 * (reduction == "device_mean")), factors)
        assert found[:3] == pytest.approx(shares)  # the last has no token
        assert sum(n * share for n, share in zip(counts, found, strict=True)) == pytest.approx(1)
    assert loss.token_weights(counts, recipe("token_mean"), [5.0] * 4) == pytest.approx(
        loss.token_weights(counts, recipe("token_mean"))
    )
    assert loss.token_weights([0, 0], recipe("token_mean"), [1.0, 2.0]) == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_chunked_loss_equals_torchs_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Value and gradients against cross_entropy on the whole logits, extreme logits and no token at all included."""
    torch.manual_seed(0)
    exact = {torch.float32: 1e-5, torch.bfloat16: 2**-7}[dtype]  # of the largest: sums of terms that are rounded
    for kept, chunk in ((0, 64), (1, 1), (37, 97), (37, 500), (37, 1 << 20)):
        monkeypatch.setitem(head.CHUNK, "cpu", chunk)
        hidden = (8 * torch.randn(kept, 8)).to(dtype).requires_grad_()
        layer = head.LossHead(8, 97, bias=False, dtype=dtype)
        targets, weights = torch.randint(97, (kept,)), torch.rand(kept)
        layer.weight.data *= 10
        own = torch.full((kept,), torch.nan)
        found = layer(hidden, targets, weights, own) * 3
        found.backward()
        ours = (hidden.grad, layer.weight.grad)
        hidden.grad = layer.weight.grad = None
        losses = cross_entropy((hidden @ layer.weight.T).float(), targets, reduction="none")
        expected = (losses * weights).sum() * 3
        expected.backward()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(own, losses, rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(ours, (hidden.grad, layer.weight.grad), strict=True):
            largest = float(theirs.abs().max()) if theirs.numel() else 0.0
            torch.testing.assert_close(mine, theirs, rtol=exact, atol=exact * largest)


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
