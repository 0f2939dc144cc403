"""Speed of evaluation: the sandbox, scoring, decoding, statistics. Ratios or seconds; medians of three."""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks import gsm8k, humaneval
from sft_sweeps.benchmarks.programs import Problem
from sft_sweeps.execution import Isolation
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.stats import holm, paired_proportions, proportion

Figure = dict[str, Any]
WORKERS = 2


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def sandbox() -> Figure:
    """HumanEval's 164 canonical programs behind every layer, against plain subprocesses of the same interpreter."""
    rows = [json.loads(line) for line in humaneval.packaged().decode().splitlines()]
    programs = [
        (p, p.prompt + row["canonical_solution"]) for p, row in zip(humaneval.read_problems(rows), rows, strict=True)
    ]

    def plain(pair: tuple[Problem, str]) -> None:
        problem, program = pair
        subprocess.run([sys.executable, "-I", "-c", f"{program}\n{problem.check}"], check=True)

    def all_plain() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(plain, programs))

    def all_sandboxed() -> None:
        outcomes = humaneval.run_programs(programs, Isolation())
        if not all(outcome.passed for outcome in outcomes):
            raise RuntimeError("a canonical program did not pass")

    all_sandboxed()
    ours, theirs = [], []
    for _ in range(3):  # interleaved: the machine's other loads fall on both
        ours.append(seconds(all_sandboxed))
        theirs.append(seconds(all_plain))
    ratio = statistics.median(ours) / statistics.median(theirs)
    return {"what": "164 programs, sandbox / plain subprocesses", "value": ratio, "target": 1.5, "unit": "x"}


def gsm8k_rules() -> Figure:
    """1,319 answers of 300 characters by all four rules."""
    stream = random.Random(0)
    answers = []
    for _ in range(1319):
        lines = [
            f"So {stream.randrange(99)} * {stream.randrange(9)} = <<3*4=12>>12 apples cost $12.50." for _ in range(6)
        ]
        answers.append("\n".join([*lines, f"#### {stream.randrange(10**4):,}"]))
    value = statistics.median(seconds(lambda: [gsm8k.verdicts(text, "18") for text in answers]) for _ in range(3))
    return {"what": "1,319 GSM8K answers by all rules", "value": value, "target": 0.5, "unit": "s"}


def runs() -> Figure:
    """Intervals of 100 runs on 1,319 items, each run against the first, Holm over all."""
    stream = random.Random(0)
    verdicts = [[stream.random() < 0.3 + run / 500 for _ in range(1319)] for run in range(100)]

    def work() -> None:
        for found in verdicts:
            proportion(sum(found), len(found))
        holm([paired_proportions(found, verdicts[0]).p or 0.0 for found in verdicts[1:]])

    work()
    value = statistics.median(seconds(work) for _ in range(3))
    return {"what": "statistics of 100 runs on 1,319 items", "value": value, "target": 2.0, "unit": "s"}


EOS, BATCH, NEW = 2, 16, 96  # of decoding: the token that ends an answer, prompts at once, the longest answer


def decoding() -> Figure:
    """Our decoding against `generate` over unsorted, padded batches, the same answers; plain time / ours."""
    from sft_sweeps.generate.engine import greedy

    stream = random.Random(0)
    prompts = [
        [1, *(stream.randrange(3, 512) for _ in range(int(stream.lognormvariate(4, 0.7)) + 8))] for _ in range(128)
    ]
    model, engine = models()

    def plain() -> list[list[int]]:
        batches = (prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH))
        return [answer for batch in batches for answer in padded(model, batch)]

    def ours() -> list[list[int]]:
        return [answer.ids for answer in engine.generate(greedy(prompts, NEW, EOS), BATCH)]

    theirs, mine = plain(), ours()
    same = sum(a == b for a, b in zip(theirs, mine, strict=True))
    times = [(seconds(plain), seconds(ours)) for _ in range(3)]
    ratio = statistics.median(b for _, b in times) / statistics.median(a for a, _ in times)
    lengths = sorted(map(len, mine))
    return {
        "what": "our decoding / plain padded generate",
        "value": ratio,
        "target": 0.5,
        "unit": "x",
        "same": f"{same} of {len(mine)}",
        "answer tokens": f"median {lengths[len(lengths) // 2]}, longest {lengths[-1]}",
    }


def models() -> tuple[Any, Any]:
    """A small model as transformers has it, and our engine with the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sft_sweeps.generate.hf import HFEngine

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        max_position_embeddings=1024,
        initializer_range=0.3,
        eos_token_id=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        model = LlamaForCausalLM(config).eval()
        with torch.no_grad():  # answers that end by chance, most early and some late, as models' do
            model.lm_head.weight[EOS] *= 2.6
        model.save_pretrained(folder)
        return model, HFEngine(Path(folder), Engine("hf", "5", "fp32"))


def padded(model: Any, batch: list[list[int]]) -> list[list[int]]:
    """Answers by `generate`, to prompts that are padded on the left."""
    import torch
    from transformers import GenerationConfig

    settings = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=EOS, pad_token_id=EOS)
    width = max(map(len, batch))
    ids = torch.tensor([[EOS] * (width - len(p)) + p for p in batch])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch])
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    return [row[: row.index(EOS)] if EOS in row else row for row in out[:, width:].tolist()]
