"""The loss of one step, exactly, however its examples are spread over bins and processes.

Every supervised token has a weight that is fixed before anything runs, from the whole batch. The loss of a step is the
weighted sum of its tokens' cross-entropies, so that adding up over bins and processes, in any arrangement, gives the
same value and the same gradient.

    token_mean      1 / N           N: the supervised tokens of all examples of the step
    example_mean    1 / (B n)       B: the examples of the step, n: the supervised tokens of the token's own
    device_mean     1 / (G m)       G: virtual devices, m: the supervised tokens of the token's device

`device_mean` is what FastChat and Hugging Face's Trainer of 2023 compute: each device averages over the tokens of its
micro-batch, then the devices are averaged. Device g of G holds the g-th of G equal slices of the step's examples, in
their order. They are virtual: a constant of the recipe, whatever runs it. Examples and devices without a supervised
token are not counted in B and G (in 2023 they made the loss NaN).

A bin is one row of examples without padding, or, for a recipe that says `padded`, a row for each, padded on the right:
what a causal model computes of a token does not depend on what follows, so that both give the same losses.

Where sources have weights (`data.weight.SOURCE`), a token's share s above becomes w s / sum(w s) with its source's w,
the sum over all supervised tokens of the step: the loss stays a mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sft_sweeps.data.encode.batches import IGNORED, pack
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.spec.training import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Bin:
    """The examples of one bin on the device; `keep` are the positions, over all rows, that predict a supervised token.

    The forward pass writes each of these tokens' own loss, without its weight, into `losses`.
    """

    input_ids: Tensor  # [1, tokens]; padded: [examples, the longest's tokens]
    position_ids: Tensor  # the same
    keep: Tensor  # [kept]
    targets: Tensor  # [kept]
    weights: Tensor  # [kept], fp32
    losses: Tensor  # [kept], fp32
    lengths: tuple[int, ...]
    boundaries: Tensor  # [examples + 1], int32: where each example begins, and the end
    mask: Tensor | None = None  # of padded rows: 1 at each example's tokens

    @property
    def places(self) -> dict[str, Any]:
        """What tells a model without padding which tokens belong together."""
        return {"position_ids": self.position_ids, "lengths": self.lengths, "boundaries": self.boundaries}


def supervised_tokens(example: Encoded) -> int:
    """How many tokens of the example are learnt: the first has nothing before it that could predict it."""
    return int(np.count_nonzero(example.supervised[1:]))


def token_weights(counts: Sequence[int], recipe: Recipe, factors: Sequence[float] = ()) -> list[float]:
    """For each example of a batch, the weight of one of its supervised tokens.

    `counts` are the supervised tokens, `factors` the weights of the examples' sources; empty: all 1.
    """
    groups = {"token_mean": 1, "example_mean": len(counts), "device_mean": recipe.virtual_devices}
    number = groups.get(recipe.loss_reduction, 0)
    if number < 1 or len(counts) % number:
        raise RunError(
            f"train.loss_reduction={recipe.loss_reduction} with train.virtual_devices={recipe.virtual_devices} cannot "
            f"be taken over {len(counts)} examples. Valid: {', '.join(groups)}, over equal parts."
        )
    size = len(counts) // number
    totals = [sum(counts[start : start + size]) for start in range(0, len(counts), size)]
    counted = sum(total > 0 for total in totals)
    shares = [1 / (counted * totals[at // size]) if totals[at // size] else 0.0 for at in range(len(counts))]
    if all(factor == 1 for factor in factors):
        return shares
    weighted = [share * factor for share, factor in zip(shares, factors, strict=True)]
    total = sum(share * count for share, count in zip(weighted, counts, strict=True))
    return [share / total if total else 0.0 for share in weighted]


def to_bin(examples: Sequence[Encoded], weights: Sequence[float], device: torch.device, *, padded: bool = False) -> Bin:
    """The examples one after the other, or each in a padded row; each supervised token has its example's weight."""
    packed = pack(examples)
    lengths = tuple(len(example.input_ids) for example in examples)
    keep = np.flatnonzero(packed.labels != IGNORED)
    targets, rows, mask = packed.labels[keep], [packed.input_ids[None], packed.position_ids[None]], None
    if padded:
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        rows, keep = [_spread(row[0], mask) for row in rows], np.flatnonzero(mask)[keep]
    per_token = np.repeat(np.asarray(weights, dtype=np.float32), [supervised_tokens(example) for example in examples])
    return Bin(
        input_ids=_put(rows[0], device),
        position_ids=_put(rows[1], device),
        keep=_put(keep, device),
        targets=_put(targets, device),
        weights=_put(per_token, device),
        losses=torch.zeros(len(keep), device=device),
        lengths=lengths,
        boundaries=_put(np.cumsum((0, *lengths), dtype=np.int32), device),
        mask=None if mask is None else _put(mask.astype(np.int64), device),
    )


def _spread(tokens: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The tokens at the places of the mask, zeros elsewhere."""
    rows = np.zeros(mask.shape, dtype=tokens.dtype)
    rows[mask] = tokens
    return rows


def blank(tokens: int, device: torch.device) -> Bin:
    """A bin of one example with every token supervised, at weight zero."""
    ids = torch.zeros((1, tokens), dtype=torch.int64, device=device)
    kept = torch.arange(tokens, device=device)
    ends = torch.tensor([0, tokens], dtype=torch.int32, device=device)
    zeros = torch.zeros(tokens, device=device)
    return Bin(ids, kept[None], kept, ids[0], zeros, torch.zeros_like(zeros), (tokens,), ends, torch.ones_like(ids))


def of_examples(packed: Bin, examples: Sequence[Encoded]) -> list[float]:
    """The sum of the losses of each example's supervised tokens, after a forward pass over the bin that they made."""
    ends = np.cumsum([supervised_tokens(example) for example in examples])[:-1]
    return [float(part.sum(dtype=np.float64)) for part in np.split(packed.losses.cpu().numpy(), ends)]


def _put(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
