"""The process in which bench/gpu_levers.py measures: items as JSON on standard input, figures on standard output."""

import contextlib
import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench import lengths
from bench.gpu_levers import FULLEST, Item
from bench.gpu_speed import BF16, RATE, SHAPES, in_order, write_base
from bench.levers import PlainEngine, applied
from bench.zero_overhead import RECIPE
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.plan import cost, memory
from sft_sweeps.spec.training import Recipe, Shape
from sft_sweeps.train import budget, loss, ranks
from sft_sweeps.train.engine import TrainEngine, prepare_process
from sft_sweeps.train.steps import Batch, plan_batch, prepared

WARM = 3  # steps
TINY = Shape(64, 176, layers=2, heads=4, kv_heads=4, vocab_size=512, max_positions=256)
ALL_SHAPES = {**SHAPES, "tiny": TINY, "tiny_recomputed": TINY}
ROOM = 6e9  # bytes of a GPU left free when layers are kept from being recomputed
Engine = TrainEngine | PlainEngine


def recipe() -> Recipe:
    return BF16 if torch.cuda.is_available() else replace(RECIPE, loss_reduction="token_mean", max_length=256)


def measured(item: Item, base: Path) -> dict[str, Any]:
    """The figures of one item."""
    if item.kind == "fullest":
        return {"shares": shares(item, base)}
    shape, kept = ALL_SHAPES[item.shape], 0
    if "keep_layers" in item.levers:
        kept = layers_to_keep(item, shape)
    with built(item, base, kept) as engine:
        seconds, losses, norms, tokens = train(engine, item)
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        budget_of = engine.token_budget
    if item.kind == "again":
        return {"losses": losses, "norms": norms}
    flops = sum(n * cost.flops_per_token(shape, n) for n in tokens)
    of = cost.peak_flops(torch.cuda.get_device_name(), "bf16") if peak else 0.0
    return {
        "seconds_a_step": seconds / item.steps,
        "tokens_per_second": sum(tokens) / seconds,
        "mfu": flops / seconds / of if of else None,
        "peak_bytes": peak or None,
        "token_budget": budget_of,
        "kept_layers": kept or None,
        "losses": losses,
        "norms": norms,
    }


@contextlib.contextmanager
def built(item: Item, base: Path, kept: int) -> Iterator[Engine]:
    """An engine with the item's levers, which stay on while it is used."""
    threads = 8 if torch.cuda.is_available() else 1
    execution = TrainExecution(threads=threads, token_budget=0, zero_stage=2, recompute=item.recompute)
    prepare_process(execution)
    torch.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with applied(item.levers, kept):
        kind = PlainEngine if "plain_engine" in item.levers else TrainEngine
        engine: Engine = kind(base, recipe(), execution)
        try:
            most = recipe().max_length * 16
            engine.token_budget = budget.find(engine, recipe().max_length, most)
            yield engine
        finally:
            engine.close()
            del engine
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def train(engine: Engine, item: Item) -> tuple[float, list[float], list[float], list[int]]:
    """(seconds of the timed steps, losses and gradient norms of all, the lengths of the timed steps' examples)."""
    given = in_order(batches(item.steps + WARM, ALL_SHAPES[item.shape]))
    flat = [example for batch in given for example in batch]
    losses, norms, started = [], [], 0.0
    for step, (_, rows) in enumerate(prepared(engine, flat, recipe(), range(len(given)))):  # type: ignore[arg-type]
        if step == WARM:
            started = clock()
        losses.append(float(engine.backward(rows)))  # as train/loop.py, which looks at it first
        norms.append(engine.update(RATE))
    return clock() - started, losses, norms, [len(one.input_ids) for batch in given[WARM:] for one in batch]


def batches(count: int, shape: Shape) -> list[list[Any]]:
    return lengths.batches("mixed", count, shape.vocab_size, longest=min(recipe().max_length, shape.max_positions))


def clock() -> float:
    """Seconds, when the GPU has done what it was given; without one, this process's CPU time."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def shares(item: Item, base: Path) -> list[dict[str, Any]]:
    """For each number of GPUs, the median seconds in which the fullest of them computes its gradients, and updates."""
    shape = ALL_SHAPES[item.shape]
    found: list[dict[str, Any]] = []
    for recompute in (False, True) if item.recompute else (False,):
        with built(replace(item, recompute=recompute), base, 0) as engine:
            for gpus in FULLEST:
                if recompute and any(one["gpus"] == gpus for one in found):
                    continue
                with contextlib.suppress(torch.OutOfMemoryError):
                    taken = [_share(engine, batch, gpus) for batch in batches(2 + item.steps, shape)][2:]
                    middle = [statistics.median(part) for part in zip(*taken, strict=True)]
                    figures = {"gradients": middle[0], "update": middle[1], "tokens": middle[2]}
                    found.append({"gpus": gpus, "recompute": recompute, **figures})
    return found


def _share(engine: Engine, batch: list[Any], gpus: int) -> tuple[float, float, float]:
    """(seconds to the gradients, seconds of the update, tokens) of the GPU that has most of a batch."""
    planned: Batch = plan_batch(batch, recipe(), gpus, engine.token_budget)
    loads = [sum(len(batch[at].input_ids) for row in rows for at in row) for rows in planned.bins]
    fullest = loads.index(max(loads))
    rows = [loss.to_bin(examples, weights, engine.device) for examples, weights in planned.of_rank(fullest)]
    started = clock()
    engine.backward(rows)
    middle = clock()
    engine.update(RATE)
    return middle - started, clock() - middle, max(loads)


def layers_to_keep(item: Item, shape: Shape) -> int:
    """As many as the memory that is planned leaves room for; one where there is no GPU to fill."""
    if not torch.cuda.is_available():
        return 1
    how = TrainExecution(zero_stage=2, recompute=True)
    tokens = max(sum(len(one.input_ids) for one in batch) for batch in batches(item.steps + WARM, shape))
    free = torch.cuda.mem_get_info()[1] - memory.of(shape, recipe(), how, tokens).total - ROOM
    each = memory.activations(replace(shape, layers=1), "bf16", recompute=False) * tokens
    return max(0, min(shape.layers, int(free / each)))


def base_of(name: str, folder: Path) -> Path:
    """The base model of a shape, written once."""
    base = folder / name
    if not base.is_dir():
        if torch.cuda.is_available():
            write_base(ALL_SHAPES[name], base)
            torch.cuda.empty_cache()
        else:
            materialise(ALL_SHAPES[name], 0, [], base)
    return base


def main() -> None:
    """Until standard input ends."""
    warnings.filterwarnings("ignore")
    folder = Path(sys.argv[1])
    prepare_process(TrainExecution())
    with ranks.process_group(1):
        for line in sys.stdin:
            given = json.loads(line)
            item = Item(**{**given, "levers": tuple(given["levers"])})
            try:
                figures = measured(item, base_of(item.shape, folder))
            except torch.OutOfMemoryError:
                figures = {"failed": "out of memory"}
            except (RuntimeError, ImportError, NotImplementedError, ValueError, TypeError, AssertionError) as error:
                figures = {
                    "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
                }
            print(json.dumps({"figures": figures}), flush=True)


if __name__ == "__main__":
    main()
