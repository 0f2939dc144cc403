"""What only a GPU can show: the fused kernels, memory that really runs out, and a resume that is exact there too."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training import RECIPE, Job, in_child, run, train_rank

from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Shape
from sft_sweeps.train import attention, budget, layers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SHAPE = Shape(256, 688, layers=4, heads=4, kv_heads=2, vocab_size=97, max_positions=256)
WIDE = Shape(64, 16384, layers=8, heads=4, kv_heads=4, vocab_size=97, max_positions=256)  # rows cost more than weights
BF16 = {"precision": "bf16", "epochs": 3}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    materialise(SHAPE, 0, [], folder / "base")
    return folder


def job(scratch: Path, name: str, **more: int) -> Job:
    return Job(str(scratch / "base"), str(scratch / name), {"token_budget": 256}, BF16, **more)


def tensors(dtype: torch.dtype, shared: int) -> Iterator[torch.Tensor]:
    for heads in (4, 4 // shared, 4 // shared):
        yield torch.randn(1, heads, 300, 64, device="cuda", dtype=torch.float32).to(dtype).requires_grad_()


@pytest.mark.parametrize("shared", [1, 2])
def test_the_fused_kernel_is_each_example_by_itself(shared: int) -> None:
    """In bf16, with its gradients, against fp32 piece by piece; keys are each query head's own, or shared by two."""
    torch.manual_seed(0)
    kernel, lengths = attention.fused(), (200, 1, 99)
    assert kernel is not None, "neither torch's kernel nor flash-attention is here"
    ends = torch.tensor([0, 200, 201, 300], dtype=torch.int32, device="cuda")
    half = list(tensors(torch.bfloat16, shared))
    query, key, value = (states[0].transpose(0, 1) for states in half)
    found = kernel((query, key, value), ends, 200, attention.Scores(0.125))[None]
    wide = [states.detach().float().requires_grad_() for states in half]
    expected = attention.per_example(*wide, lengths, attention.Scores(0.125))
    given = torch.randn_like(expected)
    found.backward(given.to(torch.bfloat16))
    expected.backward(given)
    pairs = [(found, expected), *((h.grad, w.grad) for h, w in zip(half, wide, strict=True))]
    for ours, truth in pairs:
        assert (ours.float() - truth).norm() <= 0.01 * truth.norm()


def test_ligers_kernels_are_our_functions() -> None:
    """Rotation and gate with their gradients, in bf16, against fp32 by our own; heads share keys."""
    fused = layers.liger()
    if fused is None:
        pytest.skip("liger-kernel is not installed")
    torch.manual_seed(0)
    angles = torch.outer(torch.arange(50), 0.7 ** torch.arange(32)).repeat(1, 2)[None].cuda()
    turns = [part.to(torch.bfloat16) for part in (angles.cos(), angles.sin())]
    given = [torch.randn(1, 50, heads, 64, device="cuda").to(torch.bfloat16) for heads in (4, 2)]
    mixed, truth = (
        [states.detach().to(kind).requires_grad_() for states in given] for kind in (torch.bfloat16, torch.float32)
    )
    rotated = fused[0](*(states.clone().transpose(1, 2) for states in mixed), *turns)
    found = [*(states.transpose(1, 2) for states in rotated), fused[1](mixed[0].clone(), mixed[0].clone())]
    exact = [layers._Rotated.apply(states, *(part.float() for part in turns)) for states in truth]
    exact.append(layers._Gated.apply(truth[0], truth[0]))
    for results in (found, exact):
        sum((result.float() * torch.arange(64, device="cuda")).sum() for result in results).backward()
    pairs = [*zip(found, exact, strict=True), *((m.grad, t.grad) for m, t in zip(mixed, truth, strict=True))]
    for ours, expected in pairs:
        assert (ours.float() - expected).norm() <= 0.01 * expected.norm()


