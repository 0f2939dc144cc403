"""What ZeRO-3 costs on one process: the time of a training step against the same step in plain torch.

Both compute the same loss of the same batches of a miniature LLaMA with the same attention, clip and update with
AdamW. Repeats are interleaved, so that a loaded machine slows both; the medians of the CPU time are compared. A third
column is plain torch with transformers' own attention for packed rows, which masks a square of the row's length.

    python bench/zero_overhead.py [--hidden 64] [--tokens 700] [--repeats 40] [--json]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaAttention

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Recipe, Shape
from sft_sweeps.train import attention, head, layers, loss, ranks
from sft_sweeps.train.engine import TrainEngine, prepare_process

EXAMPLES = 16
VOCABULARY = 600
STEPS_A_REPEAT = 3
RECIPE = Recipe(
    epochs=1,
    batch_size=EXAMPLES,
    learning_rate=1e-3,
    warmup_fraction=0.0,
    schedule="cosine",
    weight_decay=0.0,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_epsilon=1e-8,
    max_grad_norm=1.0,
    max_length=512,
    template="vicuna",
    loss_reduction="token_mean",
    precision="fp32",
    model_dtype="fp32",
    seed=0,
)


def make_row(tokens: int, seed: int) -> loss.Bin:
    """A step's examples in one bin, half of each supervised."""
    stream = np.random.RandomState(seed)
    lengths = stream.randint(tokens // EXAMPLES // 2, tokens // EXAMPLES * 3 // 2 + 1, EXAMPLES)
    examples = [
        Encoded(str(place), "bench", stream.randint(0, VOCABULARY, n).astype(np.int32), np.arange(n) >= n // 2)
        for place, n in enumerate(lengths)
    ]
    weights = loss.token_weights([loss.supervised_tokens(example) for example in examples], RECIPE)
    return loss.to_bin(examples, weights, ranks.device())


def plain_step(folder: Path, implementation: str) -> Callable[[loss.Bin], float]:
    """A training step in plain torch."""
    trained = head.trained_class(AutoConfig.from_pretrained(folder))
    model: Any = trained.from_pretrained(folder, dtype=torch.float32, attn_implementation=implementation)
    if implementation != attention.NAME:
        for module in model.modules():
            module.__class__ = LlamaAttention if isinstance(module, layers.Attention) else module.__class__
    model.to(ranks.device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay)

    def step(row: loss.Bin) -> float:
        value: torch.Tensor = model(row)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return value.item()

    return step


def measure(steps: dict[str, Callable[[loss.Bin], float]], rows: list[loss.Bin], repeats: int) -> dict[str, float]:
    """Median milliseconds of a step of each kind."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(-3, repeats):
        for name, step in steps.items():
            started = time.process_time()
            for place in range(STEPS_A_REPEAT):
                step(rows[(repeat * STEPS_A_REPEAT + place) % len(rows)])
            if repeat >= 0:
                taken[name].append((time.process_time() - started) / STEPS_A_REPEAT * 1e3)
    return {name: statistics.median(values) for name, values in taken.items()}


def run(hidden: int, tokens: int, repeats: int) -> dict[str, float]:
    """The medians, and the ratio of ZeRO-3 to plain torch."""
    execution = TrainExecution()
    prepare_process(execution)
    shape = Shape(hidden, hidden * 3, layers=2, heads=4, kv_heads=4, vocab_size=VOCABULARY, max_positions=512)
    with tempfile.TemporaryDirectory() as scratch, ranks.process_group(1):
        folder = Path(scratch) / "base"
        materialise(shape, 0, [], folder)
        engine = TrainEngine(folder, RECIPE, execution)
        steps = {
            "zero3": lambda row: float(engine.step([row], RECIPE.learning_rate)[0]),
            "plain": plain_step(folder, attention.NAME),
            "plain_masked": plain_step(folder, "sdpa"),
        }
        rows = [make_row(tokens, seed) for seed in range(10)]
        medians = measure(steps, rows, repeats)
    return {**medians, "ratio": medians["zero3"] / medians["plain"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=700)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = run(given.hidden, given.tokens, given.repeats)
    if given.json:
        print(json.dumps(found))
        return
    print(f"hidden {given.hidden}, {given.tokens} tokens a step, one process, {torch.get_num_threads()} thread")
    for name in ("zero3", "plain", "plain_masked"):
        print(f"  {name:13s}{found[name]:8.2f} ms")
    print(f"  ZeRO-3 / plain torch: {found['ratio']:.2f}")


if __name__ == "__main__":
    main()
