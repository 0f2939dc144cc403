"""Our norm, rotation and gate are transformers': in fp32 to the last bits, in bf16 nearer to the truth than theirs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from sft_sweeps.train.layers import Norm, _Gated, _Rotated

TOKENS, HEADS, WIDTH = 37, 3, 16
Outcome = tuple[Tensor, ...]


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def norms(dtype: torch.dtype, kind: type[LlamaRMSNorm]) -> Outcome:
    """The result, and the gradients of states and weight."""
    torch.manual_seed(1)
    norm = kind(64, eps=1e-5).to(device(), dtype)
    norm.weight.data = (1 + torch.randn(64) / 3).to(device(), torch.bfloat16).to(dtype)
    states = (torch.randn(1, TOKENS, 64) * 3).to(device(), torch.bfloat16).to(dtype).requires_grad_()
    result = norm(states)
    result.backward(torch.linspace(-1, 1, 64, device=device()).to(dtype).expand_as(result).contiguous())
    return result.detach(), states.grad, norm.weight.grad


def turned(dtype: torch.dtype, ours: Callable[..., Tensor] | None) -> Outcome:
    """The result, and the gradient of the states."""
    torch.manual_seed(2)
    states = torch.randn(1, TOKENS, HEADS, WIDTH).to(device(), torch.bfloat16).to(dtype).requires_grad_()
    angles = torch.outer(torch.arange(TOKENS), 0.7 ** torch.arange(WIDTH // 2)).repeat(1, 2)[None].to(device())
    cosines, sines = (part.to(torch.bfloat16).to(dtype) for part in (angles.cos(), angles.sin()))
    if ours:
        result = ours(states, cosines, sines)
    else:
        result = apply_rotary_pos_emb(states, states, cosines, sines, unsqueeze_dim=2)[0]
    result.backward(torch.linspace(-1, 1, WIDTH, device=device()).to(dtype).expand_as(result))
    return result.detach(), states.grad


def gated(dtype: torch.dtype, ours: bool) -> Outcome:
    """The result, and the gradients of both."""
    torch.manual_seed(3)
    gate, up = ((torch.randn(TOKENS, 64) * 2).to(device(), torch.bfloat16).to(dtype).requires_grad_() for _ in range(2))
    result = _Gated.apply(gate, up) if ours else silu(gate) * up
    result.backward(torch.linspace(-1, 1, 64, device=device()).to(dtype).expand_as(result))
    return result.detach(), gate.grad, up.grad


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda dtype: norms(dtype, Norm), lambda dtype: norms(dtype, LlamaRMSNorm)),
        (lambda dtype: gated(dtype, True), lambda dtype: gated(dtype, False)),
        (lambda dtype: turned(dtype, _Rotated.apply), lambda dtype: turned(dtype, None)),
    ],
    ids=["norm", "gate", "rotation"],
)
def test_values_and_gradients_are_transformers(
    ours: Callable[[torch.dtype], Outcome], theirs: Callable[[torch.dtype], Outcome]
) -> None:
    truth = theirs(torch.float64)
    for found, expected in zip(ours(torch.float32), theirs(torch.float32), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
    for found, other, exact in zip(ours(torch.bfloat16), theirs(torch.bfloat16), truth, strict=True):
        assert (found - exact).norm() <= 1.01 * (other - exact).norm()
        assert (found - exact).norm() <= 0.01 * exact.norm()
