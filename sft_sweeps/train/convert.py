"""A resume state for another process count: the one explicit conversion.

DeepSpeed's converter gathers every parameter's fp32 weights and moments from the parts of the ranks that saved
(its "universal checkpoint"), and every rank takes its part of each. It runs in a process of its own beside rank 0,
one file at a time; meanwhile all ranks meet every second, so that no collective runs out of time however large the
model is, and a signal stops them together. The converted state lives under a temporary name until it is loaded and is
never continued from: whatever happens to it, the state that was converted stays.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from torch import distributed as dist

from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.files import fence
from sft_sweeps.files.json_files import append_line
from sft_sweeps.store.resume_states import FOLDER, TAG, WRITING, ResumeState
from sft_sweeps.train import ranks
from sft_sweeps.train.data_only import PLAIN, VARIABLE

log = logging.getLogger(__name__)

RECORD = "conversions.jsonl"
CONVERTED = f"{WRITING}universal"
POLL_SECONDS = 1.0
# It ends with the process that started it, whose death closes its input. It runs nothing of a
# state either.
CONVERTER = """
import os, pkgutil, sys, threading, torch
torch.serialization.add_safe_globals([pkgutil.resolve_name(name) for name in os.environ["PLAIN"].split()])
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from deepspeed.checkpoint import ds_to_universal
ds_to_universal.main(ds_to_universal.parse_arguments())
"""


@contextmanager
def converted(folder: Path, state: ResumeState, processes: int, stop: Callable[[], bool]) -> Iterator[Path]:
    """Where the state lies in the form that `processes` of them can load, on every rank; afterwards it is gone.

    RunError, on every rank, when it cannot be written; Interrupted when `stop()` is true on one meanwhile.
    """
    first, started = dist.get_rank() == 0, time.monotonic()
    target = folder / FOLDER / str(ranks.from_first(f"{CONVERTED}{fence.token()}"))
    try:
        problem = _convert(folder, state, target if first else None, stop)
        if problem:
            raise RunError(_failed(folder, state, processes, problem))
        yield target
        ranks.agree(True)  # every rank has read it
        if first:
            _record(folder, state, processes)
            seconds = time.monotonic() - started
            log.info("%s of %d processes loaded by %d in %.2f s", state.name, state.processes, processes, seconds)
    finally:
        if first:
            shutil.rmtree(target, ignore_errors=True)


def _convert(folder: Path, state: ResumeState, target: Path | None, stop: Callable[[], bool]) -> str:
    """Run the converter on the rank that has a target, and wait with it; what went wrong, on every rank."""
    with tempfile.TemporaryFile() as errors:
        problem, converter = "", None
        try:
            converter = _start(target, state, errors) if target else None
        except OSError as error:
            problem = str(error)
        try:
            _wait(folder, converter, stop)
        finally:
            if converter:
                converter.kill()
                converter.communicate()
        if converter and converter.returncode:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            problem = lines[-1] if lines else f"it ended with status {converter.returncode}"
    return str(ranks.from_first(problem))


def _start(target: Path, state: ResumeState, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    # Relative paths: it takes those that it is given for patterns.
    folders = ["--input_folder", f"../{state.name}/{TAG}", "--output_folder", TAG]
    workers = ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", CONVERTER, *folders, *workers],
        cwd=target,
        env=os.environ | {"DS_ACCELERATOR": "cpu", "TQDM_DISABLE": "1", VARIABLE: "1", "PLAIN": " ".join(PLAIN)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )


def _wait(folder: Path, converter: subprocess.Popen[bytes] | None, stop: Callable[[], bool]) -> None:
    """Until the converter has ended, on every rank."""
    running = 1.0
    while running:
        if converter:
            with suppress(subprocess.TimeoutExpired):
                converter.wait(POLL_SECONDS)
        alive = converter is not None and converter.returncode is None
        running, stopping = ranks.sums([float(alive), float(stop())])
        if stopping:
            raise Interrupted(f"{folder.name} stopped while its resume state was converted. Launch again to continue.")


def _failed(folder: Path, state: ResumeState, processes: int, problem: str) -> str:
    size, free = sum(state.files.values()) / 1e9, shutil.disk_usage(folder).free / 1e9
    return (
        f"the resume state {state.name} of {folder} was saved with {state.processes} processes and could not be "
        f"converted for {processes}: {problem}. Converting takes up to {2 * size:.3g} GB more there for a while, "
        f"{free:.3g} GB are free. Make room and launch again, or launch again with {state.processes} processes, or "
        f"delete {folder / FOLDER} to start the stage over."
    )


def _record(folder: Path, state: ResumeState, processes: int) -> None:
    """Write a line about a conversion that was loaded: from here on, bit-for-bit equality holds no longer."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    line = {"step": state.step, "from_processes": state.processes, "to_processes": processes, "time": now}
    try:
        append_line(folder / RECORD, line)
    except OSError as error:
        raise RunError(f"{folder / RECORD} cannot be written: {error}. Make room and launch again.") from None
