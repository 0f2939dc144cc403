"""Training a stage: what the job that does it does, between its gate and its record."""

import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deepspeed
import torch
import transformers

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.data.encode.mixture import check_repeats, mixture_examples, source_finder, stored_finder
from sft_sweeps.data.template import chat_template
from sft_sweeps.errors import RunError
from sft_sweeps.execution import Tracking, TrainExecution
from sft_sweeps.files.json_files import write_json
from sft_sweeps.plan import cost
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import lineage, origins, resume_states
from sft_sweeps.store.store import Store
from sft_sweeps.tracking import layout
from sft_sweeps.tracking.base import Attempt
from sft_sweeps.tracking.metrics import HELDOUT_LOSS, METRICS, Metrics, read
from sft_sweeps.tracking.trackers import mirrored
from sft_sweeps.train import budget, layers, loop, starts
from sft_sweeps.train.heldout import heldout_of
from sft_sweeps.train.records import record_model
from sft_sweeps.train.step_log import StepLog, log_start

log = logging.getLogger(__name__)

Stop = Callable[[], bool]


def train(
    stage: Stage, store: Store, execution: TrainExecution, tracking: Tracking, stop: Stop, *, rendezvous: str = ""
) -> None:
    """Train a stage from its parent's weights, from its newest resume state where there is one."""
    folder, first = store.folder(stage), os.environ.get("RANK", "0") == "0"
    encoded, account = examples_of(stage, store)
    if first:
        write_json(folder / "data.json", account)
        log_start(stage, sum(example.repeat for example in encoded), resume_states.resume_step(folder))
    steps = loop.train(
        origins.frozen(stage, store),
        folder,
        encoded,
        stage.recipe,
        execution,
        stop=stop,
        heldout=heldout_examples(stage, store, execution),
        before=origins.before(stage, store),
        number=sum(one.recipe.adapter is not None for one in stage.parent.chain),
        tokenizer=store.tokenizer(stage.parent),
        chat_template=chat_template(stage.recipe.template),
        rendezvous=rendezvous,
    )
    started = time.monotonic()
    attempt = Attempt(
        folder,
        tracking,
        stage.id,
        stage.label,
        lineage.training(stage),
        summary={layout.GPU_HOURS_PLANNED: cost.gpu_hours(stage)},
        uses=lineage.used(stage, store),
        makes=lineage.made(stage, store),
    )
    with mirrored(attempt) if first else nullcontext():
        with closing(Metrics(folder)) as metrics:
            digest = _drain(steps, metrics if first else None)
        if first:  # whoever waits for the record does not wait for the mirror
            _finish(stage, folder, execution, digest, time.monotonic() - started)


def _finish(stage: Stage, folder: Path, execution: TrainExecution, digest: str, seconds: float) -> None:
    """Write the record of a trained stage and remove its resume states."""
    lines = read(folder)
    used = int(lines[-1]["token_budget"]) if lines else execution.token_budget
    threads = starts.threads(folder, execution.threads)
    extra = {
        "digest": digest,
        "seconds": round(seconds, 3),
        "save_seconds": resume_states.save_seconds(folder),
        **throughput(lines),
        "execution": {**_environment(execution), "token_budget": used, "threads": threads},
        "budgets": budget.history(folder),
        "last": last_of(lines[-1]) if lines else {},
        **starts.summary(folder),
    }
    record_model(folder, stage, extra, METRICS)
    log.info("%s has its weights (%s)", folder, digest[:19])
    resume_states.remove_all(folder)


def heldout_examples(stage: Stage, store: Store, execution: TrainExecution) -> list[Encoded]:
    """On which losses are taken while the stage trains; none where that is not asked for."""
    if not execution.heldout_every:
        return []
    recipe = stage.recipe
    find = stored_finder(store.tokenizer(stage.parent), recipe.template, recipe.max_length, store.roots)
    return heldout_of(stage, find, execution.heldout_examples)


def examples_of(stage: Stage, store: Store) -> tuple[list[Encoded], dict[str, Any]]:
    """The encoded examples of a stage, and the account of them for data.json."""
    recipe = stage.recipe
    find = source_finder(store.tokenizer(stage.parent), recipe.template, recipe.max_length, store.roots)
    encoded, account = mixture_examples(stage.mixture, find)
    check_repeats(encoded, recipe.batch_size)
    if not any(example.supervised.any() for example in encoded):
        raise RunError(f"no example of {stage.label} has a response within train.max_length={stage.recipe.max_length}")
    return encoded, {"sources": account, "examples": len(encoded)}


def last_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of the last step."""
    optional = {HELDOUT_LOSS: line[HELDOUT_LOSS]} if HELDOUT_LOSS in line else {}
    return {key: line.get(key) for key in ("step", "steps", "loss")} | optional


def throughput(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over the steps, without the first: tokens a second, and MFU where the device's peak is known."""
    medians: dict[str, Any] = {}
    for key in ("tokens_per_second", "mfu"):
        values = [line[key] for line in lines[1:] or lines if line.get(key) is not None]
        medians |= {key: round(statistics.median(values), 4)} if values else {}
    return medians


def _drain(steps: Any, metrics: Metrics | None) -> str:
    """Write down every step; the generator's value is the digest of the finished weights."""
    log_step = StepLog()
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return str(end.value)
        if metrics:
            metrics.write({key: value for key, value in asdict(step).items() if value is not None})
            log_step(step)


def _environment(execution: TrainExecution) -> dict[str, Any]:
    """Bit-for-bit equality is promised for equal execution only, so the record names it."""
    return {
        **asdict(execution),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "deepspeed": deepspeed.__version__,
        **({"liger_kernel": version("liger-kernel")} if torch.cuda.is_available() and layers.liger() else {}),
    }
