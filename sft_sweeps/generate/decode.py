"""Decodes many prompts with one model, and puts the next prompt in when one has ended.

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

from sft_sweeps.generate.engine import Prompts, Sampling

REFILL = 4  # prompts enter when a quarter of the batch is free


@dataclass
class _Row:
    """A prompt that is being answered: its index among the prompts, and the ids of its answer so far."""

    index: int
    limit: int
    temperature: float
    stream: torch.Generator | None  # None: greedy
    ids: list[int] = field(default_factory=list)


class Decoder:
    """One pass over prompts; `done(index, ids, finished)` is called with each answer as soon as it has ended."""

    def __init__(
        self, model: Any, prompts: Prompts, batch_size: int, done: Callable[[int, list[int], bool], None]
    ) -> None:
        self.model, self.prompts, self.batch_size, self.done = model, prompts, batch_size, done
        self.device = model.device
        self.rows: list[_Row] = []
        self.cache: DynamicCache | None = None
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def run(self, step: Callable[[], None]) -> None:
        """Answer every prompt, in the order given; `step` is called between two tokens, and may raise."""
        waiting = list(range(len(self.prompts)))[::-1]
        while waiting or self.rows:
            free = self.batch_size - len(self.rows)
            if waiting and (not self.rows or free * REFILL >= self.batch_size):
                indices = [waiting.pop() for _ in range(min(free, len(waiting)))]
                self._enter([self._row(index) for index in indices], [self.prompts.ids[index] for index in indices])
            else:
                self._advance()
            step()

    def _row(self, index: int) -> _Row:
        sampling = self.prompts.sampling[index]
        return _Row(index, self.prompts.limits[index], sampling.temperature, _stream(sampling))

    def _enter(self, rows: list[_Row], prompts: Sequence[Sequence[int]]) -> None:
        """Read new prompts, and put their keys and values beside those of the rows at work."""
        width = max(map(len, prompts))
        ids = torch.full((len(rows), width), self.prompts.eos_id, dtype=torch.long)  # any id does: the mask hides it
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

    def _choose(self, logits: torch.Tensor, asked: range) -> None:
        """The next token of the rows `asked`, to which the logits belong; rows that have ended leave."""
        likeliest = logits.argmax(-1).tolist()
        for n, row in enumerate(self.rows[asked.start : asked.stop]):
            row.ids.append(likeliest[n] if row.stream is None else _drawn(logits[n], row))
        staying = [n for n, row in enumerate(self.rows) if not self._ended(row, n in asked)]
        if len(staying) < len(self.rows):
            self._keep(staying)

    def _ended(self, row: _Row, asked: bool) -> bool:
        if not asked:
            return False
        finished = row.ids[-1] == self.prompts.eos_id
        if not finished and len(row.ids) < row.limit:
            return False
        self.done(row.index, row.ids[:-1] if finished else row.ids, finished)
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


def _stream(sampling: Sampling) -> torch.Generator | None:
    return torch.Generator().manual_seed(sampling.seed) if sampling.temperature > 0 else None


def _drawn(logits: torch.Tensor, row: _Row) -> int:
    """A token drawn from the softmax of the logits by the Gumbel trick."""
    noise = torch.rand(logits.shape, generator=row.stream, dtype=torch.float64).clamp_(1e-300, 1 - 1e-16)
    gumbel = -torch.log(-torch.log(noise))
    return int((logits.double().cpu() / row.temperature + gumbel).argmax())


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
    """The keys and values of both; `old` itself, widened."""
    for ours, theirs in zip(old.layers, new.layers, strict=True):
        ours.keys, ours.values = _stacked(ours.keys, theirs.keys), _stacked(ours.values, theirs.values)
    return old
