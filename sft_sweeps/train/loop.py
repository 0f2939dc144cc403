"""One stage, from the parent's weights to its own: a generator of metrics that knows no tracker.

Every rank runs the same loop. Between the gradients of a step and the update of the weights stands one small sum over
the ranks: it carries the loss and that of each source, and whether any rank is to stop or rank 0 finds that a resume
state is due. All ranks therefore save, stop and fail together, and a loss that is no number never reaches the weights.
"""

import gc
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models import weights
from sft_sweeps.models.adapter import Parts
from sft_sweeps.spec.training import Recipe
from sft_sweeps.store import resume_states
from sft_sweeps.train import budget, convert, loss, ranks, resume, starts
from sft_sweeps.train.engine import TrainEngine, learning_rate, prepare_process
from sft_sweeps.train.heldout import HeldOut
from sft_sweeps.train.meter import Meter, StepMetrics, spoiled
from sft_sweeps.train.save import FOLDER, merge_adapter, save_adapter, save_model
from sft_sweeps.train.start import Start, frozen
from sft_sweeps.train.steps import prepared

SAVE_SHARE = 0.05


class Data(NamedTuple):
    """The examples that a stage is trained on, and those on which losses are taken meanwhile."""

    encoded: Sequence[Encoded]
    heldout: Sequence[Encoded]


def train(
    parent: Path | Parts,
    folder: Path,
    encoded: Sequence[Encoded],
    recipe: Recipe,
    execution: TrainExecution,
    *,
    stop: Callable[[], bool],
    heldout: Sequence[Encoded] = (),
    before: Path | None = None,
    number: int = 0,
    tokenizer: Path | None = None,
    chat_template: str = "",
    rendezvous: str = "",
) -> Generator[StepMetrics, None, str]:
    """Train the parent on the examples and write `folder/model`; continues from the newest resume state in `folder`.

    A recipe with an adapter writes `folder/adapter`, and the merged `folder/model` where the execution says so;
    `before` is the parent's adapter, where it has one and that is not merged into the weights to begin with, `number`
    counts those that were trained before. Losses are taken on the `heldout` examples.

    Yields on every rank after each step, and returns the digest of the weights. A finished model is left as it is.
    Raises Interrupted after a step for which `stop()` was true on any rank, when all have saved.
    """
    if not encoded:
        raise RunError(f"{folder}: there is no example to train on.")
    if both := {example.id for example in encoded} & {example.id for example in heldout}:
        raise RunError(f"{folder}: {min(both)} is held out, and trained on.")
    data = Data(encoded, heldout)
    parts = Parts(parent) if isinstance(parent, Path) else parent
    prepare_process(execution)
    with ranks.process_group(execution.processes, rendezvous), frozen(parts, folder) as whole:
        start = Start(whole, before, parts, number)
        finish = partial(_finish, start, folder, tokenizer=tokenizer or whole, chat_template=chat_template)
        made = folder / FOLDER  # beside an adapter it is a merged one, whose digest is not the adapter's
        finished = weights.digest(made) if made.is_dir() and not recipe.adapter else ""
        finished = str(ranks.from_first(finished))
        while not finished:
            try:
                finished = yield from _attempt(start, folder, data, recipe, execution, stop=stop, finish=finish)
            except budget.Halved:
                # Ranks that wait inside a collective learn of nothing; a rank that is alone can start over at once.
                if execution.processes > 1:
                    raise Interrupted(_halved(folder)) from None
            if not finished:  # the next attempt needs its memory
                _collect()
        return finished


def _finish(start: Start, folder: Path, engine: TrainEngine, *, tokenizer: Path, chat_template: str) -> str:
    """Write what was trained; its digest."""
    recipe, whole = engine.recipe, start.whole
    if not recipe.adapter:
        return save_model(engine, whole, folder, recipe.model_dtype, tokenizer=tokenizer, chat_template=chat_template)
    digest = save_adapter(engine, whole, folder, base=start.base, tokenizer=tokenizer, chat_template=chat_template)
    if engine.execution.merged:
        merge_adapter(start.parts, folder, recipe.model_dtype)
    return digest


