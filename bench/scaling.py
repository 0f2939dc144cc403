"""A training step on two processes against one: the same batches, one thread each, wall time of the slowest.

python -m bench.scaling [--profile mixed] [--steps 6] [--json]
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import lengths
from bench.trl_speed import SHAPE
from bench.zero_overhead import RECIPE
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise

RECIPE_HERE = replace(RECIPE, loss_reduction="token_mean", max_length=2048)


def train(seat: tuple[int, int], base: str, profile: str, steps: int, answers: Any) -> None:
    """One rank: seconds of each step but the first, and the losses."""
    rank, processes = seat
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), OMP_NUM_THREADS="1")
    from sft_sweeps.train import loss, ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process
    from sft_sweeps.train.steps import plan_batch

    execution = TrainExecution(processes=processes)
    prepare_process(execution)
    taken, losses = [], []
    with ranks.process_group(processes, f"{base}.meeting"):
        engine = TrainEngine(Path(base), RECIPE_HERE, execution)
        for batch in lengths.batches(profile, steps + 1, SHAPE.vocab_size):
            started = time.perf_counter()
            rows = plan_batch(batch, RECIPE_HERE, processes, execution.token_budget).of_rank(rank)
            mine, _ = engine.step([loss.to_bin(*row, engine.device) for row in rows], 1e-3)
            losses += ranks.sums([float(mine)])
            taken.append(time.perf_counter() - started)
    answers.put((rank, taken[1:], losses))


def measure(processes: int, profile: str, steps: int) -> tuple[list[float], list[float]]:
    """Seconds of each step, of the slowest rank, and the losses."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        base = str(Path(scratch) / "base")
        materialise(SHAPE, 0, [], Path(base))
        answers = context.Queue()
        ranks = [
            context.Process(target=train, args=((rank, processes), base, profile, steps, answers))
            for rank in range(processes)
        ]
        for process in ranks:
            process.start()
        found = [answers.get(timeout=1200) for _ in ranks]
        for process in ranks:
            process.join()
    return [max(times) for times in zip(*(taken for _, taken, _ in found), strict=True)], found[0][2]


def run(profile: str, steps: int) -> dict[str, Any]:
    """Medians over the steps; each process count twice in turn, so that a loaded machine slows both."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    losses = {}
    for _ in range(2):
        for processes, times in taken.items():
            found, losses[processes] = measure(processes, profile, steps)
            times += found
    one, two = (statistics.median(taken[processes]) for processes in (1, 2))
    gap = max(abs(a - b) for a, b in zip(losses[1], losses[2], strict=True))
    return {"profile": profile, "one": one, "two": two, "times": one / two, "largest_loss_gap": gap}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="mixed", choices=lengths.PROFILES)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = run(given.profile, given.steps)
    if given.json:
        print(json.dumps(found))
        return
    print(
        f"{found['profile']}: a step takes {found['one']:.2f} s on one process, {found['two']:.2f} s on two: "
        f"{found['times']:.2f} times as fast; losses within {found['largest_loss_gap']:.1e}"
    )


if __name__ == "__main__":
    main()
