"""Adapters in training: PEFT's layers around frozen linear ones, with weights that follow from a seed alone.

What PEFT draws itself depends on the order of its layers and on the process; so every first weight is set here, from
NumPy (models/adapter.py). Names and files are PEFT's: what is saved loads with `PeftModel.from_pretrained`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from sft_sweeps.errors import RunError
from sft_sweeps.models import merging as stored
from sft_sweeps.models.adapter import CONFIG
from sft_sweeps.models.arrays import Array
from sft_sweeps.models.merging import Stored
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import load

OWN, BEFORE = "own", "before"  # PEFT's names of the trained adapter, and of a frozen one beside it
PARTS = (".lora_A.", ".lora_B.")
Pairs = Mapping[str, tuple[Array, Array]]


class Attached:
    """The adapter of a model that is trained, on every rank; all of the model that is not in it is frozen.

    `before` is the parent's, where it has one: under `stack` it stays beside the new one, else it is what is trained.
    `number` counts the adapters that were trained before it.
    """

    def __init__(self, model: Any, recipe: Recipe, before: Path | None, number: int = 0) -> None:
        from peft import LoraConfig

        assert recipe.adapter
        self.asked, self.recipe, self.number = recipe.adapter, recipe, number
        self.before = stored.read(before) if before else None
        self.stacked = stacked = self.before if self.asked.then == "stack" else None
        if stacked:
            rank = len(next(iter(stacked.layers.values()))[0])
            frozen = LoraConfig(r=rank, lora_alpha=cast(Any, stacked.scale * rank), target_modules=list(stacked.layers))
            _inject(frozen, model, BEFORE)
        self.config = LoraConfig(
            r=self.asked.rank,
            lora_alpha=cast(Any, self.asked.alpha),
            lora_dropout=self.asked.dropout,
            target_modules=list(self.asked.targets) or _all_linear(model, self.before),
            task_type="CAUSAL_LM",
        )
        _inject(self.config, model, OWN)
        _activate(model, stacked=stacked is not None)
        _partition(model)
        if stacked:
            _set(model, BEFORE, stacked.layers)
        _set(model, OWN, self._first(model))

    def _first(self, model: Any) -> Pairs:
        """The weights that training begins with."""
        if self.before and not self.stacked:
            return self.before.layers
        return {
            layer: (stored.first_weights(layer, first, self.recipe.seed, self.number), np.zeros(second, np.float32))
            for layer, first, second in _layers(model, OWN)
        }

    def save(self, pairs: Pairs, folder: Path, base: str) -> str:
        """Write `adapter_config.json` and the weights into a folder; their digest.

        A new one and the frozen one beside it are written as one.
        """
        scale, rank, layers = self.asked.alpha / self.asked.rank, self.asked.rank, pairs
        if self.stacked:
            layers = stored.joined(self.stacked, pairs, scale).layers
            rank = len(next(iter(layers.values()))[0])
        named = layers if any("." in target for target in self.asked.targets) else {_last(layer) for layer in layers}
        said = cast(Any, self.config).to_dict() | {"r": rank, "lora_alpha": scale * rank, "target_modules": set(named)}
        said |= {"base_model_name_or_path": base, "inference_mode": True, "lora_dropout": 0.0}
        plain = {key: sorted(value) if isinstance(value, set) else value for key, value in said.items()}
        (folder / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return stored.write(folder, layers)


def pairs_of(full: Mapping[str, torch.Tensor]) -> Pairs:
    """A and B of each layer, of the trained parameters by name; RunError where one is not finite."""
    numbers: dict[str, dict[str, Array]] = {}
    for name, tensor in full.items():
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(f"{name} holds NaN or infinite numbers: the adapter is not written.")
        part = next(part for part in PARTS if part in name)
        numbers.setdefault(name.partition(part)[0], {})[part] = tensor.to("cpu", torch.float32).numpy()
    return {layer: cast(Any, tuple(both[part] for part in PARTS)) for layer, both in sorted(numbers.items())}


def _last(layer: str) -> str:
    return layer.rpartition(".")[2]


def _all_linear(model: Any, before: Stored | None) -> list[str]:
    """Every linear layer but the head, or those of the parent's adapter."""
    if before:
        return sorted(before.layers)
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = (torch.nn.Linear, Conv1D)
    return [name for name, one in model.named_modules() if isinstance(one, linear) and one is not head]


def _inject(config: Any, model: Any, name: str) -> None:
    import warnings

    from peft import inject_adapter_in_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Conv1D's order, which it sets right, and of weights without numbers
        inject_adapter_in_model(config, model, adapter_name=name)


def _activate(model: Any, *, stacked: bool) -> None:
    """Both adapters add to the output; one of them is trained."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_adapter([BEFORE, OWN] if stacked else [OWN])
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(f"{part}{OWN}." in name for part in PARTS)


def _partition(model: Any) -> None:
    """Under ZeRO-3, what PEFT has added is partitioned as the rest is."""
    known = next((one for one in model.parameters() if hasattr(one, "ds_id")), None)
    if known is not None:
        # It tells that a layer's backward pass is over by the gradients of the layer's inputs, which the first one has
        # none of where the embeddings are frozen.
        model.enable_input_require_grads()
        known.convert_to_zero_parameters(param_list=[one for one in model.parameters() if not hasattr(one, "ds_id")])


def _layers(model: Any, adapter: str) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """(name, shape of A, shape of B) of each layer that has this adapter."""
    shapes = {name: tuple(getattr(one, "ds_shape", one.shape)) for name, one in model.named_parameters()}
    ends = [f"{part}{adapter}.weight" for part in PARTS]
    names = [name.removesuffix(ends[0]) for name in shapes if name.endswith(ends[0])]
    return [(name, cast(Any, shapes[name + ends[0]]), cast(Any, shapes[name + ends[1]])) for name in names]


def _set(model: Any, adapter: str, pairs: Pairs) -> None:
    """Put weights into an adapter's parameters, of which each rank holds its part."""
    parameters = dict(model.named_parameters())
    found = {layer for layer, *_ in _layers(model, adapter)}
    if differ := sorted(found ^ pairs.keys()):
        raise RunError(f"the parent's adapter is of other layers than this stage's: {differ[0]}")
    for layer, both in pairs.items():
        for part, array in zip(PARTS, both, strict=True):
            held, first, count = load.own_part(parameters[f"{layer}{part}{adapter}.weight"])
            held[:count].copy_(torch.from_numpy(array.reshape(-1)[first : first + count].copy()))
            held[count:].zero_()
