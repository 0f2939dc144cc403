"""What a stage's log says while it trains: its size, steps with loss and speed, how long it will take."""

import logging
import time
from collections import deque

from sft_sweeps.spec.training import Stage
from sft_sweeps.terminal import duration
from sft_sweeps.tracking.metrics import RECENT, left
from sft_sweeps.train.meter import StepMetrics

log = logging.getLogger(__name__)

PARTS = 10  # of a stage, after each of which a line is due
SECONDS = 60.0  # after which one is due anyway


class StepLog:
    """Logs the first step of an attempt, those that the time left can first be told from, and then some of the rest."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._first = self._part = 0
        self._said = 0.0

    def __call__(self, done: StepMetrics) -> None:
        """Of one step that was made."""
        self._recent.append(done.seconds)
        if done.heldout_loss_by_source:
            losses = ", ".join(f"{name} {value:.4f}" for name, value in done.heldout_loss_by_source.items())
            log.info("step %s of %s: loss of held-out examples: %s", f"{done.step:,}", f"{done.steps:,}", losses)
        part = done.step * PARTS // done.steps
        if not self._first:
            self._first = done.step
        elif done.step != self._first + RECENT and part == self._part and time.monotonic() < self._said + SECONDS:
            return
        self._part, self._said = part, time.monotonic()
        rest = duration(left(self._recent, done.step, done.steps))
        log.info(
            "step %s of %s: loss %.4f, gradient norm %.3f, learning rate %.3g, %s tokens/s, %s",
            f"{done.step:,}",
            f"{done.steps:,}",
            done.loss,
            done.grad_norm,
            done.learning_rate,
            f"{done.tokens_per_second:,.0f}",
            f"about {rest} left" if done.step < done.steps else "the last one",
        )


def log_start(stage: Stage, examples: int, done: int) -> None:
    """What is about to be trained."""
    start = f"from its resume state at step {done:,}" if done else f"from {stage.parent.label}"
    steps = stage.recipe.steps(examples)
    log.info("training %s (%s) %s: %s examples, %s steps", stage.label, stage.id, start, f"{examples:,}", f"{steps:,}")
