"""A model whose layers lie on several devices, neighbours together: for a model that one GPU does not hold.

One device works while the others wait: this gains memory, not speed. Replicas gain speed. Embeddings and
head stay on the first device; hidden states travel once to each next one and back at the end.
"""

from collections.abc import Sequence
from typing import Any

import torch


def spread(model: Any, devices: Sequence[torch.device]) -> Any:
    """The model (Hugging Face's decoder with `model.layers` and `model.norm`), moved, with its inputs following it."""
    first, decoder = devices[0], model.get_decoder()
    layers, norm = decoder.layers, decoder.norm
    if len(devices) > len(layers):
        raise ValueError(f"{len(layers)} layers cannot lie on {len(devices)} devices")
    decoder.layers = torch.nn.ModuleList()  # what is moved next goes to the first device
    decoder.norm = torch.nn.Identity()
    model.to(first)
    decoder.layers, decoder.norm = layers, norm.to(devices[-1])
    moved: dict[tuple[int, torch.device], torch.Tensor] = {}
    decoder.register_forward_pre_hook(lambda *_: moved.clear())
    for index, layer in enumerate(layers):
        device = devices[index * len(devices) // len(layers)]
        layer.to(device)
        layer.register_forward_pre_hook(_Following(device, moved), with_kwargs=True)
    norm.register_forward_hook(lambda _module, _given, out: out.to(first))
    return model


class _Following:
    """Brings a layer's inputs to its device: masks and positions, the same for all layers, once a pass."""

    def __init__(self, device: torch.device, moved: dict[tuple[int, torch.device], torch.Tensor]) -> None:
        self.device, self.moved = device, moved

    def __call__(self, _layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        hidden = tuple(x.to(self.device) if isinstance(x, torch.Tensor) else x for x in given)
        return hidden, {key: self._here(value) for key, value in named.items()}

    def _here(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._here, value))
        if not isinstance(value, torch.Tensor) or value.device == self.device:
            return value
        key = (id(value), self.device)
        if key not in self.moved:
            self.moved[key] = value.to(self.device)
        return self.moved[key]
