"""What is measured of every step, and when training has gone wrong."""

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from sft_sweeps.models.architectures import read_shape
from sft_sweeps.plan import cost
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import loss
from sft_sweeps.train.engine import TrainEngine
from sft_sweeps.train.steps import Batch

WINDOW = 16  # steps over which a loss is judged
DIVERGED = 3.0  # times the first window's mean, and more than half of what guessing costs


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What one optimizer step did, over all ranks: `step` counts from 1, tokens are real ones, without padding.

    `mfu` is the share of the devices' peak that the model's own operations took (plan/cost.py);
    None where no peak is known. `loss_by_source` is the mean over a source's supervised tokens, whatever their weights
    in the loss, of the sources that the step has some of; `heldout_loss_by_source` that of held-out examples after the
    step, where it is due (train/heldout.py).
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    supervised_tokens: int
    seconds: float
    tokens_per_second: float
    mfu: float | None
    token_budget: int
    examples_by_source: dict[str, int]
    supervised_by_source: dict[str, int]
    loss_by_source: dict[str, float]
    heldout_loss_by_source: dict[str, float] | None = None


class Meter:
    """What is measured of the steps of one attempt."""

    def __init__(self, engine: TrainEngine, recipe: Recipe) -> None:
        self._shape = replace(read_shape(engine.deepspeed.module.config.to_dict()), parameters=engine.parameters)
        self._guessing, self._budget = math.log(self._shape.vocab_size), engine.token_budget
        self._adapter = recipe.adapter
        name = torch.cuda.get_device_name() if engine.device.type == "cuda" else ""
        self._peak = engine.processes * cost.peak_flops(name, recipe.precision)
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=WINDOW)

    def diverged(self, loss: float) -> bool:
        """Whether the losses of the last window have left those of the first far behind."""
        self._last.append(loss)
        if len(self._first) < WINDOW:
            self._first.append(loss)
            return False
        mean, before = sum(self._last) / len(self._last), sum(self._first) / len(self._first)
        return mean > DIVERGED * before and mean > self._guessing / 2

    @property
    def mean(self) -> float:
        return sum(self._last) / max(1, len(self._last))

    def metrics(self, batch: Batch, seconds: float, losses: Mapping[str, float], **measured: Any) -> StepMetrics:
        """Of a step that took so long; `losses` are the sums of each source's."""
        lengths = [len(example.input_ids) for example in batch.examples]
        supervised: Counter[str] = Counter()
        for example in batch.examples:
            supervised[example.source] += loss.supervised_tokens(example)
        flops = sum(n * cost.flops_per_token(self._shape, n, self._adapter) for n in lengths)
        return StepMetrics(
            **measured,
            tokens=sum(lengths),
            supervised_tokens=supervised.total(),
            seconds=seconds,
            tokens_per_second=sum(lengths) / seconds,
            mfu=flops / seconds / self._peak if self._peak else None,
            token_budget=self._budget,
            examples_by_source=dict(Counter(example.source for example in batch.examples)),
            supervised_by_source=dict(supervised),
            loss_by_source={source: losses[source] / tokens for source, tokens in supervised.items() if tokens},
        )


def spoiled(meter: Meter, total: float, grad_norm: float | None, step: int, batch: Batch) -> str:
    """What has gone wrong in a step, and with which examples."""
    ids = ", ".join(example.id for example in batch.examples)
    if grad_norm is not None:
        what = f"the loss is {total:.4g}, but the gradient norm {grad_norm}"
    elif math.isfinite(total):
        what = f"training diverges, the mean loss of the last {WINDOW} steps is {meter.mean:.4g}"
    else:
        what = f"the loss is {total}"
    return f"step {step}: {what}. The examples were: {ids}. "
