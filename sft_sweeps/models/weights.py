"""Weights on disk: a Hugging Face folder of safetensors shards, and what identifies them.

The digest of a folder's weights is the SHA-256 over its tensors in the order of their names: name, dtype, shape, bytes.
How they are cut into shards, metadata and file names do not enter. It is read from the files in blocks, without torch.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RunError

BLOCK = 1 << 24
HEADER_LIMIT = 100_000_000  # bytes, as safetensors itself
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
CHAT_TEMPLATE = "chat_template.jinja"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a safetensors file: its bytes lie at [start, stop)."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int


def tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a model folder by name."""
    stored: dict[str, StoredTensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        stored.update(_header(file))
    if not stored:
        raise RunError(f"there are no weights in {folder}: no *.safetensors file with a tensor.")
    return stored


def count(folder: Path) -> int:
    """How many numbers the weights of a model folder are."""
    return sum(math.prod(stored.shape) for stored in tensors(folder).values())


def digest(folder: Path) -> str:
    """`sha256:` and the digest of the weights in a model folder."""
    hasher = hashlib.sha256()
    for name, stored in sorted(tensors(folder).items()):
        hasher.update(json.dumps([name, stored.dtype, list(stored.shape)]).encode())
        for block in _blocks(stored):
            hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def shard_names(sizes: dict[str, int], limit: int) -> dict[str, str]:
    """The shard of each tensor: in the given order, a new shard where the next tensor would pass `limit` bytes."""
    shards, shard, filled = {}, 0, 0
    for name, size in sizes.items():
        if filled and filled + size > limit:
            shard, filled = shard + 1, 0
        shards[name] = shard
        filled += size
    if shard == 0:
        return dict.fromkeys(shards, "model.safetensors")
    return {name: f"model-{own + 1:05d}-of-{shard + 1:05d}.safetensors" for name, own in shards.items()}


def write_index(folder: Path, shards: dict[str, str], total: int) -> None:
    """Write which shard (file name) holds which tensor, `total` bytes of them; one shard needs no index."""
    if len(set(shards.values())) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": shards}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _header(file: Path) -> dict[str, StoredTensor]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(HEADER_LIMIT, size):
            raise RunError(f"{file} is no safetensors file, or cut short.")
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    base = 8 + length
    stored = {}
    for name, entry in header.items():
        start, stop = (base + offset for offset in entry["data_offsets"])
        if stop > size:
            raise RunError(f"{file} is cut short: {name} ends at byte {stop} of {size}.")
        stored[name] = StoredTensor(entry["dtype"], tuple(entry["shape"]), file, start, stop)
    return stored


def _blocks(stored: StoredTensor) -> Iterator[bytes]:
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        left = stored.stop - stored.start
        while left:
            block = stream.read(min(BLOCK, left))
            if not block:
                raise RunError(f"{stored.file} is cut short.")
            left -= len(block)
            yield block


def share(folder: Path) -> None:
    """Give the weights the mode of the other files: safetensors writes them for their owner alone."""
    for file in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", file)
