"""Training steps on a GPU: tokens/s, MFU and peak memory, beside Hugging Face TRL's on the same batches, in one run.

Shapes of LLaMA with random weights, 16-example batches of real lengths (bench/lengths.py), bf16 with fp32 weights,
gradients and AdamW states in both. Each way has a process of its own, warms up, then trains its steps without pause.
TRL comes twice: `trl`, as it comes (padded, activations recomputed), and `trl_best`, without padding, on the same
attention kernel as ours, with Liger's fused layers and loss, nothing recomputed where memory allows. The roofline is
the time of the model's matrix products alone, on rows of 8,192 tokens.

    python -m bench.gpu_speed [--shapes 1b 7b] [--ways ours trl trl_best] [--lengths mixed] [--steps 10] [--json FILE]

Needs a GPU and `pip install -e '.[bench,gpu]'`; without a GPU it says so and measures nothing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench import lengths
from bench.trl_speed import Batches, dataset, write_tokenizer
from bench.zero_overhead import RECIPE
from sft_sweeps.execution import TrainExecution
from sft_sweeps.plan import cost
from sft_sweeps.spec.training import Shape

SHAPES = {
    "1b": Shape(2048, 5504, layers=22, heads=16, kv_heads=16, vocab_size=32000, max_positions=2048),
    "7b": Shape(4096, 11008, layers=32, heads=32, kv_heads=32, vocab_size=32000, max_positions=2048),
}
BF16 = replace(RECIPE, precision="bf16", loss_reduction="token_mean", max_length=2048)
WARM = 3  # steps
RATE = 1e-5


@dataclass(frozen=True)
class Way:
    """Ours trains in rows of `size` tokens (0: what fits), TRL in micro-batches of `size` examples."""

    name: str
    size: int
    recompute: bool
    zero_stage: int = 3
    deterministic: bool = True


WAYS = {
    ("1b", "ours"): Way("ours", 0, recompute=False, zero_stage=2),
    ("1b", "trl"): Way("trl", 8, recompute=True),
    ("1b", "trl_best"): Way("trl_best", 16, recompute=False),
    ("7b", "ours"): Way("ours", 0, recompute=True, zero_stage=2),
    ("7b", "trl"): Way("trl", 4, recompute=True),
    ("7b", "trl_best"): Way("trl_best", 16, recompute=True),
}


def ours(base: Path, batches: Batches, way: Way, trace: Path | None = None) -> tuple[float, list[float]]:
    """The engine of a stage, rows laid out while the step before computes, as in train/loop.py."""
    from sft_sweeps.train import budget, ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process
    from sft_sweeps.train.steps import prepared

    execution = TrainExecution(threads=8, token_budget=way.size, zero_stage=way.zero_stage, recompute=way.recompute)
    execution = replace(execution, whole_parameters=0)
    prepare_process(execution)
    torch.use_deterministic_algorithms(way.deterministic)
    flat = [example for batch in batches for example in batch]
    with ranks.process_group(1):
        engine = TrainEngine(base, BF16, execution)
        if not way.size:
            engine.token_budget = budget.find(engine, BF16.max_length, BF16.max_length * 16)
            print(f"token budget {engine.token_budget}", file=sys.stderr)
        losses: list[float] = []
        started = 0.0
        for step, (_, rows) in enumerate(prepared(engine, flat, BF16, range(len(batches)))):
            if step == WARM:
                started = clock()
            with traced(trace if step == len(batches) - 1 else None):
                losses.append(float(engine.backward(rows)))  # as train/loop.py, which looks at it first
                engine.update(RATE)
        return clock() - started, losses


def clock() -> float:
    """Seconds, when the GPU has done what it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def theirs(base: Path, batches: Batches, way: Way) -> tuple[float, list[float]]:
    """TRL's trainer on the same rows in the same order."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    best = way.name == "trl_best"
    attention = varlen() if best else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=attention)
    data = dataset(batches)
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(clock() if len(times) in {WARM - 1, len(batches) - 1} else 0.0)

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=way.size,
            gradient_accumulation_steps=16 // way.size,
            padding_free=best,
            use_liger_kernel=best,
            max_length=None,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            train_sampling_strategy="sequential",
            bf16=True,
            gradient_checkpointing=way.recompute,
            dataloader_num_workers=2,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        words = PreTrainedTokenizerFast.from_pretrained(base)
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=words, callbacks=[Clock()])
        trainer.train()
    return times[-1] - times[WARM - 1], [line["loss"] for line in trainer.state.log_history if "loss" in line]


def varlen() -> str:
    """The name of an attention for transformers: torch's kernel for rows without padding, as ours."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    from sft_sweeps.train.attention import Scores, fused

    kernel = fused()
    assert kernel is not None

    def attend(_: Any, query: Any, key: Any, value: Any, __: Any, **row: Any) -> tuple[Any, None]:
        # Under autocast, the rotation leaves queries and keys in fp32.
        query, key, value = (states.squeeze(0).transpose(0, 1).to(value.dtype) for states in (query, key, value))
        found = kernel((query, key, value), row["cu_seq_lens_q"], row["max_length_q"], Scores(row["scaling"]))
        return found[None], None

    ALL_ATTENTION_FUNCTIONS.register("bench_varlen", attend)
    return "bench_varlen"


