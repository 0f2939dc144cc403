"""The projection on the vocabulary and the loss in one: no logits of a whole bin are ever held.

The hidden states of the supervised tokens are projected a chunk at a time; the cross-entropy and its gradient are taken
in fp32 from the chunk's logits, which are then overwritten. A token's loss is -log softmax(z)[t]; its gradient with
respect to the logits z is softmax(z) - onehot(t), so that both matrix products of the backward pass can follow at once
and nothing is computed twice. Memory: one chunk of logits beside the gradients of the hidden states and of the weight.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from sft_sweeps.train.layers import use_fused_layers

CHUNK = {"cpu": 1 << 24, "cuda": 1 << 26}  # logits at a time; every chunk passes over the gradient of the weight once


class LossHead(torch.nn.Linear):
    """The language model's head: hidden states [kept, hidden] in, the weighted sum of the cross-entropies out.

    Each one's own, without its weight, is written into `losses`.
    """

    def forward(self, hidden: Tensor, targets: Tensor, weights: Tensor, losses: Tensor) -> Tensor:  # type: ignore[override]
        return _Loss.apply(hidden, self.weight, targets, weights, losses)  # type: ignore[no-any-return, no-untyped-call]


class Trained(LlamaForCausalLM):  # type: ignore[misc]
    """A LLaMA whose forward gives the loss of a bin (train/loss.py). Names and weights are LlamaForCausalLM's."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.lm_head.__class__ = LossHead
        use_fused_layers(self)

    def forward(self, packed: Any) -> Tensor:
        """The weighted sum of the losses of the bin's supervised tokens (`packed` is a loss.Bin)."""
        # No attention mask and no cache: both would let examples attend to one another without a word.
        output = self.model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            use_cache=False,
            lengths=packed.lengths,
            boundaries=packed.boundaries,
        )
        kept = output.last_hidden_state[0, packed.keep]
        return self.lm_head(kept, packed.targets, packed.weights, packed.losses)  # type: ignore[no-any-return]


class _Loss(torch.autograd.Function):
    """sum of weights * cross_entropy(hidden @ weight.T, targets), with its gradients made on the way forward."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        hidden, weight, targets, weights, losses = given
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        to_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        # A token's weight is a factor of its row, wherever that is shortest: not of the logits.
        weighted = hidden * weights[:, None].to(hidden.dtype)
        size = max(1, CHUNK[hidden.device.type] // len(weight))
        pieces = (torch.split(tensor, size) for tensor in (hidden, weighted, targets, weights, to_hidden, losses))
        for states, shares, target, share, gradient, own in zip(*pieces, strict=True):
            loss, to_logits = _chunk(torch.mm(states, weight.t()), target)
            own.copy_(loss)
            total += (loss * share).sum()
            to_logits = to_logits.to(states.dtype)
            torch.mm(to_logits, weight, out=gradient)
            if states.dtype == torch.float32:
                to_weight.addmm_(to_logits.t(), shares)
            else:
                to_weight += torch.mm(to_logits.t(), shares)
        to_hidden *= weights[:, None].to(hidden.dtype)
        ctx.save_for_backward(to_hidden, to_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * scale.to(to_hidden.dtype), to_weight * scale.to(to_weight.dtype), None, None, None


def _chunk(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each token's loss of a chunk [rows], and its gradient by the logits [rows, vocabulary], fp32."""
    logs = torch.log_softmax(logits, dim=1, dtype=torch.float32)
    rows = torch.arange(len(targets), device=targets.device)
    losses = -logs[rows, targets]
    shares = logs.exp_()
    shares[rows, targets] -= 1
    return losses, shares
