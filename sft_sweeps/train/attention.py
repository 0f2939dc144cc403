"""Attention within each example of a bin, as though every example stood alone.

A bin is several examples one after the other. On a GPU in bf16 one kernel takes them all with their boundaries, torch's
own or flash-attention's, whichever is there. Elsewhere queries, keys and values are cut there and each piece goes
through torch's scaled dot-product attention, causal and without a mask. Nothing crosses from one example to the next,
no mask of the bin's length squared is built, and what an example contributes does not depend on the bin. Importing the
module registers it with transformers under NAME; lengths and boundaries travel as keywords of the forward.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# transformers builds no mask for a name that it has no mask function for.
NAME = "sft_sweeps_per_example"
HALF = (torch.bfloat16, torch.float16)  # what the kernels take
# Query, key, value [tokens, heads, width], boundaries [examples + 1], the longest example, scale; keys may be shared.
States = tuple[Tensor, Tensor, Tensor]
Kernel = Callable[[States, Tensor, int, float | None], Tensor]


def attend(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    lengths: Sequence[int],
    boundaries: Tensor | None = None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, heads, tokens, width] to [1, tokens, heads, width]; `lengths` are those of the bin's examples, in order."""
    kernel = fused() if query.is_cuda and query.dtype in HALF else None
    if kernel is None or boundaries is None:
        return per_example(query, key, value, lengths, scaling), None
    # Not `query[0]`, whose gradient is a copy into zeros.
    flat = (query.squeeze(0).transpose(0, 1), key.squeeze(0).transpose(0, 1), value.squeeze(0).transpose(0, 1))
    return kernel(flat, boundaries, max(lengths), scaling)[None], None


def per_example(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scaling: float | None) -> Tensor:
    """The same, one example after the other; query, key, value are [1, heads, tokens, width]."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    pieces = zip(*(torch.split(states, list(lengths), dim=2) for states in (query, key, value)), strict=True)
    attended = [scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) for q, k, v in pieces]
    return torch.cat(attended, dim=2).transpose(1, 2)


@cache
def fused() -> Kernel | None:
    """The kernel for bins of several examples that is installed, if any."""
    try:
        from torch.nn.attention.varlen import varlen_attn

        if "window_size" in inspect.signature(varlen_attn).parameters:  # else it says `causal` in another way
            return _of_torch(varlen_attn)
    except ImportError:
        pass
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None
    return _of_flash_attention(flash_attn_varlen_func)


def _of_torch(varlen: Callable[..., Any]) -> Kernel:
    takes_gqa = "enable_gqa" in inspect.signature(varlen).parameters  # torch 2.11 shares keys unasked

    def kernel(states: States, boundaries: Tensor, longest: int, scale: float | None) -> Tensor:
        shared = {"enable_gqa": True} if takes_gqa and states[0].shape[1] != states[1].shape[1] else {}
        ends = (boundaries, boundaries, longest, longest)
        attended: Tensor = varlen(*states, *ends, scale=scale, window_size=(-1, 0), **shared)  # causal
        return attended

    return kernel


def _of_flash_attention(varlen: Callable[..., Any]) -> Kernel:
    def kernel(states: States, boundaries: Tensor, longest: int, scale: float | None) -> Tensor:
        attended: Tensor = varlen(
            *(*states, boundaries, boundaries, longest, longest), softmax_scale=scale, causal=True
        )
        return attended

    return kernel


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
