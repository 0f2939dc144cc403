"""How long a sweep's stages take on this machine's cores, from a step that is really made: a line of `action=plan`.

The step is made in a short process of its own, once a day for each shape: the user's cache folder keeps it. What is too
large to be tried in seconds, and every other model of the sweep, follows from the operations; the line says so.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sft_sweeps import PACKAGE
from sft_sweeps.config.schema import Config
from sft_sweeps.execution import TrainExecution
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.identity import digest, plain
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.launchers import launcher_of
from sft_sweeps.launch.local.cores import at_once, capacity, cores_here, with_threads
from sft_sweeps.launch.local.launcher import LocalLauncher
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Recipe, Shape, Stage
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import console, counted, duration, say

STEP_FLOPS, WEIGHTS = 1e11, 20e6  # of the most that is tried as it is: seconds of work, and of making the model
LARGEST: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1376,
    "layers": 2,
    "heads": 8,
    "kv_heads": 8,
}  # else, of the trial
LARGEST_VOCABULARY, LARGEST_TOKENS = 8192, 512
ROUNDED = 16  # tokens, so that sweeps alike share a measurement
WAIT = 60.0  # seconds for the trial, most of which are imports on a machine that is busy
AGE = 86400.0  # seconds after which a step is measured again


@dataclass(frozen=True)
class Trial:
    """A step to try: `rows` examples of `length` tokens."""

    shape: Shape
    recipe: Recipe
    rows: int
    length: int
    threads: int

    @property
    def flops(self) -> float:
        """Operations of the step."""
        return self.rows * self.length * cost.flops_per_token(self.shape, self.length, self.recipe.adapter)


def line(missing: Sequence[Job], plan: Plan, store: Store, config: Config) -> str:
    """How long the missing stages take here; empty where no stage is to be trained on this machine's cores."""
    jobs, cluster = [job for job in missing if job.stage and not job.gpus], config.cluster
    if not config.plan.measure or not jobs or not isinstance(launcher_of(config), LocalLauncher):
        return ""
    jobs = with_threads(jobs, plan, store, cluster)
    return _told(jobs, max(1, min(at_once(plan.stages), capacity(cluster).processes // cluster.processes)))


def _told(jobs: Sequence[Job], wide: int) -> str:
    steps = {job.subject.id: step_of(job) for job in jobs}
    heaviest = max(jobs, key=lambda job: job.steps * steps[job.subject.id].flops)
    wanted = steps[heaviest.subject.id]
    tried = trial_of(wanted)
    second = measured(tried)
    if second is None:
        return "a training step could not be tried here, so no time is told; plan.measure=false does without"
    each = second / tried.flops
    seconds = {job.subject.id: job.steps * each * steps[job.subject.id].flops for job in jobs}
    model, took = heaviest.subject.model.name, each * wanted.flops
    how = "measured" if tried == wanted else "an estimate, from the operations of a smaller one that was measured"
    return (
        f"on this machine ({cores_here()} cores, {wide} at once): about {duration(wall(jobs, seconds, wide))} for "
        f"{counted(len(jobs), 'stage')} to train; a step of {model} takes {took:.2g} s ({how}). "
        "Answering and scoring are not in it"
    )


def wall(jobs: Sequence[Job], seconds: dict[str, float], wide: int) -> float:
    """From start to end: as long as the longest chain, or as the sum shared by those that run at once."""
    ends: dict[str, float] = {}
    for job in jobs:  # parents first
        parent = job.stage.parent.id if job.stage else ""
        ends[job.subject.id] = ends.get(parent, 0.0) + seconds[job.subject.id]
    return max(*ends.values(), sum(seconds.values()) / wide)


def step_of(job: Job) -> Trial:
    """A step of a stage, its examples all of their mean length."""
    stage = job.subject
    assert isinstance(stage, Stage)
    assert isinstance(job.execution, TrainExecution)
    recipe = stage.recipe
    mean = stage.mixture.tokens / stage.mixture.examples if stage.mixture.examples else 0.0
    length = ROUNDED * max(1, round(min(mean or recipe.max_length / 2, recipe.max_length) / ROUNDED))
    return Trial(stage.model.shape, recipe, recipe.batch_size, length, job.execution.threads)


def trial_of(step: Trial) -> Trial:
    """The step itself where it can be tried in seconds, else one of a smaller model."""
    if step.flops <= STEP_FLOPS and cost.parameters(step.shape) <= WEIGHTS:
        return step
    vocabulary = min(step.shape.vocab_size, LARGEST_VOCABULARY)
    length = min(step.length, LARGEST_TOKENS)
    shape = replace(step.shape, **LARGEST, vocab_size=vocabulary, max_positions=2048)
    return replace(step, shape=shape, rows=min(step.rows, max(1, LARGEST_TOKENS // length)), length=length)


def measured(trial: Trial) -> float | None:
    """Seconds of the step, from the cache or from now; None where it could not be made."""
    recipe = replace(trial.recipe, batch_size=trial.rows, epochs=1)
    order = plain(replace(trial, recipe=recipe))
    known_by = {key: value for key, value in order.items() if key != "recipe"} | {"precision": recipe.precision}
    known_by |= {"adapter": plain(recipe.adapter)} if recipe.adapter else {}
    machine = {"machine": platform.node(), "cores": cores_here(), "torch": version("torch")}
    key = digest(known_by | machine)
    path = _cache() / f"step-{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = read_json(path) or {}
        if time.time() - float(kept["time"]) < AGE:
            return float(kept["seconds"])
    note = "trying one training step on this machine, for its time (once a day; plan.measure=false does without) ..."
    say(console(stderr=True), note)
    seconds = _tried(json.dumps(order))
    if seconds is not None:
        with contextlib.suppress(OSError):  # in a home that cannot be written: it is measured again
            write_json(path, {"seconds": seconds, "time": time.time()}, durable=False)
    return seconds


def _tried(order: str) -> float | None:
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_WAIT_POLICY": "passive",
        "DS_ACCELERATOR": "cpu",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "sft_sweeps.train.step_time"]
    try:
        done = subprocess.run(
            command, input=order, env=environment, capture_output=True, text=True, timeout=WAIT, check=False
        )
        return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, IndexError):
        return None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sft-sweeps"
