"""Decodes many prompts with one model, filling a finished prompt's place with the next one.

`generate` pads a batch to its longest prompt and goes on until its longest answer is done; here rows leave the batch as
they end, and waiting prompts enter as soon as a quarter of the batch is free. What a row is given does not depend on
its neighbours: padding is on the left and always masked, positions are each row's own.

At a temperature above 0 a row adds Gumbel noise of its own seeded stream to its logits and takes the largest, which
samples from the softmax (Gumbel 1954): an answer does not depend on the batch that it was drawn in either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

REFILL = 4  # a quarter of the batch is free


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one prompt is answered: at most `limit` tokens; temperature 0 takes the likeliest, others draw by `seed`."""

    limit: int
    temperature: float = 0.0
    seed: int = 0


@dataclass
class _Row:
    place: int
    draw: Sampling
    ids: list[int] = field(default_factory=list)
    stream: torch.Generator | None = None


class Decoder:
    """One pass over prompts; `done(place, ids, finished)` is told of each answer as soon as it has ended."""

    def __init__(self, model: Any, eos_id: int, batch_size: int, done: Callable[[int, list[int], bool], None]) -> None:
        self.model, self.eos_id, self.batch_size, self.done = model, eos_id, batch_size, done
        self.device = model.device
        self.rows: list[_Row] = []
        self.cache: DynamicCache | None = None
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def run(self, prompts: Sequence[Sequence[int]], draws: Sequence[Sampling], step: Callable[[], None]) -> None:
        """Answer every prompt, in the order given; `step` is called between two tokens, and may raise."""
        waiting = list(range(len(prompts)))[::-1]
        while waiting or self.rows:
            free = self.batch_size - len(self.rows)
            if waiting and (not self.rows or free * REFILL >= self.batch_size):
                places = [waiting.pop() for _ in range(min(free, len(waiting)))]
                self._enter([_Row(p, draws[p], [], _stream(draws[p])) for p in places], [prompts[p] for p in places])
            else:
                self._advance()
            step()

    def _enter(self, rows: list[_Row], prompts: Sequence[Sequence[int]]) -> None:
        """Read new prompts, and put their keys and values beside those of the rows at work."""
        width = max(map(len, prompts))
        ids = torch.full((len(rows), width), self.eos_id, dtype=torch.long)  # any id does: the mask hides it
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        cache = DynamicCache(config=self.model.config)
        logits = self._forward(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        before = len(self.rows)
        self.rows += rows
        self.mask = _stacked(self.mask, mask) if before else mask
        self.cache = _merged(self.cache, cache) if before and self.cache is not None else cache
        self._choose(logits, range(before, len(self.rows)))

    def _advance(self) -> None:
        """One token for every row."""
        ids = torch.tensor([[row.ids[-1]] for row in self.rows], device=self.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        logits = self._forward(ids, self.mask, self.mask.sum(-1, keepdim=True) - 1, self.cache)
        self._choose(logits, range(len(self.rows)))

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def _choose(self, logits: torch.Tensor, places: range) -> None:
        """Each row's next token; rows that have ended leave."""
        chosen = logits.argmax(-1).tolist()
        for at, place in enumerate(places):
            row = self.rows[place]
            token = chosen[at] if row.stream is None else _drawn(logits[at], row)
            row.ids.append(token)
        staying = [n for n, row in enumerate(self.rows) if not self._ended(row, n in places)]
        if len(staying) < len(self.rows):
            self._keep(staying)

    def _ended(self, row: _Row, asked: bool) -> bool:
        if not asked:
            return False
        finished = row.ids[-1] == self.eos_id
        if not finished and len(row.ids) < row.draw.limit:
            return False
        self.done(row.place, row.ids[:-1] if finished else row.ids, finished)
        return True

    def _keep(self, staying: list[int]) -> None:
        """Only these rows, without the columns that are padding for all of them."""
        self.rows = [self.rows[n] for n in staying]
        if not staying:
            self.cache = None
            return
        index = torch.tensor(staying, device=self.device)
        self.mask = self.mask[index]
        first = int(self.mask.any(0).int().argmax())
        self.mask = self.mask[:, first:]
        assert self.cache is not None
        for layer in self.cache.layers:
            here = index.to(layer.keys.device)  # layers may lie on several devices
            layer.keys, layer.values = layer.keys[here][:, :, first:], layer.values[here][:, :, first:]


def _stream(draw: Sampling) -> torch.Generator | None:
    return torch.Generator().manual_seed(draw.seed) if draw.temperature > 0 else None


def _drawn(logits: torch.Tensor, row: _Row) -> int:
    noise = torch.rand(logits.shape, generator=row.stream, dtype=torch.float64).clamp_(1e-300, 1 - 1e-16)
    gumbel = -torch.log(-torch.log(noise))
    return int((logits.double().cpu() / row.draw.temperature + gumbel).argmax())


def _stacked(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Rows of two masks (or keys: batch, heads, width, size), the narrower padded on the left."""
    axis = 1 if above.dim() == 2 else 2
    width = max(above.shape[axis], below.shape[axis])
    return torch.cat([_widened(above, width, axis), _widened(below, width, axis)])


def _widened(tensor: torch.Tensor, width: int, axis: int) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[axis] = width - shape[axis]
    return torch.cat([tensor.new_zeros(shape), tensor], dim=axis) if shape[axis] else tensor


def _merged(old: DynamicCache, new: DynamicCache) -> DynamicCache:
    for ours, theirs in zip(old.layers, new.layers, strict=True):
        ours.keys, ours.values = _stacked(ours.keys, theirs.keys), _stacked(ours.values, theirs.values)
    return old
