"""Resume states: what a killed stage continues from, bit for bit at an equal process count.

A state (store/resume_states.py) is written under a temporary name and then renamed, so one that is incomplete or cut
short is recognised and passed over. A state that cannot be written, on a full disk for instance, is reported and costs
nothing but itself: training goes on and the last good one stays.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sft_sweeps.errors import RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.files import fence
from sft_sweeps.identity import VERSIONS
from sft_sweeps.store import resume_states
from sft_sweeps.store.resume_states import FOLDER, STATE, TAG, WRITING, ResumeState
from sft_sweeps.train import ranks
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


def load(engine: TrainEngine, folder: Path, state: ResumeState, source: Path) -> None:
    """Put the resume state, which lies in `source`, into the engine, on every rank."""
    # Other bins would add up in another order: a stage ends with those that it began with.
    engine.token_budget = state.token_budget
    if not engine.load(source, TAG):
        raise RunError(f"the resume state {state.name} of {folder} cannot be loaded.")


def save(engine: TrainEngine, folder: Path, step: int) -> bool:
    """Write a resume state, on every rank; False, and a report in the log, when it could not be written."""
    started = time.monotonic()
    target = folder / FOLDER / resume_states.name(step)
    writing = target.with_name(str(ranks.from_first(f"{WRITING}{fence.token()}-{target.name}")))
    done = ranks.agree(_attempt(engine.rank == 0, lambda: _start(writing)))
    done = done and ranks.agree(_save_ranks(engine, writing))
    if done and engine.rank == 0:
        seconds = time.monotonic() - started
        done = _attempt(True, lambda: _finish(engine, step, seconds, writing, target))
    done = ranks.agree(done)
    if engine.rank == 0:
        if done:
            _prune(folder, engine.execution.keep)
            log.info("resume state of step %d saved in %.2f s", step, time.monotonic() - started)
        else:
            log.warning("no resume state of step %d: training goes on, the one before stays", step)
            shutil.rmtree(writing, ignore_errors=True)
    return done


def _save_ranks(engine: TrainEngine, writing: Path) -> bool:
    """Every rank's files. A write that fails must not leave the others waiting inside DeepSpeed: it is remembered."""
    ok = True

    def write(state_dict: Any, path: str) -> None:
        nonlocal ok
        # DeepSpeed names files by rank and step with a tag of its own; only the writing is ours.
        ok &= _attempt(True, lambda: _write(state_dict, Path(path)))

    # Both are DeepSpeed's private ways: its writer, and two scripts that it copies into every checkpoint.
    engine.deepspeed.checkpoint_engine.save = write
    engine.deepspeed._copy_recovery_script = _nothing
    engine.deepspeed.save_checkpoint(str(writing), tag=TAG, save_latest=False)
    return ok


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
    for left in writing.parent.glob(f"{WRITING}{fence.token()}*"):
        shutil.rmtree(left)
    (writing / TAG).mkdir(parents=True)


def _write(value: Any, path: Path) -> None:
    with path.open("wb") as stream:
        torch.save(value, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _finish(engine: TrainEngine, step: int, seconds: float, writing: Path, target: Path) -> None:
    zero_stage, version = engine.execution.zero_stage, VERSIONS["batches"]
    files = resume_states.sizes(writing)
    state = ResumeState(step, engine.processes, zero_stage, engine.token_budget, version, files, round(seconds, 3))
    with (writing / STATE).open("w", encoding="utf-8") as stream:
        json.dump(asdict(state), stream, indent=2, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
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