def test_a_stopped_stage_continues_bit_for_bit(scratch: Path) -> None:
    whole = run(job(scratch, "whole"))[0]
    assert not whole.error, whole.log
    again = run(job(scratch, "again"))[0]
    assert again.digest == whole.digest
    stopped = run(job(scratch, "stopped", stop_at=5))[0]
    assert stopped.error == "Interrupted", stopped.log
    rest = run(job(scratch, "stopped"))[0]
    assert (rest.digest, rest.error) == (whole.digest, "")


def test_bf16_follows_fp32(scratch: Path) -> None:
    half = run(job(scratch, "half"))[0]
    wide = run(replace(job(scratch, "wide"), recipe={"epochs": 3}))[0]
    for ours, truth in zip(half.metrics, wide.metrics, strict=True):
        assert ours["loss"] == pytest.approx(truth["loss"], rel=0.01)
        assert ours["mfu"] is None or 0 < ours["mfu"] < 1


def test_ways_of_zero_agree(scratch: Path) -> None:
    """ZeRO 2 and 3, the optimizer in the host's memory, activations made again: one computation."""
    plain = run(job(scratch, "zero3"))[0]
    assert not plain.error, plain.log
    for name, more in {
        "zero2": {"zero_stage": 2},
        "offload": {"offload": True},
        "recompute": {"recompute": True},
        "partitioned": {"whole_parameters": 0},
    }.items():
        asked = job(scratch, name)
        other = run(replace(asked, execution=asked.execution | more))[0]
        assert not other.error, other.log
        for ours, theirs in zip(other.metrics, plain.metrics, strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=3e-3), name


def peak(fields: dict[str, Any], bytes_at_most: float) -> str:
    """The stage where the GPU has no more memory than that (0: what it has): bytes at the peak, or the outcome."""
    if bytes_at_most:
        torch.cuda.set_per_process_memory_fraction(bytes_at_most / torch.cuda.mem_get_info()[1])
    out = f"{fields['folder']}/rank"
    Path(out).parent.mkdir()
    train_rank(fields, 0, 1, "", out)
    outcome = json.loads(Path(f"{out}.json").read_text())
    return outcome["message"] or str(torch.cuda.max_memory_reserved())


def test_memory_that_runs_out_halves_the_budget(scratch: Path) -> None:
    """There is enough for rows of 320 tokens and not for rows of 640."""
    materialise(WIDE, 0, [], scratch / "wide")

    def of(name: str, budget: int) -> dict[str, Any]:
        return asdict(Job(str(scratch / "wide"), str(scratch / name), {"token_budget": budget}, BF16))

    much, little = (int(in_child(peak, of(f"roomy-{size}", size), 0.0)) for size in (640, 320))
    assert much > 1.2 * little
    said = in_child(peak, of("cramped", 640), (much + little) / 2)
    assert said.isdigit(), said
    assert [line["to"] for line in budget.history(scratch / "cramped")] == [320]
    short, plain = (
        {line["step"]: line for line in map(json.loads, (scratch / name / "rank.jsonl").read_text().splitlines())}
        for name in ("cramped", "roomy-640")
    )
    assert short.keys() == plain.keys()
    for step, line in plain.items():
        assert short[step]["supervised_by_source"] == line["supervised_by_source"]
        assert short[step]["loss"] == pytest.approx(line["loss"], rel=3e-3)


def probed(base: str) -> str:
    """The budget that is found, and the peak of a row as long."""
    from sft_sweeps.train import ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process

    prepare_process(TrainExecution())
    with ranks.process_group(1):
        engine = TrainEngine(Path(base), replace(RECIPE, precision="bf16"), TrainExecution())
        peaks = [budget._peak(engine, tokens) for tokens in (1024, 2048)]
        found = budget.fitting(peaks, 2048, 1 << 20, 4e9)
        torch.cuda.reset_peak_memory_stats()
        engine.probe(found)
        return f"{found} {torch.cuda.max_memory_allocated()}"


def test_the_budget_that_is_found_fills_the_memory_and_no_more(scratch: Path) -> None:
    found, peak = map(int, in_child(probed, str(scratch / "base")).split())
    assert found > 2048
    assert 0.85 * 4e9 <= peak <= 1.02 * 4e9
