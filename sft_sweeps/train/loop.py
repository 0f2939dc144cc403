"""One stage, from the parent's weights to its own: a generator of metrics that knows no tracker.

Every rank runs the same loop. The examples of a step, how they are spread over ranks and how many bins each rank
needs follow from the data alone, so every rank knows them all. One small sum over the ranks ends a step: it carries the
loss, and whether any rank was told to stop or rank 0 finds that a resume state is due. All ranks therefore save, stop
and fail together, at a step boundary.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import distributed as dist

from sft_sweeps.data import batches
from sft_sweeps.data.encode import Encoded
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.spec import Execution, Recipe
from sft_sweeps.train import convert, loss, ranks, resume, states, weights
from sft_sweeps.train.engine import Engine, learning_rate, prepare_process
from sft_sweeps.train.save import FOLDER, save_model


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What one optimizer step did, over all ranks: `step` counts from 1, tokens are real ones (there is no padding)."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    supervised_tokens: int
    seconds: float
    tokens_per_second: float
    examples_by_source: dict[str, int]
    supervised_by_source: dict[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of a step with the weight of a supervised token of each, and every rank's bins of places in it."""

    examples: list[Encoded]
    weights: list[float]
    bins: list[list[list[int]]]  # [rank][bin][place]

    def rows(self, rank: int) -> list[tuple[list[Encoded], list[float]]]:
        """A rank's bins; as many on every rank: one that has fewer runs its shortest example at weight zero."""
        most = max(len(of_rank) for of_rank in self.bins)
        filled = [([self.examples[at] for at in row], [self.weights[at] for at in row]) for row in self.bins[rank]]
        filler = min(self.examples, key=lambda example: len(example.input_ids))
        return filled + [([filler], [0.0])] * (most - len(filled))


def train(
    parent: Path,
    folder: Path,
    encoded: Sequence[Encoded],
    recipe: Recipe,
    execution: Execution,
    *,
    stop: Callable[[], bool],
    tokenizer: Path | None = None,
    chat_template: str = "",
    rendezvous: str = "",
) -> Generator[StepMetrics, None, str]:
    """Train the parent on the examples and write `folder/model`; continues from the newest resume state in `folder`.

    Yields on every rank after each step, and returns the digest of the weights. A finished model is left as it is.
    Raises Interrupted after a step for which `stop()` was true on any rank, when all have saved.
    """
    if not encoded:
        raise RunError(f"{folder}: there is no example to train on.")
    prepare_process(execution)
    with ranks.process_group(execution.processes, rendezvous):
        finished = weights.digest(folder / FOLDER) if (folder / FOLDER).is_dir() else ""
        finished = str(ranks.from_first(finished))
        if finished:
            return finished
        engine, done = _continued(parent, folder, recipe, execution, stop)
        yield from _steps(engine, folder, encoded, recipe, done=done, stop=stop)
        finished = save_model(
            engine, parent, folder, recipe.model_dtype, tokenizer=tokenizer or parent, chat_template=chat_template
        )
        engine.deepspeed.destroy()
        return finished


def _continued(
    parent: Path, folder: Path, recipe: Recipe, execution: Execution, stop: Callable[[], bool]
) -> tuple[Engine, int]:
    """The engine with the newest resume state in it, where there is one, and the steps that are done."""
    state = ranks.from_first(states.newest(folder) if dist.get_rank() == 0 else None)
    if state is None:
        return Engine(parent, recipe, execution), 0
    resume.check(folder, state, execution)
    as_saved = nullcontext(folder / states.FOLDER / state.name)
    other = state.processes != execution.processes
    with convert.converted(folder, state, execution.processes, stop) if other else as_saved as source:
        engine = Engine(parent, recipe, execution, universal=other)
        resume.load(engine, folder, state, source)
    return engine, state.step


def _steps(
    engine: Engine, folder: Path, encoded: Sequence[Encoded], recipe: Recipe, *, done: int, stop: Callable[[], bool]
) -> Generator[StepMetrics, None, None]:
    """The steps that are left after the `done` first."""
    ids, steps = tuple(example.id for example in encoded), recipe.steps(len(encoded))
    saved_at = time.monotonic()
    for step in range(done, steps):
        started = time.monotonic()
        places = batches.batch(ids, recipe.seed, recipe.batch_size, step)
        batch = plan_batch([encoded[place] for place in places], recipe, engine.execution)
        rate = learning_rate(recipe, step, steps)
        rows = [loss.to_row(examples, weight, engine.device) for examples, weight in batch.rows(engine.rank)]
        mine, grad_norm = engine.step(rows, rate)
        due = engine.rank == 0 and _due(engine.execution, step + 1, started - saved_at)
        total, stopping, saving = ranks.sums([float(mine), float(stop()), float(due)])
        _check(total, grad_norm, step + 1, batch)
        seconds = time.monotonic() - started
        yield _metrics(batch, seconds, step=step + 1, steps=steps, loss=total, learning_rate=rate, grad_norm=grad_norm)
        if stopping or (saving and step + 1 < steps):
            saved = resume.save(engine, folder, step + 1)
            saved_at = time.monotonic()
            if stopping:
                raise Interrupted(_interrupted(folder, step + 1, steps, saved))


def plan_batch(examples: list[Encoded], recipe: Recipe, execution: Execution) -> Batch:
    """Spread the examples of a step over ranks and bins."""
    lengths = [len(example.input_ids) for example in examples]
    weight = loss.token_weights([loss.supervised_tokens(example) for example in examples], recipe)
    bins = []
    for share in batches.share(lengths, execution.processes):
        packed = batches.bins([lengths[at] for at in share], execution.token_budget)
        bins.append([[share[place] for place in row] for row in packed])
    return Batch(examples, weight, bins)


def _due(execution: Execution, step: int, seconds: float) -> bool:
    by_steps = execution.save_every_steps > 0 and step % execution.save_every_steps == 0
    return by_steps or 0 < execution.save_every_seconds <= seconds


def _check(total: float, grad_norm: float, step: int, batch: Batch) -> None:
    """A loss or a gradient that is no number would spoil the weights without a word."""
    if not (math.isfinite(total) and math.isfinite(grad_norm)):
        ids = ", ".join(example.id for example in batch.examples)
        raise RunError(f"step {step}: the loss is {total}, the gradient norm {grad_norm}. The examples were: {ids}.")


def _metrics(batch: Batch, seconds: float, **measured: Any) -> StepMetrics:
    tokens = sum(len(example.input_ids) for example in batch.examples)
    supervised: Counter[str] = Counter()
    for example in batch.examples:
        supervised[example.source] += loss.supervised_tokens(example)
    return StepMetrics(
        **measured,
        tokens=tokens,
        supervised_tokens=supervised.total(),
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        examples_by_source=dict(Counter(example.source for example in batch.examples)),
        supervised_by_source=dict(supervised),
    )


def _interrupted(folder: Path, step: int, steps: int, saved: bool) -> str:
    kept = "its resume state is saved" if saved else "its resume state could not be saved, the one before stays"
    return f"{folder.name} stopped after step {step} of {steps}; {kept}. Launch again to continue."
