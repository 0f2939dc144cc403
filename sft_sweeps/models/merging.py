"""An adapter on disk, as PEFT reads and writes it, and what it makes of a model's weights; without torch.

Merged weights follow from the files alone: W + alpha / rank * B A in fp64, rounded once to the number format asked for.
Whenever and wherever they are made, they are the same.
"""

import json
import math
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_sweeps.errors import RunError
from sft_sweeps.files import fence, foreign
from sft_sweeps.identity import digest
from sft_sweeps.models import arrays, folder, weights
from sft_sweeps.models.adapter import BESIDE, CONFIG, WEIGHTS, Parts

PREFIX = "base_model.model."  # of PEFT's names
FIRST, SECOND = ".lora_A.weight", ".lora_B.weight"

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}  # as config.json calls them
Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """An adapter's files as they are: `layers` has A [rank, in] and B [out, rank] of each layer by its name.

    `transposed`: the weights of the layers lie as [in, out] (GPT-2's).
    """

    layers: Mapping[str, tuple[arrays.Array, arrays.Array]]
    scale: float
    transposed: bool

    def delta(self, layer: str) -> Double:
        """What the adapter adds to a layer's weights."""
        first, second = (one.astype(np.float64) for one in self.layers[layer])
        added: Double = self.scale * (second @ first)
        return added.T if self.transposed else added


def first_weights(layer: str, shape: tuple[int, int], seed: int, number: int = 0) -> arrays.Array:
    """A [rank, in] of a new adapter: uniform within 1 / sqrt(in), as PEFT draws it (He et al. 2015, with a = sqrt 5).

    From NumPy's frozen RandomState by seed and name, so that processes and the order of layers do not matter; `number`
    counts the adapters before it, so that a new one is no other's twin.
    """
    stream = np.random.RandomState(int(digest([seed, layer, number])[:8], 16))
    bound = 1 / math.sqrt(shape[1])
    return stream.uniform(-bound, bound, shape).astype(np.float32)


def read(place: Path) -> Stored:
    """The adapter in a folder; RunError where its files do not fit each other."""
    try:
        config = foreign.read_object(place / CONFIG)
        scale = float(config["lora_alpha"]) / int(config["r"])
        stored = weights.held_in(place / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise RunError(f"the adapter in {place} cannot be read ({error}).") from None
    named = {name.removeprefix(PREFIX): one for name, one in stored.items()}
    layers = [name.removesuffix(FIRST) for name in named if name.endswith(FIRST)]
    if len(named) != 2 * len(layers) or any(f"{layer}{SECOND}" not in named for layer in layers):
        raise RunError(f"the adapter in {place} has other weights than A and B of its layers.")
    pairs = {layer: (arrays.read(named[layer + FIRST]), arrays.read(named[layer + SECOND])) for layer in layers}
    return Stored(pairs, scale, bool(config.get("fan_in_fan_out")))


def write(place: Path, layers: Mapping[str, tuple[arrays.Array, arrays.Array]]) -> str:
    """Write the weights of an adapter as PEFT reads them; their digest."""
    tensors: dict[str, arrays.Array] = {}
    for layer, (first, second) in layers.items():
        tensors |= {f"{PREFIX}{layer}{FIRST}": first, f"{PREFIX}{layer}{SECOND}": second}
    arrays.write_file(place / WEIGHTS, {name: one.shape for name, one in tensors.items()}, "F32", tensors.items())
    return weights.digest_of(weights.held_in(place / WEIGHTS))


def joined(before: Stored, own: Mapping[str, tuple[arrays.Array, arrays.Array]], scale: float) -> Stored:
    """One adapter that adds what two do, of the sum of their ranks: their A below, their B beside each other."""
    layers = {}
    for layer in dict.fromkeys((*before.layers, *own)):
        parts = [before.layers[layer]] if layer in before.layers else []
        factors = [before.scale / scale] * len(parts)
        if layer in own:
            parts, factors = [*parts, own[layer]], [*factors, 1.0]
        first = np.concatenate([one for one, _ in parts])
        second = np.concatenate([(two * f).astype(np.float32) for (_, two), f in zip(parts, factors, strict=True)], 1)
        layers[layer] = (first, second)
    return Stored(layers, scale, before.transposed)


def merge(parts: Parts, target: Path) -> str:
    """Write the folder of the whole model, all at once; the digest of its weights.

    `parts` has an adapter. Configuration is the base's, tokenizer and chat template the last adapter's.
    """
    writing = target.with_name(f".{target.name}.writing{fence.token()}")
    try:
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
        stored = folder.loadable(parts.whole)
        shapes = {name: stored[name].shape for name in sorted(stored)}
        merged = _merged(stored, list(map(read, parts.adapters)), list(shapes), arrays.STORED[parts.dtype])
        arrays.write(writing, shapes, arrays.STORED[parts.dtype], merged)
        _copy_rest(parts, writing)
        weights.share(writing)
        done = weights.digest(writing)
        fence.publish(writing, target)
    except OSError as error:
        raise RunError(f"the merged model {target} could not be written: {error}") from None
    return done


def _merged(
    stored: Mapping[str, weights.StoredTensor], adapters: Sequence[Stored], names: Sequence[str], dtype: str
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    known = {name.removesuffix(".weight") for name in names}
    for one in adapters:
        if strange := sorted(layer for layer in one.layers if _stored_name(layer, known) not in known):
            raise RunError(f"the adapter is of another model: it has weights for {strange[0]}, which there is not")
    layers = [{_stored_name(layer, known): layer for layer in one.layers} for one in adapters]
    for name in names:
        array = arrays.read(stored[name])
        for one, of_one in zip(adapters, layers, strict=True):
            if layer := of_one.get(name.removesuffix(".weight")):
                array = arrays.numbers(arrays.rounded(array + one.delta(layer), dtype).tobytes(), dtype)
                array = array.reshape(stored[name].shape)
        yield name, array


def _stored_name(layer: str, known: Collection[str]) -> str:
    """A layer as the folder names it, perhaps without the prefix of the model (folder.py)."""
    return layer if layer in known else layer.partition(".")[2]


def _copy_rest(parts: Parts, target: Path) -> None:
    config = foreign.read_object(parts.whole / "config.json")
    config["dtype"] = config["torch_dtype"] = DTYPES[parts.dtype]
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in BESIDE:
        if (parts.adapters[-1] / name).is_file():
            shutil.copyfile(parts.adapters[-1] / name, target / name)
