"""Norms, rotary positions and gates in few passes over memory; values and names are transformers'.

Between matrix products a layer is bound by memory: transformers' norm makes six tensors of fp32 on its way, and its
rotation five of each of queries and keys. Here each is one function with a gradient of its own, which keeps nothing but
its inputs. In bf16 they round once where transformers rounds at every step; in fp32 they agree to the last bits. On a
GPU, Liger's kernels rotate and gate, where they are installed.
"""

import inspect
import logging
import re
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm

from sft_sweeps.train.attention import attend

log = logging.getLogger(__name__)


class Norm(LlamaRMSNorm):  # type: ignore[misc]
    """Root mean square norm (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * weight, in fp32."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return _Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-any-return, no-untyped-call]


class Attention(LlamaAttention):  # type: ignore[misc]
    """Each example of a bin by itself (train/attention.py); there is neither mask nor cache."""

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **row: Any
    ) -> tuple[Tensor, None]:
        heads = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (part(hidden_states).view(heads) for part in (self.q_proj, self.k_proj, self.v_proj))
        fused = liger() if hidden_states.is_cuda else None
        if not fused:
            query, key = (_Rotated.apply(states, *position_embeddings) for states in (query, key))  # type: ignore[no-untyped-call]
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        if fused:
            query, key = fused[0](query, key, *position_embeddings)
        ends = {"lengths": row["lengths"], "boundaries": row.get("boundaries")}
        attended, _ = attend(self, query, key, value, None, scaling=self.scaling, **ends)
        return self.o_proj(attended.flatten(-2)), None


class Gated(LlamaMLP):  # type: ignore[misc]
    """SwiGLU (Shazeer 2020): silu(gate) * up, projected down."""

    def forward(self, x: Tensor) -> Tensor:
        gated = (liger() if x.is_cuda else None) or (None, _Gated.apply)
        return self.down_proj(gated[1](self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-any-return]


@cache
def liger() -> tuple[Any, Any] | None:
    """Liger's rotation and gate, where they are installed."""
    try:
        from liger_kernel.ops.rope import LigerRopeFunction
        from liger_kernel.ops.swiglu import LigerSiLUMulFunction
    except ImportError:
        log.warning("training is faster with Liger's kernels: pip install 'sft-sweeps[gpu]'")
        return None
    return LigerRopeFunction.apply, LigerSiLUMulFunction.apply


def use_fused_layers(model: torch.nn.Module, *, padded: bool = False) -> None:
    """Put these classes in place of transformers' throughout a model; of padded rows, all but attention."""
    for module in model.modules():
        kind: Any = type(module)
        if kind is LlamaAttention and not padded:  # others rotate by functions of their own, under the same name
            module.__class__ = Attention
        elif _written_as(kind, LlamaRMSNorm):
            module.__class__ = Norm
        elif _written_as(kind, LlamaMLP) and type(module.act_fn).__name__ in ("SiLU", "SiLUActivation"):
            module.__class__ = Gated


@cache
def _written_as(kind: Any, other: type) -> bool:
    """Whether two classes are one, or alike but for their names: transformers writes LLaMA's out in every file."""
    if kind is other:
        return True
    if not kind.__module__.startswith("transformers.models."):
        return False
    try:
        return all(_source(kind, method) == _source(other, method) for method in ("__init__", "forward"))
    except (OSError, TypeError):  # the source is not there
        return False


def _source(kind: type, method: str) -> str:
    text = inspect.getsource(getattr(kind, method))
    return re.sub(r'"""(?s:.*?)"""', "", text).replace(kind.__name__, "")


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        if x.is_cuda:
            result, scale = torch.ops.aten._fused_rms_norm(x, list(weight.shape), weight, epsilon)
        else:
            wide = x.float()
            scale = wide.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
            result = (wide * scale).mul_(weight).to(x.dtype)
        ctx.save_for_backward(x, weight, scale)
        return result  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        if x.is_cuda:
            both = torch.ops.aten._fused_rms_norm_backward(gradient, x, list(weight.shape), scale, weight, [True, True])
            return (*both, None)
        normal, incoming = x.float() * scale, gradient.float()
        to_weight = (incoming * normal).flatten(0, -2).sum(0)
        to_normal = incoming * weight
        to_x = to_normal.sub_(normal * (to_normal * normal).mean(-1, keepdim=True)).mul_(scale)
        return to_x.to(x.dtype), to_weight.to(weight.dtype), None


class _Rotated(torch.autograd.Function):
    """Rotary positions (Su et al. 2021), the two halves of a head as the two coordinates.

    States [1, tokens, heads, width], cosines and sines [1, tokens, width], whose halves are equal.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turned(states, cosines, sines, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _turned(gradient, cosines, sines, -1), None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        to_up = silu(gate).mul_(gradient)
        return torch.ops.aten.silu_backward(gradient * up, gate), to_up


def _turned(states: Tensor, cosines: Tensor, sines: Tensor, direction: int) -> Tensor:
    """By the angles, or back by them."""
    half = states.shape[-1] // 2
    cosine, sine = cosines[..., None, :half], sines[..., None, :half]
    result = torch.empty_like(states)
    (first, second), (into_first, into_second) = states.chunk(2, -1), result.chunk(2, -1)
    torch.mul(first, cosine, out=into_first).addcmul_(second, sine, value=-direction)
    torch.mul(second, cosine, out=into_second).addcmul_(first, sine, value=direction)
    return result
