"""Resume states: what a killed stage continues from, bit for bit at an equal process count.

A state (store/resume_states.py) is written under a temporary name and then renamed, with the checksums of its files, so
one that is incomplete or damaged is recognised and passed over for the one before. A state that cannot be written, on a
full disk for instance, is reported and costs nothing but itself: training goes on and the last good one stays. Nothing
in a state is ever run (train/data_only.py).
"""

import logging
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import distributed as dist

from sft_sweeps.errors import RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.files import checksum, fence
from sft_sweeps.identity import VERSIONS
from sft_sweeps.store import resume_states
from sft_sweeps.store.resume_states import DAMAGED, FOLDER, STATE, TAG, WRITING, ResumeState
from sft_sweeps.tracking import metrics
from sft_sweeps.train import ranks
from sft_sweeps.train.data_only import data_only
from sft_sweeps.train.engine import TrainEngine

log = logging.getLogger(__name__)


def check(folder: Path, state: ResumeState, execution: TrainExecution) -> None:
    """RunError for a state that no process count could continue from."""
    if (state.zero_stage, state.batches) != (execution.zero_stage, VERSIONS["batches"]):
        raise RunError(
            f"the resume state {state.name} of {folder} was saved with ZeRO stage {state.zero_stage} and version "
            f"{state.batches} of the batches; these are {execution.zero_stage} and {VERSIONS['batches']}. "
            f"Delete {folder / FOLDER} to start the stage over."
        )


def continued(state: ResumeState, execution: TrainExecution) -> TrainExecution:
    """The execution with the threads that the stage began with: others would add up in another order.

    With another process count the sums are others anyway, and the threads are those that this start has cores for.
    """
    if not state.threads or state.processes != execution.processes or state.threads == execution.threads:
        return execution
    log.info("it began with %d threads a process and goes on with them, not %d", state.threads, execution.threads)
    torch.set_num_threads(state.threads)
    return replace(execution, threads=state.threads)


def newest(folder: Path) -> tuple[ResumeState | None, list[str]]:
    """On every rank: the undamaged state with the most steps, and of each newer one what was wrong with it.

    The ranks share the reading; what is damaged is set aside.
    """
    first, passed_over = dist.get_rank() == 0, list[str]()
    for path in ranks.from_first(resume_states.paths(folder) if first else None):
        state, problem = ranks.from_first(resume_states.read(path) if first else None)
        if state:
            mine = resume_states.damaged(path, state, dist.get_rank(), dist.get_world_size())
            damaged = sorted(name for names in ranks.of_all(mine) for name in names)
            if not damaged:
                break
            problem = f"{', '.join(damaged)} changed since it was written"
            if first:
                resume_states.set_aside(path)
        passed_over.append(f"{path.name}: {problem}")
    else:
        state = None
    if first and passed_over:
        then = f"continuing from {state.name}" if state else "none is left, the stage starts from its parent again"
        log.warning("passing over resume states of %s: %s; %s", folder.name, "; ".join(passed_over), then)
    return state, passed_over


def load(engine: TrainEngine, folder: Path, state: ResumeState, source: Path) -> None:
    """Put the resume state, which lies in `source`, into the engine, on every rank."""
    # Other bins would add up in another order: a stage ends with those that it began with.
    engine.token_budget = state.token_budget
    try:
        with data_only():
            loaded = engine.load(source, TAG)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f": it names {named[1]}" if named else ""
        raise RunError(
            f"the resume state {state.name} of {folder} holds more than numbers and is not loaded{what}. "
            f"Delete {folder / FOLDER} to start the stage over."
        ) from None
    if not loaded:
        raise RunError(f"the resume state {state.name} of {folder} cannot be loaded.")


