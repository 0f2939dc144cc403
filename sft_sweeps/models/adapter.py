"""An adapter's files and layers, as planning knows them: without NumPy.

adapter/   adapter_config.json, which names the base; adapter_model.safetensors with A and B of every layer, fp32;
           the tokenizer and the chat template
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sft_sweeps.models import weights
from sft_sweeps.models.architectures import LLAMA, Shapes
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.training import Shape

FOLDER = "adapter"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BESIDE = ("generation_config.json", *weights.TOKENIZER_FILES, weights.CHAT_TEMPLATE)  # what a model needs besides
LAYER = re.compile(r"\.\d+\.")  # in the name of a parameter of one of the layers


@dataclass(frozen=True)
class Parts:
    """A model as files: the folder of a whole one, and adapters that are merged into it one after the other.

    `dtype` is the number format that each merging ends in.
    """

    whole: Path
    adapters: tuple[Path, ...] = ()
    dtype: str = "fp32"


def linear_layers(parameters: Shapes) -> dict[str, tuple[int, ...]]:
    """The layers that can have an adapter, by the names of their parameters: the matrices of the decoder's layers.

    Embeddings and the head are no part of a layer; norms and biases no matrices.
    """
    found = {name: shape for name, shape in parameters.items() if len(shape) == 2 and LAYER.search(name)}
    return {name.removesuffix(".weight"): shape for name, shape in found.items() if name.endswith(".weight")}


def targeted(layers: Mapping[str, tuple[int, ...]], targets: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Those of the layers that targets name, as PEFT compares them; all where there are none."""
    return {
        name: shape
        for name, shape in layers.items()
        if not targets or any(name == target or name.endswith(f".{target}") for target in targets)
    }


@lru_cache(maxsize=64)
def adapted(shape: Shape, targets: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """The shapes of the layers that have an adapter, for estimates.

    Of an architecture whose layers are not known here, as a LLaMA of its dimensions would have; all of them where it
    has none of the targets' names.
    """
    layers = linear_layers(LLAMA.parameters(shape))
    return tuple((targeted(layers, targets) or layers).values())


def count_parameters(shape: Shape, adapter: Adapter) -> int:
    """The trained weights of an adapter."""
    return sum(adapter.rank * sum(dimensions) for dimensions in adapted(shape, adapter.targets))
