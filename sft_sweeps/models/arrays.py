"""Weights as NumPy arrays, read from and written to safetensors one tensor at a time, without torch.

NumPy has no bfloat16: its 16 bits are the upper half of a float32's, to which they are rounded (to the nearest, ties to
even), as torch does.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_sweeps.errors import RunError
from sft_sweeps.models import weights
from sft_sweeps.models.weights import StoredTensor

Array = npt.NDArray[np.float32]
STORED = {"fp32": "F32", "bf16": "BF16"}  # the number formats of conf/, as safetensors calls them
KINDS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


def read(stored: StoredTensor) -> Array:
    """A tensor's numbers."""
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        block = stream.read(stored.stop - stored.start)
    if len(block) != stored.stop - stored.start:
        raise RunError(f"{stored.file} is cut short.")
    return numbers(block, stored.dtype).reshape(stored.shape)


def numbers(block: bytes, dtype: str) -> Array:
    """Stored bytes as numbers."""
    raw = np.frombuffer(block, KINDS[dtype])
    wide = raw.astype(np.uint32) << 16 if dtype == "BF16" else raw.astype(np.float32)
    return wide.view(np.float32)


def rounded(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """The numbers as they are stored; ValueError where one is not finite, or no longer is."""
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(array, dtype=np.float32)
        kept = single.astype(KINDS[dtype]) if dtype != "BF16" else _upper_half(single)
    beyond = kept & 0x7F80 == 0x7F80 if dtype == "BF16" else ~np.isfinite(kept)
    if beyond.any() or not np.isfinite(single).all():
        raise ValueError("NaN or infinite numbers")
    return kept


def _upper_half(single: Array) -> npt.NDArray[np.uint16]:
    bits = single.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, tensors: Iterable[tuple[str, npt.NDArray[Any]]]
) -> None:
    """Write a model's weights as `from_pretrained` reads them, in shards; `tensors` come in the order of `shapes`.

    `dtype` is one of KINDS. RunError where one of them holds NaN or infinite numbers.
    """
    sizes = {name: int(np.prod(shape, dtype=np.int64)) * KINDS[dtype].itemsize for name, shape in shapes.items()}
    files, coming = weights.shard_names(sizes, weights.SHARD_BYTES), iter(tensors)
    for file in dict.fromkeys(files.values()):
        inside = {name: shape for name, shape in shapes.items() if files[name] == file}
        write_file(folder / file, inside, dtype, islice(coming, len(inside)))
    weights.write_index(folder, files, sum(sizes.values()))


def write_file(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, tensors: Iterable[tuple[str, npt.NDArray[Any]]]
) -> None:
    """Write one safetensors file; `tensors` come in the order of `shapes`, and no more than one is held."""
    with path.open("wb") as stream:
        stream.write(header(shapes, dtype))
        for name, array in tensors:
            try:
                stream.write(rounded(array, dtype).tobytes())
            except ValueError as error:
                raise RunError(f"{name} holds {error}: the model is not written.") from None


def header(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> bytes:
    """How a safetensors file begins: the length of a JSON text that says where each tensor lies behind it."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        stop = start + int(np.prod(shape, dtype=np.int64)) * KINDS[dtype].itemsize
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
