"""The engine under DeepSpeed: gradients that are no numbers leave the weights, a closed engine leaves no memory."""

import gc
import json
import math
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training import RECIPE, SHAPE, in_child

from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise

CASES = [(2, "fp32"), (2, "bf16"), (3, "fp32"), (3, "bf16")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("engine") / "base"
    materialise(SHAPE, 0, [], folder)
    return str(folder)


@contextmanager
def opened(base: str, zero_stage: int, precision: str) -> Iterator[tuple[Any, Any]]:
    """An engine, and a row of one example with every token supervised."""
    from sft_sweeps.train import loss, ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process

    execution = TrainExecution(zero_stage=zero_stage, whole_parameters=0)
    prepare_process(execution)
    with ranks.process_group(1):
        row = loss.blank(40, ranks.device())
        weighted = replace(row, weights=torch.full_like(row.weights, 1 / 40))
        # Under no name here: this generator must not be what keeps it.
        yield TrainEngine(Path(base), replace(RECIPE, precision=precision), execution), weighted


def compilers_used(base: str) -> str:
    """What DeepSpeed tries to compile until an engine stands, and whether torch's compiler was loaded."""
    from deepspeed.ops.op_builder.builder import OpBuilder

    from sft_sweeps.train.engine import deepspeed

    tried: list[str] = []
    OpBuilder.has_function = lambda _, name, *__, **___: tried.append(name)
    vars(deepspeed.ops).pop("__compatible_ops__", None)
    with opened(base, 3, "fp32"):
        return json.dumps([tried, "torch._inductor.compile_fx" in sys.modules])


def test_an_engine_starts_without_a_compiler(base: str) -> None:
    """DeepSpeed tries which of its ops could be compiled once somebody wants to know; here nothing is compiled."""
    assert json.loads(in_child(compilers_used, base)) == [[], False]


def spoilt(base: str, zero_stage: int, precision: str) -> str:
    """What a step with a gradient that is no number reports and does, and whether the next one works."""
    with opened(base, zero_stage, precision) as (engine, row):

        def weights() -> list[torch.Tensor]:
            return [tensor.clone() for _, tensor in engine.full_weights()]

        first = weights()
        _, norm = engine.step([row], 1e-3)
        before = weights()
        _, wrong = engine.step([replace(row, weights=row.weights * math.nan)], 1e-3)
        after = weights()
        _, again = engine.step([row], 1e-3)
        kept = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        moved = [
            any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
            for old, new in ((first, before), (after, weights()))
        ]
        return f"{math.isfinite(norm)} {wrong} {kept} {moved} {math.isfinite(again)}"


@pytest.mark.parametrize(("zero_stage", "precision"), CASES)
def test_gradients_that_are_no_numbers_never_reach_the_weights(base: str, zero_stage: int, precision: str) -> None:
    assert in_child(spoilt, base, zero_stage, precision) == "True nan True [True, True] True"


def clipped(base: str, zero_stage: int, precision: str) -> str:
    """Norms of a step's gradients and of what of them reached the optimizer, for a small loss and for a large one."""
    from deepspeed.utils import safe_get_full_optimizer_state

    with opened(base, zero_stage, precision) as (engine, row):
        norms, before = [], {}
        for times in (1e-3, 1e3):
            _, norm = engine.step([replace(row, weights=row.weights * times)], 0.0)
            reached = 0.0
            for name, parameter in engine.deepspeed.module.named_parameters():
                moment = safe_get_full_optimizer_state(parameter, "exp_avg").reshape(-1).clone()
                added = moment - RECIPE.adam_beta1 * before.get(name, 0.0)
                before[name] = moment
                reached += float((added / (1 - RECIPE.adam_beta1)).square().sum())
            norms.append((norm, math.sqrt(reached)))
        return json.dumps(norms)


@pytest.mark.parametrize(("zero_stage", "precision"), CASES)
def test_gradients_are_clipped_to_the_recipes_norm_and_only_above_it(
    base: str, zero_stage: int, precision: str
) -> None:
    """Seen in Adam's first moment: its step hides the size of a gradient."""
    small, large = json.loads(in_child(clipped, base, zero_stage, precision))
    assert small[0] < RECIPE.max_grad_norm < large[0], "one step must need clipping, the other none"
    assert small[1] == pytest.approx(small[0], rel=1e-3)
    assert large[1] == pytest.approx(RECIPE.max_grad_norm, rel=1e-3)


def left(base: str, zero_stage: int, precision: str) -> str:
    """What is still there of an engine that was closed after memory ran out inside a layer."""
    with opened(base, zero_stage, precision) as (engine, row):
        for _ in range(3):
            engine.step([row], 1e-3)
        held: dict[str, Any] = {"model": weakref.ref(engine.deepspeed.module)}
        held |= {"optimizer": weakref.ref(engine.deepspeed.optimizer)}
        held |= {name: weakref.ref(parameter) for name, parameter in engine.deepspeed.module.named_parameters()}
        engine.deepspeed.module.model.layers[1].mlp.register_forward_pre_hook(out_of_memory)
        with suppress(torch.OutOfMemoryError):
            engine.backward([row])
        engine.close()
        del engine, row
        gc.collect()
        return f"{[name for name, reference in held.items() if reference() is not None]}"


def out_of_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("there is no memory")


@pytest.mark.parametrize(("zero_stage", "precision"), CASES)
def test_nothing_is_left_of_a_closed_engine(base: str, zero_stage: int, precision: str) -> None:
    """Else a stage that ran out of memory would begin again with half of it taken."""
    assert in_child(left, base, zero_stage, precision) == "[]"