def _attempt(
    start: Start,
    folder: Path,
    data: Data,
    recipe: Recipe,
    execution: TrainExecution,
    *,
    stop: Callable[[], bool],
    finish: Callable[[TrainEngine], str],
) -> Generator[StepMetrics, None, str]:
    """Until the model is written, or memory runs out."""
    engine, done = _continued(start, folder, recipe, execution, stop)
    try:
        # Rank 0's word: a file that is new may not be seen everywhere, and all must lay out the same bins.
        engine.token_budget = ranks.from_first(budget.at_start(engine.token_budget, folder))
        if not engine.token_budget:
            longest = max(len(example.input_ids) for example in data.encoded)
            most = longest * -(-recipe.batch_size // execution.processes)
            engine.token_budget = budget.find(engine, longest, most)
        yield from _steps(engine, folder, data, recipe, done=done, stop=stop)
        return finish(engine)
    finally:
        engine.close()


def _collect() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _continued(
    start: Start, folder: Path, recipe: Recipe, execution: TrainExecution, stop: Callable[[], bool]
) -> tuple[TrainEngine, int]:
    """The engine with the newest resume state in it, where there is one, and the steps that are done."""
    state, passed_over = resume.newest(folder)
    begun = partial(TrainEngine, start.whole, recipe, before=start.before, number=start.number)
    if state is None:
        engine = begun(execution)
    else:
        resume.check(folder, state, execution)
        execution = resume.continued(state, execution)
        as_saved = nullcontext(folder / resume_states.FOLDER / state.name)
        other = state.processes != execution.processes
        with convert.converted(folder, state, execution.processes, stop) if other else as_saved as source:
            engine = begun(execution, universal=other)
            resume.load(engine, folder, state, source)
    done = state.step if state else 0
    if engine.rank == 0:
        starts.note(folder, engine.loaded, done, passed_over, engine.execution.threads)
    return engine, done


def _steps(
    engine: TrainEngine,
    folder: Path,
    data: Data,
    recipe: Recipe,
    *,
    done: int,
    stop: Callable[[], bool],
) -> Generator[StepMetrics, None, None]:
    """The steps that are left after the `done` first."""
    encoded, heldout = data.encoded, HeldOut(engine, data.heldout, padded=recipe.padded)
    steps, meter = recipe.steps(sum(example.repeat for example in encoded)), Meter(engine, recipe)
    sources = sorted({example.source for example in encoded})
    coming = prepared(engine, encoded, recipe, range(done, steps))
    started = saved_at = time.monotonic()
    save_seconds = resume_states.save_seconds(folder) if engine.rank == 0 else 0.0
    for step, (batch, bins) in enumerate(coming, start=done + 1):
        rate = learning_rate(recipe, step - 1, steps)
        engine.seed(step)
        part = _backward(engine, folder, encoded, bins, step)
        due = engine.rank == 0 and save_due(engine.execution, step, started - saved_at, save_seconds)
        own = batch.losses_by_source(engine.rank, bins, sources)
        total, stopping, saving, *losses = ranks.sums([float(part), float(stop()), float(due), *own])
        if not math.isfinite(total) or meter.diverged(total):
            saved = resume.save(engine, folder, step - 1)  # the weights are still those of before
            raise RunError(spoiled(meter, total, None, step, batch) + _ways_out(folder, step - 1 if saved else None))
        grad_norm = engine.update(rate)
        if not math.isfinite(grad_norm):
            raise RunError(spoiled(meter, total, grad_norm, step, batch) + _ways_out(folder, None))
        seconds = time.monotonic() - started
        measured: dict[str, Any] = {"loss": total, "learning_rate": rate, "grad_norm": grad_norm}
        measured |= {"heldout_loss_by_source": heldout.after(step, steps)}
        started = time.monotonic()
        yield meter.metrics(batch, seconds, dict(zip(sources, losses, strict=True)), step=step, steps=steps, **measured)
        if stopping or (saving and step < steps):
            saved = resume.save(engine, folder, step)
            save_seconds, saved_at = time.monotonic() - started, time.monotonic()
            started = saved_at
            if stopping:
                raise Interrupted(_interrupted(folder, step, steps, saved))


def _backward(
    engine: TrainEngine, folder: Path, encoded: Sequence[Encoded], bins: Sequence[loss.Bin], step: int
) -> torch.Tensor:
    try:
        return engine.backward(bins)
    except torch.OutOfMemoryError:
        longest = max(len(example.input_ids) for example in encoded)
        budget.halve(folder, step, engine.token_budget, longest)
    # Outside, so that what the traceback holds is free before the model is built again.
    raise budget.Halved


def save_due(execution: TrainExecution, step: int, seconds: float, cost: float) -> bool:
    """Whether to save after a step, `seconds` after the last time, where saving takes `cost` seconds.

    By time, saving takes at most SAVE_SHARE of it, however slow the disk is; by steps, the user decides.
    """
    by_steps = execution.save_every_steps > 0 and step % execution.save_every_steps == 0
    interval = max(execution.save_every_seconds, cost / SAVE_SHARE)
    return by_steps or (execution.save_every_seconds > 0 and seconds >= interval)


def _ways_out(folder: Path, step: int | None) -> str:
    where = (
        f"{folder / resume_states.FOLDER}"
        if step is None
        else f"{folder / resume_states.FOLDER / resume_states.name(step)}"
    )
    return f"Look at them, or lower train.learning_rate. The weights of before are in {where}."


def _halved(folder: Path) -> str:
    return f"{folder.name} ran out of GPU memory; the next start takes half the token budget. Launch again to continue."


def _interrupted(folder: Path, step: int, steps: int, saved: bool) -> str:
    kept = "its resume state is saved" if saved else "its resume state could not be saved, the one before stays"
    return f"{folder.name} stopped after step {step} of {steps}; {kept}. Launch again to continue."
