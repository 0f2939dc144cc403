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
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
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
WAYS = ("ours", "padded", "padding_free")
Batches = list[list[Encoded]]
Round = Callable[[], tuple[float, list[float]]]  # CPU seconds, losses


def ours(base: Path, batches: Batches) -> Round:
    """The engine as a stage has it, ZeRO-3 in one process; the batches are laid out in the time that is measured."""
    execution, recipe = TrainExecution(), replace(RECIPE, loss_reduction="token_mean", max_length=2048)
    engine = TrainEngine(base, recipe, execution)

    def train() -> tuple[float, list[float]]:
        losses, started = [], time.process_time()
        for batch in batches:
            rows = [
                loss.to_bin(*row, engine.device)
                for row in plan_batch(batch, recipe, 1, execution.token_budget).of_rank(0)
            ]
            losses.append(float(engine.step(rows, RATE)[0]))
        return time.process_time() - started, losses

    return train


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


def theirs(base: Path, batches: Batches, folder: Path, *, padding_free: bool) -> Round:
    """TRL's trainer on the same rows; a new one for every round, with the model of the last."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    data = dataset(batches)
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        padding_free=padding_free,
        max_length=None,
        num_train_epochs=1,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)

    def train() -> tuple[float, list[float]]:
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
        started = time.process_time()
        trainer.train()
        seconds = time.process_time() - started
        return seconds, [line["loss"] for line in trainer.state.log_history if "loss" in line]

    return train


def serve(pipe: Any, way: str, base: str, profile: str, steps: int) -> None:
    """A process of one way: a round of the batches each time that it is asked; its CPU seconds and losses."""
    torch.set_num_threads(1)
    batches = lengths.batches(profile, steps, SHAPE.vocab_size)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        if way == "ours":
            prepare_process(TrainExecution())
            stack.enter_context(ranks.process_group(1))
            train = ours(Path(base), batches)
        else:
            train = theirs(Path(base), batches, Path(name), padding_free=way == "padding_free")
        while pipe.recv():
            pipe.send(train())


def measure(base: Path, profile: str, steps: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of a step of each way, the ratios, and the losses of the first round, which warms up."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    losses: dict[str, list[float]] = {}
    for way in WAYS:
        pipes[way], other = context.Pipe()
        context.Process(target=serve, args=(other, way, str(base), profile, steps), daemon=True).start()
    for turn in range(rounds + 1):
        for way, pipe in pipes.items():
            pipe.send(True)
            seconds, found = pipe.recv()
            losses.setdefault(way, found)
            taken[way] += [seconds / steps] if turn else []
    for pipe in pipes.values():
        pipe.send(False)
    seconds_a_step = {way: statistics.median(values) for way, values in taken.items()}
    batches = lengths.batches(profile, steps, SHAPE.vocab_size)
    tokens = sum(len(example.input_ids) for batch in batches for example in batch) / steps
    gap = max(abs(a - b) for way in WAYS[1:] for a, b in zip(losses["ours"], losses[way], strict=True))
    return {
        "profile": profile,
        "tokens_a_step": tokens,
        "seconds_a_step": seconds_a_step,
        "tokens_per_second": tokens / seconds_a_step["ours"],
        "ratio_padded": seconds_a_step["padded"] / seconds_a_step["ours"],
        "ratio_padding_free": seconds_a_step["padding_free"] / seconds_a_step["ours"],
        "largest_loss_gap": gap,
        "losses": losses,
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


def run(profiles: list[str], steps: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Each profile on one model, as it is measured."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "tokenizer"
        write_tokenizer(place)
        materialise(SHAPE, 0, sorted(place.iterdir()), Path(scratch) / "base")
        for profile in profiles:
            yield measure(Path(scratch) / "base", profile, steps, rounds)


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
