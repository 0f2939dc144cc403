"""The loss of one step, exactly, however its examples are spread over bins and processes.

Every supervised token has a weight that is fixed before anything runs, from the whole batch (`token_mean`: 1/N, with N
the supervised tokens of all its examples). The loss of a step is the weighted sum of its tokens' cross-entropies, so
that adding up over bins and processes, in any arrangement, gives the same value and the same gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sft_sweeps.data.batches import IGNORED, pack
from sft_sweeps.data.encode import Encoded
from sft_sweeps.errors import RunError


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The examples of one bin on the device; `keep` are the positions that predict a supervised token."""

    input_ids: Tensor  # [1, tokens]
    position_ids: Tensor  # [1, tokens]
    keep: Tensor  # [kept]
    targets: Tensor  # [kept]
    weights: Tensor  # [kept], fp32
    lengths: tuple[int, ...]


def supervised_tokens(example: Encoded) -> int:
    """How many tokens of the example are learnt: the first has nothing before it that could predict it."""
    return int(np.count_nonzero(example.supervised[1:]))


def token_weights(counts: Sequence[int], reduction: str) -> list[float]:
    """For each example of a batch, the weight of one of its supervised tokens; `counts` are the supervised tokens."""
    if reduction != "token_mean":
        raise RunError(f"train.loss_reduction={reduction} is not known. Valid: token_mean.")
    total = sum(counts)
    return [1 / total if total else 0.0] * len(counts)


def to_row(examples: Sequence[Encoded], weights: Sequence[float], device: torch.device) -> Row:
    """The examples one after the other, without padding, each supervised token with its example's weight."""
    packed = pack(examples)
    keep = np.flatnonzero(packed.labels != IGNORED)
    per_token = np.repeat(np.asarray(weights, dtype=np.float32), [supervised_tokens(example) for example in examples])
    return Row(
        input_ids=_put(packed.input_ids[None], device),
        position_ids=_put(packed.position_ids[None], device),
        keep=_put(keep, device),
        targets=_put(packed.labels[keep], device),
        weights=_put(per_token, device),
        lengths=tuple(len(example.input_ids) for example in examples),
    )


def weighted_loss(model: Any, row: Row) -> Tensor:
    """The row's part of the step's loss; the vocabulary is projected only where a supervised token is predicted."""
    # No attention mask and no cache: both would let examples attend to one another without a word.
    output = model(
        input_ids=row.input_ids,
        position_ids=row.position_ids,
        use_cache=False,
        logits_to_keep=row.keep,
        lengths=row.lengths,
    )
    losses = cross_entropy(output.logits[0].float(), row.targets, reduction="none")
    return (losses * row.weights).sum()


def _put(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
