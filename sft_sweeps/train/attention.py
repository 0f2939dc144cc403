"""Attention within each example of a bin, as though every example stood alone.

A bin is several examples one after the other. On a GPU in bf16 one kernel takes them all with their boundaries, torch's
own or flash-attention's, whichever is there. Elsewhere queries, keys and values are cut there and each piece goes
through torch's scaled dot-product attention, causal and without a mask. Nothing crosses from one example to the next,
no mask of the bin's length squared is built, and what an example contributes does not depend on the bin. Importing the
module registers it with transformers under NAME; lengths and boundaries travel as keywords of the forward.

What architectures add to attention comes as further keywords, as transformers names them: a sliding window (Beltagy et
al. 2020), a soft cap of the scores (Gemma 2), sinks (Xiao et al. 2024; as GPT-OSS has them, a learned score each head).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# transformers builds no mask for a name that it has no mask function for.
NAME = "sft_sweeps_per_example"
HALF = (torch.bfloat16, torch.float16)  # what the kernels take
# Query, key, value [tokens, heads, width]; keys may be shared.
States = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Scores:
    """What becomes of queries times keys: a factor, and for some architectures more.

    `window`: a token attends to so many, itself the last of them; 0: to all before it. `softcap`: c tanh(score / c).
    `sinks`: a score for each head [heads] that takes part in the softmax and has no value.
    """

    scale: float | None = None
    window: int = 0
    softcap: float = 0.0
    sinks: Tensor | None = None


# States, boundaries [examples + 1], the longest example, scores.
Kernel = Callable[[States, Tensor, int, Scores], Tensor]


def attend(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,  # noqa: ARG001 -- transformers makes none for this name
    *,
    lengths: Sequence[int],
    boundaries: Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, heads, tokens, width] to [1, tokens, heads, width]; `lengths` are those of the bin's examples, in order."""
    scores = Scores(scaling, sliding_window or 0, softcap or 0.0, s_aux)
    plain = not scores.softcap and scores.sinks is None
    kernel = fused() if plain and query.is_cuda and query.dtype in HALF else None
    if kernel is None or boundaries is None:
        return per_example(query, key, value, lengths, scores), None
    # Not `query[0]`, whose gradient is a copy into zeros.
    flat = (query.squeeze(0).transpose(0, 1), key.squeeze(0).transpose(0, 1), value.squeeze(0).transpose(0, 1))
    return kernel(flat, boundaries, max(lengths), scores)[None], None


def per_example(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scores: Scores) -> Tensor:
    """The same, one example after the other; query, key, value are [1, heads, tokens, width]."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    pieces = zip(*(torch.split(states, list(lengths), dim=2) for states in (query, key, value)), strict=True)
    return torch.cat([_one(q, k, v, scores) for q, k, v in pieces], dim=2).transpose(1, 2)


def _one(query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
    """Attention of one example."""
    length = query.shape[2]
    if scores.softcap or scores.sinks is not None:
        return _by_hand(query, key, value, scores)
    if not 0 < scores.window < length:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scores.scale)
    seen = _seen(length, scores.window, query.device)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scores.scale)


def _by_hand(query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
    """What no function of torch computes; softmax in fp32, as transformers' eager attention."""
    scale = query.shape[-1] ** -0.5 if scores.scale is None else scores.scale
    products = query @ key.transpose(2, 3) * scale
    if scores.softcap:
        products = torch.tanh(products / scores.softcap) * scores.softcap
    products = products.masked_fill(~_seen(query.shape[2], scores.window, query.device), -torch.inf)
    if scores.sinks is not None:
        sinks = scores.sinks.reshape(1, -1, 1, 1).expand(*products.shape[:3], 1).to(products.dtype)
        products = torch.cat([products, sinks], dim=-1)
    shares = torch.softmax(products, dim=-1, dtype=torch.float32).to(query.dtype)
    return shares[..., : key.shape[2]] @ value


def _seen(length: int, window: int, device: torch.device) -> Tensor:
    """[length, length]: whether a token, by its row, attends to another."""
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return seen.triu(1 - window) if window else seen


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

    def kernel(states: States, boundaries: Tensor, longest: int, scores: Scores) -> Tensor:
        shared = {"enable_gqa": True} if takes_gqa and states[0].shape[1] != states[1].shape[1] else {}
        ends = (boundaries, boundaries, longest, longest)
        attended: Tensor = varlen(*states, *ends, scale=scores.scale, window_size=(scores.window - 1, 0), **shared)
        return attended

    return kernel


def _of_flash_attention(varlen: Callable[..., Any]) -> Kernel:
    def kernel(states: States, boundaries: Tensor, longest: int, scores: Scores) -> Tensor:
        ends = (boundaries, boundaries, longest, longest)
        window = (scores.window - 1, 0) if scores.window else (-1, -1)
        attended: Tensor = varlen(*states, *ends, softmax_scale=scores.scale, causal=True, window_size=window)
        return attended

    return kernel


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
