"""Attention within each example of a row, as though every example stood alone.

A row is several examples one after the other. The queries, keys and values are cut at the examples' lengths and each
piece goes through torch's scaled dot-product attention, causal and without a mask: nothing crosses from one example to
the next, no mask of the row's length squared is built, and what an example contributes does not depend on the row.
Importing the module registers it with transformers under NAME; the lengths travel as a keyword of the forward.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# transformers builds no mask for a name that it has no mask function for.
NAME = "sft_sweeps_per_example"


def per_example(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    lengths: Sequence[int],
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, heads, tokens, width] to [1, tokens, heads, width]; `lengths` are those of the row's examples, in order."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    pieces = zip(*(torch.split(states, list(lengths), dim=2) for states in (query, key, value)), strict=True)
    attended = [scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) for q, k, v in pieces]
    return torch.cat(attended, dim=2).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(NAME, per_example)