def one(base: Path, shape: Shape, way: Way, batches: Batches, trace: Path | None) -> dict[str, Any]:
    """The figures of one way, in this process."""
    steps = len(batches) - WARM
    if way.name == "ours":
        seconds, losses = ours(base, in_order(batches), way, trace)
    else:
        seconds, losses = theirs(base, batches, way)
    timed = [len(example.input_ids) for batch in batches[WARM:] for example in batch]
    flops = sum(n * cost.flops_per_token(shape, n) for n in timed)
    peak = cost.peak_flops(torch.cuda.get_device_name(), "bf16")
    return {
        "way": way.name,
        "setting": repr(way),
        "tokens_per_second": sum(timed) / seconds,
        "seconds_a_step": seconds / steps,
        "mfu": flops / seconds / peak if peak else None,
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "reserved_bytes": torch.cuda.max_memory_reserved(),
        "losses": losses,
    }


def in_order(batches: Batches) -> Batches:
    """The batches with names by which train/steps.py takes them in the order in which TRL does."""
    from sft_sweeps.data.encode.batches import Shown, epoch_order

    flat = [example for batch in batches for example in batch]
    names = [f"{place:06d}" for place in range(len(flat))]
    places = epoch_order(Shown(tuple(names)), BF16.seed, 0)
    named = dict(zip(places, flat, strict=True))
    ordered = [replace(named[at], id=names[at]) for at in range(len(flat))]
    return [ordered[start : start + 16] for start in range(0, len(ordered), 16)]


@contextmanager
def traced(file: Path | None) -> Iterator[None]:
    """What runs inside, as a Chrome trace."""
    if file is None:
        yield
        return
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        yield
        torch.cuda.synchronize()
    found.export_chrome_trace(str(file))


def roofline(shape: Shape, tokens: int) -> float:
    """Seconds of a token in the matrix products alone, forward and back, on rows of so many tokens."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    keys = hidden // shape.heads * shape.kv_heads
    layer = [(hidden, hidden)] * 2 + [(hidden, keys)] * 2 + [(hidden, inner)] * 3
    times = {sizes: products(tokens, *sizes) for sizes in {*layer, (hidden, shape.vocab_size)}}
    total = shape.layers * sum(times[sizes] for sizes in layer) + times[hidden, shape.vocab_size]
    return total / tokens


def products(tokens: int, wide: int, out: int) -> float:
    """Median seconds of y = x w and of both its gradients, bf16."""
    x, w, g = (
        torch.randn(size, device="cuda", dtype=torch.bfloat16) for size in ((tokens, wide), (wide, out), (tokens, out))
    )
    taken = []
    for turn in range(13):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        torch.mm(x, w), torch.mm(g, w.t()), torch.mm(x.t(), g)
        last.record()
        torch.cuda.synchronize()
        taken += [first.elapsed_time(last) / 1e3] if turn > 2 else []
    return float(statistics.median(taken))


def write_base(shape: Shape, folder: Path) -> None:
    """A LLaMA with random weights in bf16, drawn on the GPU: numpy's stream would take minutes for 7B."""
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    from sft_sweeps.models.architectures import LLAMA
    from sft_sweeps.models.init import STD

    torch.manual_seed(0)
    weights = {}
    for name, size in LLAMA.parameters(shape).items():
        drawn = torch.randn(size, device="cuda") * STD if len(size) > 1 else torch.ones(size)
        weights[name] = drawn.to("cpu", torch.bfloat16)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    LlamaConfig(
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocab_size,
        max_position_embeddings=shape.max_positions,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    ).save_pretrained(folder)
    write_tokenizer(folder)


def run(shape: str, ways: list[str], profile: str, steps: int) -> Iterator[dict[str, Any]]:
    """Each way of a shape in a process of its own; the roofline last."""
    room = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=room) as scratch:
        base = Path(scratch) / "base"
        write_base(SHAPES[shape], base)
        torch.cuda.empty_cache()
        for way in ways:
            command = [sys.executable, "-m", "bench.gpu_speed", "--one", str(base), shape, way, profile, str(steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
            yield json.loads(lines[-1]) if lines else {"way": way, "failed": done.returncode}
    yield {"way": "roofline", "tokens_per_second": 1 / roofline(SHAPES[shape], 8192)}


def environment() -> dict[str, Any]:
    """What the figures hold for."""
    packages = ("torch", "transformers", "deepspeed", "trl", "liger_kernel")
    return {
        **{name: version(name) for name in packages},
        "device": torch.cuda.get_device_name(),
        "memory": torch.cuda.mem_get_info()[1],
        "lengths": lengths.ORIGIN,
    }


def told(found: dict[str, Any], shape: str) -> str:
    """One line."""
    if "failed" in found:
        return f"{shape} {found['way']}: failed with status {found['failed']}"
    text = f"{shape} {found['way']:<9} {found['tokens_per_second']:8,.0f} tokens/s"
    if found.get("mfu"):
        text += (
            f", MFU {found['mfu']:.1%}, {found['seconds_a_step']:.3f} s a step, peak {found['peak_bytes'] / 1e9:.1f} GB"
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--ways", nargs="+", default=["ours", "trl", "trl_best"])
    parser.add_argument("--lengths", default="mixed", choices=lengths.PROFILES)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--trace", type=Path, help=argparse.SUPPRESS)  # of the last of our steps, for --one
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("NOT MEASURED: there is no GPU here")
        return
    if given.one:
        base, shape, name, profile, steps = given.one
        way = WAYS[shape, name]
        if given.way:
            way = replace(way, **json.loads(given.way))
        batches = lengths.batches(profile, WARM + int(steps), SHAPES[shape].vocab_size)
        print(json.dumps(one(Path(base), SHAPES[shape], way, batches, given.trace)))
        return
    figures: dict[str, list[dict[str, Any]]] = {}
    for shape in given.shapes:
        for found in run(shape, given.ways, given.lengths, given.steps):
            figures.setdefault(shape, []).append(found)
            print(told(found, shape), flush=True)
        if given.json:
            given.json.write_text(json.dumps({"environment": environment(), "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
