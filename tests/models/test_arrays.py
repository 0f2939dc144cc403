"""Weights without torch: the numbers are torch's, and what is written is what safetensors and torch read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sft_sweeps.errors import RunError
from sft_sweeps.models import arrays, weights

NUMBERS = torch.cat(
    [torch.randn(2000) * 10.0 ** torch.randint(-30, 30, (2000,)), torch.tensor([0.0, -0.0, 1.00390625])]
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reading_is_torchs(dtype: torch.dtype, tmp_path: Path) -> None:
    kept = NUMBERS.clamp(-6e4, 6e4).to(dtype).reshape(2003, 1)
    save_file({"a": kept}, tmp_path / weights.WHOLE)
    read = arrays.read(weights.tensors(tmp_path)["a"])
    assert torch.equal(torch.from_numpy(read.copy()), kept.float())


@pytest.mark.parametrize(
    ("dtype", "torchs"), [("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16)]
)
def test_writing_rounds_as_torch_and_is_read_by_safetensors(
    dtype: str, torchs: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", 5000)
    numbers = NUMBERS.clamp(-6e4, 6e4) if torchs == torch.float16 else NUMBERS
    tensors = {"a": numbers.reshape(-1, 1), "b": numbers[:7], "c": numbers.flip(0)}
    arrays.write(
        tmp_path, {n: tuple(t.shape) for n, t in tensors.items()}, dtype, ((n, t.numpy()) for n, t in tensors.items())
    )
    stored = weights.tensors(tmp_path)
    assert len({one.file for one in stored.values()}) > 1
    read = {name: tensor for file in weights.files(tmp_path) for name, tensor in load_file(file).items()}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name].to(torchs)) for name in tensors)


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    for wrong in (np.nan, np.inf, 3.4e38):  # the last one is beyond bfloat16 when it is rounded
        with pytest.raises(RunError, match="a holds NaN or infinite"):
            arrays.write(tmp_path, {"a": (1,)}, "BF16", [("a", np.array([wrong]))])
