"""Stand-ins for training tests: a tiny base model, examples, and ranks as processes of a warm fork server."""

import importlib.util
import json
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import values

from sft_sweeps.data.encode import batches
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.execution import TrainExecution
from sft_sweeps.launch.gpus import gpus_here
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.training import Recipe, Shape

SHAPE = Shape(hidden_size=32, intermediate_size=64, layers=2, heads=4, kv_heads=2, vocab_size=97, max_positions=256)
RECIPE = replace(values.RECIPE, epochs=5, learning_rate=1e-3, warmup_fraction=0.1, max_length=256)
WAIT = 240  # seconds, of a machine that is loaded


def examples(count: int = 60, seed: int = 0) -> list[Encoded]:
    """Examples of two sources, of very different lengths, half of each supervised."""
    stream = np.random.RandomState(seed)
    made = []
    for place in range(count):
        source = ("math", "code")[place % 2]
        length = int(stream.randint(4, 20) if place % 4 else stream.randint(60, 120))
        ids = stream.randint(0, SHAPE.vocab_size, length).astype(np.int32)
        made.append(Encoded(f"{source}/{place}", source, ids, np.arange(length) >= length // 2))
    return made


def heldout(count: int) -> list[Encoded]:
    """So many examples that are none of `examples`."""
    return [replace(example, id=f"{example.source}/held-{at}") for at, example in enumerate(examples(count, seed=1))]


@dataclass(frozen=True)
class Job:
    """A stage to train, and what befalls it: each `..._at` is a step after which it happens (0: never).

    From the start, a file may grow to `file_bytes`, and ZeRO's groups, as large models have many, to `group_size`
    weights (0: as large as they like). Rows of more than `oom_over` tokens do not fit into memory from step 4 on; at
    `spoil_at` the loss is no number, and from `diverge_at` on it is 50. In step `kill_in` the process dies when some of
    its rows are accumulated and some are not.
    """

    parent: str
    folder: str
    execution: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    stop_at: int = 0
    oom_over: int = 0
    spoil_at: int = 0
    diverge_at: int = 0
    kill_at: int = 0
    kill_in: int = 0
    full_disk_at: int = 0
    file_bytes: int = 0
    group_size: int = 0
    before: str = ""  # the parent's adapter
    heldout: int = 0  # so many examples are not trained on, and losses are taken on them


@dataclass(frozen=True)
class Outcome:
    """What a rank left: its metrics, then the digest or the error's type and message."""

    metrics: list[dict[str, Any]]
    digest: str
    error: str
    message: str
    log: str
    status: int | None


def run(job: Job, processes: int = 1) -> list[Outcome]:
    """Train with that many ranks; each rank's outcome."""
    return start(job, processes)[1]()


def start(job: Job, processes: int) -> tuple[list[BaseProcess], Callable[[], list[Outcome]]]:
    """The ranks, which train now, and a wait for their outcomes."""
    context = _server()
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    rendezvous = f"{folder}/rendezvous-{uuid.uuid4()}"
    outs = [folder / f"rank-{rank}-{uuid.uuid4()}" for rank in range(processes)]
    ranks = [
        context.Process(target=train_rank, args=(asdict(job), rank, processes, rendezvous, str(out)))
        for rank, out in enumerate(outs)
    ]
    for process in ranks:
        process.start()

    def wait() -> list[Outcome]:
        for process in ranks:
            process.join(WAIT)
            if process.is_alive():
                process.kill()
                process.join()
        return [_outcome(out, process) for out, process in zip(outs, ranks, strict=True)]

    return list(ranks), wait


def plain_training(folder: Path, steps: int, recipe: Recipe = RECIPE) -> tuple[Any, list[tuple[float, float]]]:
    """Plain torch: AdamW, one example at a time, transformers' own attention. The model, losses and gradient norms."""
    import torch
    from torch.nn.functional import log_softmax
    from transformers import AutoModelForCausalLM

    from sft_sweeps.train.engine import learning_rate

    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    betas = (recipe.adam_beta1, recipe.adam_beta2)
    optimizer = torch.optim.AdamW(model.parameters(), betas=betas, eps=recipe.adam_epsilon, weight_decay=0.0)
    data, measured = examples(), []
    shown = batches.Shown(tuple(example.id for example in data))
    for step in range(steps):
        batch = [data[place] for place in batches.batch(shown, recipe.seed, recipe.batch_size, step)]
        total = sum(int(example.supervised[1:].sum()) for example in batch)
        value = 0.0
        for example in batch:
            tokens = torch.tensor(example.input_ids.tolist())
            scores = log_softmax(model(input_ids=tokens[None]).logits[0, :-1], dim=-1)
            chosen = scores.gather(1, tokens[1:, None])[:, 0]
            part = -chosen[torch.tensor(example.supervised.tolist())[1:]].sum() / total
            part.backward()
            value += float(part.detach())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(recipe, step, steps)
        optimizer.step()
        optimizer.zero_grad()
        measured.append((value, float(norm)))
    return model, measured


def in_child(function: Callable[..., str], *arguments: Any) -> str:
    """What the function returns in a process of its own, or its traceback."""
    return in_children(function, [arguments])[0]


def in_children(function: Callable[..., str], arguments: Sequence[tuple[Any, ...]]) -> list[str]:
    """The same with as many processes as there are arguments, all at once."""
    context = _server()
    queues = [context.Queue() for _ in arguments]
    file, name = function.__code__.co_filename, function.__name__
    children = [
        context.Process(target=_answer, args=(queue, file, name, mine))
        for queue, mine in zip(queues, arguments, strict=True)
    ]
    for child in children:
        child.start()
    answers = [_awaited(queue, child) for queue, child in zip(queues, children, strict=True)]
    for child in children:
        child.join(WAIT)
    return answers


def _awaited(queue: Any, child: BaseProcess) -> str:
    """The child's answer, or how it ended without one."""
    deadline = time.monotonic() + WAIT
    while True:
        ended = not child.is_alive()
        try:
            return str(queue.get(timeout=0.2))
        except Empty:
            if ended or time.monotonic() > deadline:
                return f"no answer; the process's exit code is {child.exitcode}"


def _answer(queue: Any, file: str, name: str, arguments: tuple[Any, ...]) -> None:
    """By its file: the child may find other modules of the test's name, such as an installed package `tests`."""
    try:
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        queue.put(getattr(module, name)(*arguments))
    except Exception:
        queue.put(traceback.format_exc())


def _server() -> ForkServerContext:
    """Processes that have everything imported; where there are GPUs nothing, as launch/local/launcher.py says why."""
    context = multiprocessing.get_context("forkserver")
    warm = [] if gpus_here() else ["sft_sweeps.train.loop"]
    context.set_forkserver_preload(warm)
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    return context


def run_fresh(job: Job, processes: int, environment: dict[str, str]) -> list[Outcome]:
    """The same in fresh processes with that environment and nothing else."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    rendezvous = f"{folder}/rendezvous-{uuid.uuid4()}"
    outs = [folder / f"rank-{rank}-{uuid.uuid4()}" for rank in range(processes)]
    code = "import json, os, sys, training; training.train_rank(*json.loads(sys.argv[1])); os._exit(0)"  # as a worker
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps([asdict(job), rank, processes, rendezvous, str(out)])],
            env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        )
        for rank, out in enumerate(outs)
    ]
    for process in ranks:
        process.wait(WAIT)
    return [_outcome(out, process) for out, process in zip(outs, ranks, strict=True)]


def train_rank(job_fields: dict[str, Any], rank: int, processes: int, rendezvous: str, out: str) -> None:
    """One rank, in its own process."""
    job = Job(**job_fields)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    stream = os.open(f"{out}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    logging.basicConfig(level=logging.INFO)
    if job.group_size:
        limit_groups(job.group_size)
    if job.oom_over or job.spoil_at or job.diverge_at or job.kill_in:
        befall(job)
    if job.file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_bytes, resource.RLIM_INFINITY))
    try:
        digest = _train(job, processes, rendezvous, out)
        outcome = {"digest": digest, "error": "", "message": ""}
    except Exception as error:
        traceback.print_exc()
        outcome = {"digest": "", "error": type(error).__name__, "message": str(error)}
    Path(f"{out}.json").write_text(json.dumps(outcome), encoding="utf-8")


def limit_groups(size: int) -> None:
    """In this process, ZeRO's groups hold no more weights of a rank than that."""
    from sft_sweeps.train import zero

    made = zero.config

    def limited(*arguments: Any) -> dict[str, Any]:
        config = made(*arguments)
        return config | {"zero_optimization": config["zero_optimization"] | {"sub_group_size": size}}

    zero.config = limited


def befall(job: Job) -> None:
    """In this process, what a device and bad data do to a step's gradients, in place of a device and bad data."""
    import torch

    from sft_sweeps.train.engine import TrainEngine

    real, update, done = TrainEngine.backward, TrainEngine.update, 0

    def backward(engine: Any, rows: Any) -> Any:
        if job.oom_over and done >= 3 and max(row.input_ids.numel() for row in rows) > job.oom_over:
            real(engine, [*rows[:1], *rows])  # some rows are on their way already
            raise torch.OutOfMemoryError("there is no memory")
        if done + 1 == job.kill_in:
            assert len(rows) > 1, "there is nothing to accumulate"
            engine.deepspeed.set_gradient_accumulation_boundary(False)
            engine.deepspeed.backward(engine.deepspeed(rows[0]), scale_wrt_gas=False)
            os.kill(os.getpid(), signal.SIGKILL)
        mine = real(engine, rows)
        if done + 1 == job.spoil_at:
            return mine * float("nan")
        return mine * 0 + 50 if job.diverge_at and done + 1 >= job.diverge_at else mine

    def counted(engine: Any, rate: float) -> float:
        nonlocal done
        done += 1
        return update(engine, rate)

    TrainEngine.backward, TrainEngine.update = backward, counted  # type: ignore[method-assign]


def _train(job: Job, processes: int, rendezvous: str, out: str) -> str:
    from sft_sweeps.train.loop import train

    done, recipe = 0, dict(job.recipe)
    if "adapter" in recipe:
        recipe["adapter"] = Adapter(**recipe["adapter"])
    stage = train(
        Path(job.parent),
        Path(job.folder),
        examples(),
        replace(RECIPE, **recipe),
        TrainExecution(processes=processes, **job.execution),
        before=Path(job.before) if job.before else None,
        stop=lambda: bool(job.stop_at) and done + 1 >= job.stop_at and os.environ["RANK"] == str(processes - 1),
        rendezvous=rendezvous,
        chat_template="{{ messages }}",
        heldout=heldout(job.heldout),
    )
    with Path(f"{out}.jsonl").open("w", encoding="utf-8") as metrics:
        while True:
            try:
                measured = next(stage)
            except StopIteration as finished:
                return str(finished.value)
            done = measured.step
            metrics.write(json.dumps(asdict(measured)) + "\n")
            metrics.flush()
            if done == job.full_disk_at:
                resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
            if done == job.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _outcome(out: Path, process: BaseProcess | subprocess.Popen[bytes]) -> Outcome:
    lines = Path(f"{out}.jsonl").read_text(encoding="utf-8").splitlines() if Path(f"{out}.jsonl").exists() else []
    ended = json.loads(Path(f"{out}.json").read_text(encoding="utf-8")) if Path(f"{out}.json").exists() else {}
    status = process.returncode if isinstance(process, subprocess.Popen) else process.exitcode
    return Outcome(
        metrics=[json.loads(line) for line in lines],
        digest=ended.get("digest", ""),
        error=ended.get("error", ""),
        message=ended.get("message", ""),
        log=Path(f"{out}.log").read_text(encoding="utf-8") if Path(f"{out}.log").exists() else "",
        status=status,
    )
