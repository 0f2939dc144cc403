"""Training steps against Hugging Face TRL's SFTTrainer: same model, same 16-example batches, same losses, one process.

Each of the three trains the same batches in turn, some rounds over, so that a loaded machine slows all of them; CPU
time is compared, medians of the rounds. TRL runs as it comes, but for what would make it another computation or slower
here: fp32, no recomputation of activations, batches in order. `padded` is its default, `padding_free` its mode without.

    python -m bench.trl_speed [--profiles mixed gsm8k code_alpaca sharegpt] [--steps 3] [--rounds 3] [--json FILE]

Needs `pip install -e '.[bench]'`.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench import lengths
from bench.zero_overhead import RECIPE
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Shape
from sft_sweeps.train import loss, ranks
from sft_sweeps.train.engine import TrainEngine, prepare_process
from sft_sweeps.train.steps import plan_batch

SHAPE = Shape(128, 352, layers=4, heads=4, kv_heads=4, vocab_size=4096, max_positions=2048)
RATE = 1e-3
Batches = list[list[Encoded]]
Round = Callable[[], tuple[float, list[float]]]  # CPU seconds, losses
Way = Callable[[Path, Batches], AbstractContextManager[Round]]


@contextmanager
def ours(base: Path, batches: Batches) -> Iterator[Round]:
    """The engine as a stage has it, ZeRO-3 in one process; the batches are laid out in the time that is measured."""
    execution, recipe = TrainExecution(), replace(RECIPE, loss_reduction="token_mean", max_length=2048)
    prepare_process(execution)

    def train() -> tuple[float, list[float]]:
        losses, started = [], time.process_time()
        for batch in batches:
            rows = [
                loss.to_bin(*row, engine.device)
                for row in plan_batch(batch, recipe, 1, execution.token_budget).of_rank(0)
            ]
            losses.append(float(engine.step(rows, RATE)[0]))
        return time.process_time() - started, losses

    with ranks.process_group(1):
        engine = TrainEngine(base, recipe, execution)
        yield train


def dataset(batches: Batches) -> Any:
    """The examples as TRL takes them."""
    from datasets import Dataset

    rows = [example for batch in batches for example in batch]
    labels = [[int(t) if s else -100 for t, s in zip(e.input_ids, e.supervised, strict=True)] for e in rows]
    return Dataset.from_dict({"input_ids": [e.input_ids.tolist() for e in rows], "labels": labels})


def write_tokenizer(folder: Path) -> None:
    """One that TRL can ask for its special tokens; it spells nothing."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2}, unk_token="<s>"))
    made = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.save_pretrained(folder)


# What the trainers of TRL and transformers are told alike.
SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 1,
    "learning_rate": RATE,
    "lr_scheduler_type": "constant",
    "train_sampling_strategy": "sequential",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


@contextmanager
def theirs(base: Path, batches: Batches, *, padding_free: bool) -> Iterator[Round]:
    """TRL's trainer on the same rows; a new one for every round, with the model of the last."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    data, tokenizer = dataset(batches), PreTrainedTokenizerFast.from_pretrained(base)
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(output_dir=folder, padding_free=padding_free, max_length=None, **SETTINGS)
        yield lambda: trained(SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer))


def trained(trainer: Any) -> tuple[float, list[float]]:
    """CPU seconds and losses of a trainer of transformers' kind."""
    started = time.process_time()
    trainer.train()
    seconds = time.process_time() - started
    return seconds, [line["loss"] for line in trainer.state.log_history if "loss" in line]


WAYS: dict[str, Way] = {
    "padded": partial(theirs, padding_free=False),
    "padding_free": partial(theirs, padding_free=True),
}


def serve(pipe: Any, way: Way, base: Path, profile: str, steps: int) -> None:
    """A process of one way: a round of the batches each time that it is asked; its CPU seconds and losses."""
    torch.set_num_threads(1)
    with way(base, lengths.batches(profile, steps, SHAPE.vocab_size)) as train:
        while pipe.recv():
            pipe.send(train())


Rounds = dict[str, list[tuple[float, list[float]]]]  # of each way: CPU seconds and losses of each round


def rounds_of(ways: Mapping[str, Way], base: Path, profile: str, steps: int, rounds: int) -> Rounds:
    """Each way in a process of its own, in turn; the first round, which warms up, is there too."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    for name, way in ways.items():
        pipes[name], other = context.Pipe()
        context.Process(target=serve, args=(other, way, base, profile, steps), daemon=True).start()
    found: Rounds = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            found[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return found


def tokens_a_step(profile: str, steps: int) -> float:
    """Of the batches that all ways train."""
    batches = lengths.batches(profile, steps, SHAPE.vocab_size)
    return sum(len(example.input_ids) for batch in batches for example in batch) / steps


def loss_gap(found: Rounds) -> float:
    """The largest between ours and another's at any step of the first round: the model moves on after it."""
    first = {name: rounds[0][1] for name, rounds in found.items()}
    others = (losses for name, losses in first.items() if name != "ours")
    return max(abs(a - b) for losses in others for a, b in zip(first["ours"], losses, strict=True))


def measure(base: Path, profile: str, steps: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of a step of each way, the ratios, and the losses of the first round, which warms up."""
    found = rounds_of({"ours": ours, **WAYS}, base, profile, steps, rounds)
    seconds = {way: statistics.median(took / steps for took, _ in of[1:]) for way, of in found.items()}
    tokens = tokens_a_step(profile, steps)
    return {
        "profile": profile,
        "tokens_a_step": tokens,
        "seconds_a_step": seconds,
        "tokens_per_second": tokens / seconds["ours"],
        "ratio_padded": seconds["padded"] / seconds["ours"],
        "ratio_padding_free": seconds["padding_free"] / seconds["ours"],
        "largest_loss_gap": loss_gap(found),
        "losses": {way: of[0][1] for way, of in found.items()},
    }


def environment() -> dict[str, Any]:
    """What the figures hold for."""
    packages = ("torch", "transformers", "deepspeed", "trl", "accelerate")
    return {
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "load": os.getloadavg()[0],
        "lengths": lengths.ORIGIN,
        "shape": repr(SHAPE),
    }


@contextmanager
def base_model() -> Iterator[Path]:
    """The folder of the model that all ways train."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "tokenizer"
        write_tokenizer(place)
        materialise(SHAPE, 0, sorted(place.iterdir()), Path(scratch) / "base")
        yield Path(scratch) / "base"


def run(profiles: list[str], steps: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Each profile on one model, as it is measured."""
    with base_model() as base:
        for profile in profiles:
            yield measure(base, profile, steps, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    os.environ["OMP_NUM_THREADS"] = "1"
    parser.add_argument("--profiles", nargs="+", default=["mixed", *lengths.LENGTHS], choices=lengths.PROFILES)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    if importlib.util.find_spec("trl") is None:
        parser.error("TRL is not installed: pip install -e '.[bench]'")
    figures = []
    for figure in run(given.profiles, given.steps, given.rounds):
        figures.append(figure)
        print(
            f"{figure['profile']:<12} {figure['tokens_per_second']:8.0f} tokens/s; TRL padded / ours "
            f"{figure['ratio_padded']:5.2f}, padding-free / ours {figure['ratio_padding_free']:5.2f}; "
            f"losses within {figure['largest_loss_gap']:.1e}",
            flush=True,
        )
        if given.json:
            given.json.parent.mkdir(parents=True, exist_ok=True)
            found = {"environment": environment(), "figures": figures}
            given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
