"""The table of bench/gpu_levers.py, and what its shares make of 8 and 16 GPUs."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

CLOSE = {"bf16": 3e-3, "fp32": 1e-4}  # of losses near 10.8 and 6: what today's ways have between them (docs/speed.md)


def environment(absent: Mapping[str, str], origin: str) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "torch": torch.__version__,
        **{name: _version(name) for name in ("transformers", "deepspeed", "liger_kernel")},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: CPU time, fp32, tiny",
        "lengths": origin,
        "absent": dict(absent),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def table(lines: Sequence[Mapping[str, Any]], does: Mapping[str, str], absent: Mapping[str, str]) -> Iterator[str]:
    """All ways of each shape against today's step; what there is no figure for, and why."""
    gpu = lines[0]["device"]
    where = "" if torch.cuda.is_available() else "; these figures show that the levers work, not what a GPU gains"
    yield f"\n{gpu}; torch {lines[0]['torch']}{where}"
    yield "shape           way                 s a step  tokens/s    MFU  today/it  peak GB  repeats  loss off today's"
    for shape in dict.fromkeys(one["shape"] for one in lines[1:]):
        own = [one for one in lines[1:] if one["shape"] == shape]
        again = {tuple(one["levers"]): one for one in own if one["kind"] == "again"}
        ways = [one for one in own if one["kind"] == "way"]
        today = next((one for one in ways if not one["levers"]), {})
        for one in ways:
            yield _row(one, today, again.get(tuple(one["levers"]), {}))
    yield from (f"{name:<20} {why}: {does[name]}" for name, why in absent.items())
    for one in lines[1:]:
        if one["kind"] == "fullest" and "shares" in one:
            yield from simulated(one["shape"], one["shares"])


def _row(one: Mapping[str, Any], today: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    head = f"{one['shape']:<15} {one['name']:<18}"
    if "seconds_a_step" not in one:
        return f"{head} {one.get('failed') or one.get('not_run')}"
    mfu = f"{one['mfu']:.1%}" if one.get("mfu") else "-"
    peak = f"{one['peak_bytes'] / 1e9:.1f}" if one.get("peak_bytes") else "-"
    ratio = f"{today['seconds_a_step'] / one['seconds_a_step']:.3f}" if "seconds_a_step" in today else "-"
    return (
        f"{head} {one['seconds_a_step']:9.4f} {one['tokens_per_second']:9,.0f} {mfu:>6} {ratio:>9} {peak:>8} "
        f"{repeats(one, again):>8}  {_off(one, today)}"
    )


def repeats(one: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """Whether the second run's losses and gradient norms are the first's to the last bit."""
    if "losses" not in again:
        return "not run" if "not_run" in again or not again else "failed"
    pairs = [pair for name in ("losses", "norms") for pair in zip(one[name], again[name], strict=False)]
    return "yes" if all(first == second for first, second in pairs) else "NO"


def _off(one: Mapping[str, Any], today: Mapping[str, Any]) -> str:
    if "losses" not in today:
        return "-"
    off = max(abs(a - b) for a, b in zip(one["losses"], today["losses"], strict=True))
    return f"{off:.1e}" + ("" if off <= CLOSE["bf16" if one.get("peak_bytes") else "fp32"] else " TOO FAR")


def simulated(shape: str, shares: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """GPU-seconds of a step by the GPUs of a stage, in the same 8 or 16: fewer, fuller ones, stages side by side."""
    if not torch.cuda.is_available():
        yield f"{shape}: the choice of GPUs for 8 and 16 needs a GPU: nothing is simulated"
        return
    yield from choice(shape, shares)


def choice(shape: str, shares: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """From the shares: measured seconds of the fullest GPU, the update's part, the bytes exchanged over bandwidths."""
    from bench.gpu_speed import BF16
    from bench.levers_worker import ALL_SHAPES
    from sft_sweeps.execution import TrainExecution
    from sft_sweeps.plan import cost, scaling

    def exchange(gpus: int) -> float:
        how = TrainExecution(processes=gpus, zero_stage=2)
        return scaling.exchanged(ALL_SHAPES[shape], BF16, how, 1) / scaling.NODE_BANDWIDTH

    yield f"\n{shape}: a stage on n GPUs; the fullest GPU's seconds are measured, the exchange's assumed (ZeRO 2)"
    yield "  n  recomputes  tokens  gradients  update  exchange  s a step  GPU-s a step  side by side in 8, 16"
    for one in shares:
        n = one["gpus"]
        passing = exchange(n)
        step = one["gradients"] + one["update"] / n + passing
        beside = f"{8 // n if n <= 8 else 0}, {16 // n}"
        yield (
            f"{n:>3}  {'yes' if one['recompute'] else 'no':>10}  {one['tokens']:>6,.0f}  {one['gradients']:>9.3f}  "
            f"{one['update'] / n:>6.3f}  {passing:>8.3f}  {step:>8.3f}  {n * step:>12.3f}  {beside:>21}"
        )
    weights = cost.parameters(ALL_SHAPES[shape])
    yield "ZeRO 3 on 16 GPUs of two nodes, seconds of the exchange a step, by the bandwidth between nodes (assumed):"
    for between in (25e9, 200e9):
        plain, hpz = (weights * part * 15 / 16 for part in (8, 6))
        inside = weights * 2 * 7 / 8 / scaling.NODE_BANDWIDTH
        yield (
            f"  {between / 1e9:.0f} GB/s: {plain / between:.3f}; with zero_hpz_partition_size=8 "
            f"{hpz / between + inside:.3f}, for {weights * 2 / 8 / 1e9:.1f} GB more on each GPU"
        )
