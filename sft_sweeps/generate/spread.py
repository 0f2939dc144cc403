"""A model whose layers lie on several devices, neighbours together: for a model that one GPU does not hold.

One device works while the others wait: this gains memory, not speed. Replicas gain speed. Embeddings and
head stay on the first device; hidden states travel once to each next one and back at the end.
"""

from collections.abc import Sequence
from typing import Any

import torch


def spread(model: Any, devices: Sequence[torch.device]) -> Any:
    """The model, moved, with its inputs following it."""
    first, (parent, name) = devices[0], _place_of_layers(model)
    layers = getattr(parent, name)
    if len(devices) > len(layers):
        raise ValueError(f"{len(layers)} layers cannot lie on {len(devices)} devices")
    setattr(parent, name, torch.nn.ModuleList())  # what is moved next goes to the first device
    model.to(first)
    setattr(parent, name, layers)
    moved: dict[tuple[int, torch.device], torch.Tensor] = {}
    model.get_decoder().register_forward_pre_hook(lambda *_: moved.clear())
    for index, layer in enumerate(layers):
        device = devices[index * len(devices) // len(layers)]
        layer.to(device)
        layer.register_forward_pre_hook(_Following(device, moved), with_kwargs=True)
    layers[-1].register_forward_hook(lambda _module, _given, out: _moved(out, first))
    return model


def _place_of_layers(model: Any) -> tuple[torch.nn.Module, str]:
    """The module that holds a decoder's layers, whatever they are called (`layers`, `h`), and their name in it."""
    count = model.config.num_hidden_layers
    return next(
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == count
    )


def _moved(states: Any, device: torch.device) -> Any:
    """A tensor, or those of a tuple, on the device."""
    if isinstance(states, tuple):
        return tuple(_moved(one, device) for one in states)
    return states.to(device) if isinstance(states, torch.Tensor) else states


class _Following:
    """Brings a layer's inputs to its device: masks and positions, the same for all layers, once a pass."""

    def __init__(self, device: torch.device, moved: dict[tuple[int, torch.device], torch.Tensor]) -> None:
        self.device, self.moved = device, moved

    def __call__(self, _layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        return _moved(given, self.device), {key: self._here(value) for key, value in named.items()}

    def _here(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._here, value))
        if not isinstance(value, torch.Tensor) or value.device == self.device:
            return value
        key = (id(value), self.device)
        if key not in self.moved:
            self.moved[key] = value.to(self.device)
        return self.moved[key]
