"""The token budget: how many tokens one forward pass holds. Found by a probe, halved where memory runs out.

The probe runs bins of weight zero, half as long as the longest example and as long, and notes the peak of each: what a
token costs, and what is left, follow. Gradients of weight zero are zero, so that nothing remains of it. A stage that
runs out of memory all the same goes on with half the budget from its newest resume state, with the same batches:
`budgets.jsonl` has a line for each time, and the next start begins where that left off. Nobody's batches change.
"""

import logging
import time
from pathlib import Path
from typing import Any

import torch

from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import append_line, parse_line
from sft_sweeps.train import ranks

log = logging.getLogger(__name__)

RECORD = "budgets.jsonl"
CPU_BUDGET = 8192  # without a GPU's memory to fill: large enough that longer rows gain nothing
SHARE = 0.9  # of a GPU's memory; the rest is the allocator's to lose between blocks


class Halved(Exception):  # noqa: N818
    """Memory ran out in a step; half the budget is written down."""


def find(engine: Any, longest: int, most: int) -> int:
    """The budget for this device: from `longest`, the tokens of the longest example, to `most`, of a rank's step."""
    if engine.device.type != "cuda":
        return max(longest, CPU_BUDGET)
    peaks = [_peak(engine, tokens) for tokens in (max(1, longest // 2), longest)]
    capacity = -ranks.most(-float(torch.cuda.mem_get_info()[1]))  # the smallest device's
    budget = fitting(peaks, longest, most, SHARE * capacity)
    log.info("token budget %d: %.1f GB at %d tokens, of %.1f GB", budget, peaks[1] / 1e9, longest, capacity / 1e9)
    return budget


def fitting(peaks: list[float], longest: int, most: int, capacity: float) -> int:
    """The tokens that fit into `capacity` bytes, at most `most` and at least the longest example's.

    `peaks` are the bytes at half the longest example and at the whole; memory grows along the line through them.
    """
    half = longest - max(1, longest // 2)
    a_token = max((peaks[1] - peaks[0]) / half, 1.0) if half else 1.0
    return max(longest, min(most, longest + int((capacity - peaks[1]) / a_token)))


def _peak(engine: Any, tokens: int) -> float:
    torch.cuda.reset_peak_memory_stats()
    engine.probe(tokens)
    return ranks.most(float(torch.cuda.max_memory_allocated()))


def at_start(configured: int, folder: Path) -> int:
    """What a start of the stage begins with: the configured budget, or what was left of it after memory ran out."""
    halved = history(folder)
    if not halved:
        return configured
    left = int(halved[-1]["to"])
    return min(left, configured) if configured else left


def history(folder: Path) -> list[dict[str, Any]]:
    """Each time that memory ran out in the stage's folder."""
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append({"to": int(parse_line(line)["to"]), **parse_line(line)})
        except (ValueError, KeyError, TypeError):
            log.warning("%s has a line that cannot be read: %s", folder / RECORD, line[:80])
    return entries


def halve(folder: Path, step: int, budget: int, longest: int) -> None:
    """Write down half the budget, on the rank whose memory ran out; RunError where rows cannot be any shorter."""
    if budget <= longest:
        raise RunError(
            f"step {step}: out of GPU memory with rows of {longest} tokens, the longest example. Use "
            "deepspeed.recompute=true, deepspeed=zero3_offload, more GPUs (model.gpus), or a smaller train.max_length."
        )
    to = max(longest, budget // 2)
    line = {"step": step, "from": budget, "to": to, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    try:
        append_line(folder / RECORD, line)
    except OSError as error:
        raise RunError(
            f"step {step}: out of GPU memory, and {folder / RECORD} cannot be written ({error}). "
            f"Launch again with deepspeed.token_budget={to}."
        ) from None
    log.warning("step %d: out of GPU memory; the token budget is halved from %d to %d", step, budget, to)
