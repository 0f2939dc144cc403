"""How long an optimizer step takes on this machine: a few real ones, on a made model and made examples.

    python -m sft_sweeps.train.step_time < TRIAL.json        {"shape", "rows", "length", "threads"}

A process of its own, so that planning loads no torch. Prints the median of the steps in seconds, without the first.
"""

import json
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.execution import TrainExecution
from sft_sweeps.identity import revive
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Recipe, Shape
from sft_sweeps.train import loop

STEPS = 8
SECONDS = 2.0  # after which no other step is begun, when one beside the first is done


def seconds(trial: dict[str, Any]) -> float:
    """Of one step of so many rows, each of so many tokens, with so many threads."""
    shape, rows, length = revive(Shape, trial["shape"]), int(trial["rows"]), int(trial["length"])
    ids = np.random.RandomState(0).randint(0, shape.vocab_size, (rows * STEPS, length)).astype(np.int32)
    examples = [Encoded(f"made/{n}", "made", row, np.arange(length) >= length // 2) for n, row in enumerate(ids)]
    recipe = revive(Recipe, trial["recipe"])
    execution = TrainExecution(threads=int(trial["threads"]), save_every_seconds=0)
    taken: list[float] = []
    with TemporaryDirectory() as name:
        materialise(shape, 0, [], Path(name) / "base")
        steps = loop.train(Path(name) / "base", Path(name), examples, recipe, execution, stop=lambda: False)
        with closing(steps):
            begun = time.monotonic()
            for step in steps:
                taken.append(step.seconds)
                if len(taken) == STEPS or (len(taken) > 1 and time.monotonic() - begun > SECONDS):
                    break
    return statistics.median(taken[1:])


if __name__ == "__main__":
    print(json.dumps({"seconds": seconds(json.load(sys.stdin))}))
