"""What finished stages took is held against the plan."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from outcomes import finish
from values import mixed, model, request

from sft_sweeps.plan import build, cost
from sft_sweeps.report import measured
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.train.stage import throughput

LARGE = replace(model().shape, hidden_size=4096, intermediate_size=11008, layers=32, heads=32, kv_heads=32)


def test_the_rest_is_estimated_from_what_was_measured(tmp_path: Path) -> None:
    """One of three stages is done and took twice as long as planned: so will the others."""
    base = model("seven", shape=LARGE, gpus=4, weights="safetensors:0", path="/w")
    built = build.build([("a", request(mixed(rows=4000), "sequential", base=base))])
    store, (first, *others) = Store(tmp_path), built.stages
    assert list(measured.lines(survey(built, store))) == []
    hours = cost.gpu_hours(first)
    finish(store, first, mfu=0.2, seconds=2 * hours * 3600 / 4, execution={"processes": 4})
    store = Store(tmp_path)
    (line,) = measured.lines(survey(built, store))
    left = sum(map(cost.gpu_hours, others))
    assert line.startswith(f"seven: 1 finished stages took {2 * hours:,.1f} GPU-hours (planned {hours:,.1f}), MFU 20%")
    assert line.endswith(f"the rest takes {2 * left:,.1f} GPU-hours (planned {left:,.1f})")


def test_a_record_without_mfu_is_not_held_against_the_plan(tmp_path: Path) -> None:
    built = build.build([("a", request())])
    for extra in ({}, {"mfu": None}, {"mfu": 0.5}):
        finish(Store(tmp_path), built.stages[0], **extra)
        assert list(measured.lines(survey(built, Store(tmp_path)))) == []


def lines(*values: float | None) -> list[dict[str, Any]]:
    return [{"tokens_per_second": 10.0 * n} | ({} if v is None else {"mfu": v}) for n, v in enumerate(values, 1)]


def test_throughput_is_the_median_without_the_first_step() -> None:
    assert throughput([]) == {}
    assert throughput(lines(None)) == {"tokens_per_second": 10.0}
    assert throughput(lines(0.9, 0.3, 0.5, 0.4)) == {"tokens_per_second": 30.0, "mfu": 0.4}
    assert "mfu" not in throughput(lines(None, None)), "absent rather than invented"


@pytest.mark.parametrize(
    ("device", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", 0.0),
        ("Tesla T4", "bf16", 0.0),
        ("", "bf16", 0.0),
    ],
)
def test_a_peak_is_the_makers_or_none(device: str, precision: str, peak: float) -> None:
    assert cost.peak_flops(device, precision) == peak