def save(engine: TrainEngine, folder: Path, step: int) -> bool:
    """Write a resume state, on every rank; False, and a report in the log, when it could not be written."""
    started = time.monotonic()
    target = folder / FOLDER / resume_states.name(step)
    writing = target.with_name(str(ranks.from_first(f"{WRITING}{fence.token()}-{target.name}")))
    done, checksums = ranks.agree(_attempt(engine.rank == 0, lambda: _start(writing))), dict[str, str]()
    if done:
        written = ranks.of_all(_save_ranks(engine, writing))
        done = all(part is not None for part in written)
        checksums = {name: checksum for part in written for name, checksum in (part or {}).items()}
    if done and engine.rank == 0:
        seconds = round(time.monotonic() - started, 3)
        done = _attempt(True, lambda: _finish(_state(engine, step, seconds, writing, checksums), writing, target))
    done = ranks.agree(done)
    if engine.rank == 0:
        if done:
            _prune(folder, engine.execution.keep)
            log.info("resume state of step %d saved in %.2f s", step, time.monotonic() - started)
        else:
            log.warning("no resume state of step %d: training goes on, the one before stays", step)
            shutil.rmtree(writing, ignore_errors=True)
    return done


def _save_ranks(engine: TrainEngine, writing: Path) -> dict[str, str] | None:
    """Write this rank's files; their checksums, or None where one could not be written.

    A write that fails must not leave the others waiting inside DeepSpeed: it is remembered.
    """
    ok, checksums = True, dict[str, str]()

    def keep(state_dict: Any, path: Path) -> None:
        checksums[str(path.relative_to(writing))] = _write(state_dict, path)

    def write(state_dict: Any, path: str) -> None:
        nonlocal ok
        # DeepSpeed names files by rank and step with a tag of its own; only the writing is ours.
        ok &= _attempt(True, lambda: keep(state_dict, Path(path)))

    # Both are DeepSpeed's private ways: its writer, and two scripts that it copies into every checkpoint.
    engine.deepspeed.checkpoint_engine.save = write
    engine.deepspeed._copy_recovery_script = _nothing
    frozen = engine.adapter is not None  # the parent's weights, which are there
    engine.deepspeed.save_checkpoint(str(writing), tag=TAG, save_latest=False, exclude_frozen_parameters=frozen)
    return checksums if ok else None


def _nothing(_: Any) -> None:
    """Copies no script."""


def _attempt(mine: bool, action: Callable[[], None]) -> bool:
    """Whether the action went well; a rank that it is not for does nothing."""
    if not mine:
        return True
    try:
        action()
    # torch's writer turns a full disk into a RuntimeError.
    except (OSError, RuntimeError) as error:
        log.warning("writing a resume state failed: %s", error)
        return False
    return True


def _start(writing: Path) -> None:
    fence.check()
    for left in (*writing.parent.glob(f"{WRITING}{fence.token()}*"), *writing.parent.glob(f"{DAMAGED}*")):
        shutil.rmtree(left)
    (writing / TAG).mkdir(parents=True)


def _write(value: Any, path: Path) -> str:
    with path.open("wb") as stream:
        summed = checksum.Summed(stream)
        torch.save(value, cast(IO[bytes], summed))
        stream.flush()
        os.fsync(stream.fileno())
    return summed.checksum


def _state(engine: TrainEngine, step: int, seconds: float, writing: Path, checksums: dict[str, str]) -> ResumeState:
    zero_stage, batches = engine.execution.zero_stage, VERSIONS["batches"]
    rest = (engine.token_budget, batches, resume_states.sizes(writing), seconds, checksums, engine.execution.threads)
    return ResumeState(step, engine.processes, zero_stage, *rest)


def _finish(state: ResumeState, writing: Path, target: Path) -> None:
    resume_states.write(writing, state)
    metrics.sync(target.parents[1])  # a node that dies now keeps the state, and must keep the steps that led to it
    fence.check()
    if target.exists():
        _remove(target)
    fence.publish(writing, target)


def _prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` valid states."""
    valid = 0
    for path in resume_states.paths(folder):
        state, _ = resume_states.read(path)
        valid += state is not None
        if state is None or valid > max(1, keep):
            _remove(path)


def _remove(path: Path) -> None:
    # Without state.json it is invalid, however far the rest comes.
    (path / STATE).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
