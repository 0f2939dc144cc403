"""Weights on disk: a Hugging Face folder of safetensors shards, and what identifies them.

Which files are a model's weights is said once, by `files`, for training, answering, checks and digests alike: those
that model.safetensors.index.json names, or model.safetensors alone, as transformers' `from_pretrained` reads them.
Where that leaves more than one reading (both of them, another file with a tensor of the same name), the folder is
refused: from_pretrained, vLLM and others would take different weights from it.

The digest of a folder's weights is the SHA-256 over its tensors in the order of their names: name, dtype, shape, bytes.
How they are cut into shards, metadata and file names do not enter. It is read from the files in blocks, without torch.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RunError
from sft_sweeps.files import foreign

BLOCK = 1 << 24
BYTES = {"F32": 4, "F16": 2, "BF16": 2}  # of a number, of what can be trained
HEADER_LIMIT = 100_000_000  # bytes, as safetensors itself
SHARD_BYTES = 5_000_000_000  # of a file that is written
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
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a safetensors file: its bytes lie at [start, stop)."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int


def files(folder: Path) -> list[Path]:
    """The files that hold the weights of a model folder; RunError where there are none, or two readings."""
    mapped, whole = index(folder), folder / WHOLE
    if not mapped:
        if not whole.is_file():
            raise RunError(f"there are no weights in {folder}: neither {WHOLE} nor {INDEX}.")
        return [whole]
    names = sorted(set(mapped.values()))
    if odd := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise RunError(f"{folder / INDEX} names {odd[0]!r}, which is no safetensors file of its folder.")
    if whole.is_file() and WHOLE not in names:
        raise RunError(
            f"{folder} holds {WHOLE} and {INDEX}, which names other files. Which of them is the model cannot be told: "
            "move the one that is not out of the folder."
        )
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise RunError(f"{folder} lacks {', '.join(lost)}, which {INDEX} names. Fetch the model again.")
    return [folder / name for name in names]


def index(folder: Path) -> dict[str, str]:
    """The file that holds each tensor, as the folder's index says; empty without an index."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    try:
        mapped = foreign.read_object(path).get("weight_map")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}). Fetch it again.") from None
    if isinstance(mapped, dict) and mapped and all(isinstance(name, str) for name in mapped.values()):
        return mapped
    raise RunError(f"{path} has no weight_map that names a file for each tensor. Fetch it again.")


def tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a model folder by name; RunError where a name stands for two."""
    stored: dict[str, StoredTensor] = {}
    for file in (used := files(folder)):
        held = held_in(file)
        if twice := sorted(stored.keys() & held.keys()):
            raise RunError(f"{twice[0]} is in {stored[twice[0]].file} and in {file}.")
        stored |= held
    for name, file_name in index(folder).items():
        if name not in stored or stored[name].file.name != file_name:
            raise RunError(f"{folder / INDEX} says that {name} is in {file_name}, and it is not.")
    if not stored:
        raise RunError(f"there are no weights in {folder}: {used[0].name} holds no tensor.")
    _refuse_strays(folder, used, stored)
    return stored


def _refuse_strays(folder: Path, used: list[Path], stored: dict[str, StoredTensor]) -> None:
    """RunError for another safetensors file with a tensor of the model's: some readers would take it from there."""
    for stray in sorted(set(folder.glob("*.safetensors")) - set(used)):
        try:
            twice = sorted(stored.keys() & held_in(stray).keys())
        except (RunError, OSError):
            twice = ["what cannot be read"]
        if twice:
            raise RunError(
                f"{stray} is not one of the model's files ({used[0].name}{' and others' if used[1:] else ''}) and "
                f"holds {twice[0]}, which other readers would load from it. Move it out of the folder."
            )


def count(folder: Path) -> int:
    """How many numbers the weights of a model folder are."""
    return sum(math.prod(stored.shape) for stored in tensors(folder).values())


def digest(folder: Path) -> str:
    """`sha256:` and the digest of the weights in a model folder."""
    return digest_of(tensors(folder))


def digest_of(held: dict[str, StoredTensor]) -> str:
    """The same of some tensors."""
    hasher = hashlib.sha256()
    for name, stored in sorted(held.items()):
        hasher.update(json.dumps([name, stored.dtype, list(stored.shape)]).encode())
        for block in blocks(stored):
            hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def equal(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors hold the same numbers in the same form."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(a == b for a, b in zip(blocks(one), blocks(other), strict=True))


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


def held_in(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a file; RunError where it is none of ours to read."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(HEADER_LIMIT, size):
            raise RunError(f"{file} is no safetensors file, or cut short. Fetch the model again.")
        header = stream.read(length)
    try:
        entries = json.loads(header, object_pairs_hook=_distinct)
        entries.pop("__metadata__", None)
        return {name: _stored(file, name, entry, 8 + length, size) for name, entry in entries.items()}
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{file} is no safetensors file, or damaged ({error}). Fetch the model again.") from None


def _stored(file: Path, name: str, entry: dict[str, Any], base: int, size: int) -> StoredTensor:
    start, stop = (base + int(offset) for offset in entry["data_offsets"])
    if stop > size:
        raise RunError(f"{file} is cut short: {name} ends at byte {stop} of {size}. Fetch it again.")
    dtype, shape = str(entry["dtype"]), tuple(int(length) for length in entry["shape"])
    if min(start - base, *shape, 0) < 0 or stop - start != math.prod(shape) * BYTES.get(dtype, 0) != 0:
        raise RunError(f"{file} is damaged: {name}, {dtype} {shape}, takes {stop - start} bytes.")
    return StoredTensor(dtype, shape, file, start, stop)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys are all different."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def blocks(stored: StoredTensor, size: int = BLOCK) -> Iterator[bytes]:
    """A tensor's bytes, so many at a time."""
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        for start in range(stored.start, stored.stop, size):
            wanted = min(size, stored.stop - start)
            block = stream.read(wanted)
            if len(block) != wanted:
                raise RunError(f"{stored.file} is cut short.")
            yield block


def share(folder: Path) -> None:
    """Give the weights the mode of the other files: safetensors writes them for their owner alone."""
    for file in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", file)


def copy(names: Iterable[str], source: Path, target: Path) -> None:
    """Copy a folder's files of these names into another one, as far as they are there."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
