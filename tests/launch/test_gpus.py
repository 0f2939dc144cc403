"""The GPUs of this machine."""

from pathlib import Path

from sft_sweeps.launch import gpus


def test_gpus_are_counted_without_torch() -> None:
    assert gpus.gpus_here() == len([p for p in Path("/dev").iterdir() if p.name.removeprefix("nvidia").isdigit()])
