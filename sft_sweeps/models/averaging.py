"""The weighted average of models of one architecture, read and written block by block, without torch.

No more than a block of each tensor is in memory, so that 65 GB of weights are averaged on any machine. Each number is
the sum of its weighted terms in fp64, in the given order, rounded to fp32 once, and from that to the models' own number
format, to nearest, ties to even.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sft_sweeps.errors import RunError
from sft_sweeps.files import fence, foreign
from sft_sweeps.models import arrays, weights
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models.adapter import BESIDE, CONFIG
from sft_sweeps.models.weights import StoredTensor

NUMBERS = 1 << 20  # of a block
# What config.json may differ in: it says which library wrote it.
UNTOLD = ("transformers_version", "_name_or_path")
FILES = (*weights.TOKENIZER_FILES, weights.CHAT_TEMPLATE)
Progress = Callable[[int, int], None]  # tensors done, of how many


def average(
    folders: Sequence[Path], shares: Sequence[Fraction], target: Path, progress: Progress = lambda _, __: None
) -> str:
    """Write the folder `target`, whole or not at all, and return the digest of its weights; RunError where it cannot.

    Configuration and tokenizer are the models' own, which must agree in them.
    """
    stored = [weights.tensors(folder) for folder in folders]
    for one, folder in zip(stored[1:], folders[1:], strict=True):
        _agree(folders[0], stored[0], folder, one)
    shapes, dtype = {name: one.shape for name, one in stored[0].items()}, next(iter(stored[0].values())).dtype
    try:
        with fence.new_folder(target) as writing:
            _write(stored, [float(share) for share in shares], writing, progress)
            weights.copy(("config.json", *BESIDE), folders[0], writing)
            weights.share(writing)
            if wrong := checkpoint.unfinished(writing, shapes, dtype, (folders[0] / weights.CHAT_TEMPLATE).is_file()):
                raise RunError(f"{target} was not written as it should be: {'; '.join(wrong[:3])}")
            digest = weights.digest(writing)
    except OSError as error:
        raise RunError(f"{target} could not be written: {error}") from None
    return digest


def _agree(folder: Path, stored: Mapping[str, StoredTensor], other: Path, others: Mapping[str, StoredTensor]) -> None:
    """RunError unless two folders hold one architecture, one number format, one tokenizer, and no adapter."""
    for one in (folder, other):
        if (one / CONFIG).is_file():
            raise RunError(f"{one} holds an adapter ({CONFIG}) that is not merged into its weights: merge it first")
    if lacks := sorted(stored.keys() ^ others.keys()):
        has = folder if lacks[0] in stored else other
        raise RunError(f"{has} alone holds {lacks[0]}, so {folder} and {other} are not of one architecture")
    formats = {one.dtype for one in (*stored.values(), *others.values())}
    if len(formats) > 1 or formats - weights.BYTES.keys():
        raise RunError(f"{folder} and {other} hold {', '.join(sorted(formats))}; models of one number format average")
    for name, tensor in stored.items():
        if tensor.shape != others[name].shape:
            raise RunError(f"{name} is {tensor.shape} in {folder} and {others[name].shape} in {other}")
    if keys := _differences(_config(folder), _config(other)):
        raise RunError(f"config.json of {folder} and {other} differ in {', '.join(keys)}")
    for name in FILES:
        if _content(folder / name) != _content(other / name):
            raise RunError(f"{name} of {folder} and {other} differ: they do not read text as the same tokens")


def _config(folder: Path) -> dict[str, Any]:
    try:
        return foreign.read_object(folder / "config.json")
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / 'config.json'} cannot be read ({error})") from None


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | two.keys() if key not in UNTOLD and one.get(key) != two.get(key))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _write(
    stored: Sequence[Mapping[str, StoredTensor]], shares: Sequence[float], folder: Path, progress: Progress
) -> None:
    """The shards with their index."""
    sizes = {name: one.stop - one.start for name, one in sorted(stored[0].items())}
    names = weights.shard_names(sizes, weights.SHARD_BYTES)
    done = 0
    for file in dict.fromkeys(names.values()):
        inside = [name for name in sizes if names[name] == file]
        with (folder / file).open("wb") as stream:
            stream.write(arrays.header({name: stored[0][name].shape for name in inside}, stored[0][inside[0]].dtype))
            for name in inside:
                _write_tensor([one[name] for one in stored], shares, name, stream)
                progress(done := done + 1, len(sizes))
    weights.write_index(folder, names, sum(sizes.values()))


def _write_tensor(tensors: Sequence[StoredTensor], shares: Sequence[float], name: str, stream: BinaryIO) -> None:
    dtype = tensors[0].dtype
    for blocks in zip(*map(_blocks, tensors), strict=True):
        total = np.zeros(len(blocks[0]), dtype=np.float64)
        for block, share in zip(blocks, shares, strict=True):
            total += share * block.astype(np.float64)
        if not np.isfinite(total).all():
            raise RunError(f"{name} holds NaN or infinite numbers in one of the models: they have no average")
        stream.write(arrays.rounded(total, dtype).tobytes())


def _blocks(stored: StoredTensor) -> Iterator[arrays.Array]:
    """The numbers of a tensor in fp32, a block at a time."""
    for block in weights.blocks(stored, NUMBERS * weights.BYTES[stored.dtype]):
        yield arrays.numbers(block, stored.dtype)
