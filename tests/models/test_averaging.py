"""The average of models: torch's own, whatever the tensors; written whole or not at all; in little memory."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sft_sweeps.errors import RunError
from sft_sweeps.models import averaging, weights
from sft_sweeps.models.averaging import average

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
Tensors = dict[str, torch.Tensor]


def folder_of(tensors: Tensors, folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    return folder


def contents(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def random_tensors(seed: int, dtype: torch.dtype, scale: float = 1.0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"lm_head.weight": (7, 5), "a.bias": (3,), "model.embed_tokens.weight": (7, 5), "one": (1,)}
    return {name: (torch.randn(shape, generator=generator) * scale).to(dtype) for name, shape in shapes.items()}


@given(
    dtype=st.sampled_from(list(DTYPES)),
    parts=st.lists(st.integers(1, 50), min_size=2, max_size=4),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-4, 1.0, 300.0]),
)
def test_it_is_torchs_own_weighted_average(
    dtype: str, parts: list[int], seed: int, scale: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """To the bit of a sum in float64, and as near to one in float32 as that adds up."""
    tmp_path, torch_dtype = tmp_path_factory.mktemp("average"), DTYPES[dtype]
    shares = [Fraction(part, sum(parts)) for part in parts]
    models = [random_tensors(seed + number, torch_dtype, scale) for number in range(len(parts))]
    folders = [folder_of(one, tmp_path / str(number)) for number, one in enumerate(models)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(averaging, "NUMBERS", 1 + seed % 40)
        average(folders, shares, tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == models[0].keys()
    for name, tensor in found.items():
        exact = sum(float(share) * one[name].double() for share, one in zip(shares, models, strict=True))
        assert torch.equal(tensor, torch.as_tensor(exact).float().to(torch_dtype))
        plain = sum(torch.tensor(float(share)) * one[name].float() for share, one in zip(shares, models, strict=True))
        kind = torch.finfo(torch_dtype)
        rounding = kind.eps * (kind.smallest_normal + sum(one[name].double().abs() for one in models))
        assert bool(((tensor.double() - torch.as_tensor(plain).double()).abs() <= rounding).all())


def test_what_is_written_is_what_safetensors_would_write(tmp_path: Path) -> None:
    """The same bytes, so that every reader of its files reads these."""
    one, two = (random_tensors(seed, torch.float32) for seed in (0, 1))
    folders = [folder_of(one, tmp_path / "one"), folder_of(two, tmp_path / "two")]
    average(folders, [Fraction(1, 2)] * 2, tmp_path / "out")
    half = {name: ((one[name].double() + two[name].double()) / 2).float() for name in one}
    save_file(half, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_equal_models_average_to_themselves(tmp_path: Path) -> None:
    for dtype in DTYPES.values():
        tensors, root = random_tensors(3, dtype), tmp_path / str(dtype)
        folders = [folder_of(tensors, root / str(number)) for number in range(3)]
        digest = average(folders, [Fraction(1, 3)] * 3, root / "out")
        assert digest == weights.digest(folders[0])


def test_large_models_are_cut_into_shards_with_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", 100)
    one = random_tensors(0, torch.float32)
    folders = [folder_of(one, tmp_path / "one"), folder_of(one, tmp_path / "two")]
    average(folders, [Fraction(1, 4), Fraction(3, 4)], tmp_path / "out")
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 1
    assert set(weights.tensors(tmp_path / "out")) == set(one)
    assert weights.digest(tmp_path / "out") == weights.digest(tmp_path / "one")


MEASURED = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from sft_sweeps.models.averaging import average
folders = [Path(name) for name in sys.argv[1:3]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
average(folders, [Fraction(1, 2)] * 2, Path(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, "torch" in sys.modules)
"""


def test_memory_holds_a_block_and_no_tensor(tmp_path: Path) -> None:
    """Two models with a tensor of 400 MB: what the average takes is what its blocks do, and no torch."""
    numbers, folders = 100_000_000, []
    for name in ("one", "two"):
        folders.append(folder_of({"small": torch.zeros(1)}, tmp_path / name))
        entry = {"big": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}
        header = json.dumps(entry).encode()
        with (folders[-1] / "model.safetensors").open("wb") as file:  # a hole: nothing is stored of it
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 4 * numbers)
    arguments = [*map(str, folders), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, check=True)
    kilobytes, torch_there = done.stdout.split()
    unit = 1 if sys.platform == "linux" else 1024
    assert int(kilobytes) / unit < 150_000
    assert torch_there == "False"


def _names(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")


def _shapes(folder: Path) -> None:
    save_file(random_tensors(0, torch.float32) | {"one": torch.zeros(2)}, folder / "model.safetensors")


def _formats(folder: Path) -> None:
    save_file(random_tensors(0, torch.bfloat16), folder / "model.safetensors")


def _not_finite(folder: Path) -> None:
    save_file(random_tensors(0, torch.float32) | {"one": torch.tensor([np.nan])}, folder / "model.safetensors")


def _ties(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", "tie_word_embeddings": true}')


def _tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "2.0"}')


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def _cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-8])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_names, "not of one architecture"),
        (_shapes, "one is "),
        (_formats, "BF16, F32"),
        (_not_finite, "one holds NaN"),
        (_ties, "differ in tie_word_embeddings"),
        (_tokenizer, "tokenizer.json of .* differ"),
        (_adapter, "not merged into its weights"),
        (_cut_short, "cut short"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(spoil: object, said: str, tmp_path: Path) -> None:
    folders = [folder_of(random_tensors(seed, torch.float32), tmp_path / str(seed)) for seed in (0, 1)]
    spoil(folders[1])  # type: ignore[operator]
    with pytest.raises(RunError, match=said):
        average(folders, [Fraction(1, 2)] * 2, tmp_path / "out" / "model")
    assert contents(tmp_path / "out") == []


def test_one_that_is_stopped_leaves_nothing_and_is_made_anew(tmp_path: Path) -> None:
    folders = [folder_of(random_tensors(seed, torch.float32), tmp_path / str(seed)) for seed in (0, 1)]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".model.writing").mkdir()  # of one that was killed
    (tmp_path / "out" / ".model.writing" / "model-00001-of-00009.safetensors").write_bytes(b"half")

    def stop(done: int, of: int) -> None:
        if done == of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        average(folders, [Fraction(1, 2)] * 2, tmp_path / "out" / "model", stop)
    assert contents(tmp_path / "out") == []
    average(folders, [Fraction(1, 2)] * 2, tmp_path / "out" / "model")
    assert contents(tmp_path / "out") == ["model"]
