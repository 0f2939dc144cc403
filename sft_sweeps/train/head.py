"""The projection on the vocabulary and the loss in one: no logits of a whole bin are ever held.

The hidden states of the supervised tokens are projected a chunk at a time; the cross-entropy and its gradient are taken
in fp32 from the chunk's logits, which are then overwritten. A token's loss is -log softmax(z)[t]; its gradient with
respect to the logits z is softmax(z) - onehot(t), so that both matrix products of the backward pass can follow at once
and nothing is computed twice. Memory: one chunk of logits beside the gradients of the hidden states and of the weight.

Some architectures scale their logits, z = s x, or cap them softly (Gemma 2), z = c tanh(x / c): then the gradient is
also multiplied by dz/dx, which is s, and 1 - (z / c)^2.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from sft_sweeps.train.layers import use_fused_layers

CHUNK = {"cpu": 1 << 24, "cuda": 1 << 26}  # logits at a time; every chunk passes over the gradient of the weight once


@dataclass(frozen=True)
class Logits:
    """What a model does to the products of hidden states and head: a factor, and a soft cap where it is not 0."""

    scale: float = 1.0
    cap: float = 0.0


def logits_of(config: Any) -> Logits:
    """As transformers' architectures name them: Cohere multiplies, Granite divides, Gemma caps."""
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return Logits(scale, getattr(config, "final_logit_softcapping", None) or 0.0)


class LossHead(torch.nn.Linear):
    """The language model's head: hidden states [kept, hidden] in, the weighted sum of the cross-entropies out.

    Each one's own, without its weight, is written into `losses`.
    """

    logits = Logits()

    def forward(self, hidden: Tensor, targets: Tensor, weights: Tensor, losses: Tensor) -> Tensor:  # type: ignore[override]
        if not torch.is_grad_enabled():
            self.take_losses(hidden, targets, losses)
            return (losses * weights).sum()
        return _Loss.apply(hidden, self.weight, self.bias, targets, weights, losses, self.logits)  # type: ignore[no-any-return, no-untyped-call]

    def take_losses(self, hidden: Tensor, targets: Tensor, losses: Tensor) -> None:
        """Each token's loss, as `_Loss` has it, without a gradient."""
        pieces = (torch.split(one, _chunk_size(self.weight)) for one in (hidden, targets, losses))
        for states, target, own in zip(*pieces, strict=True):
            own.copy_(_chunk(_products(states, self.weight, self.bias), target, self.logits)[0])


class Trained:
    """Mixed into a class of transformers, a decoder whose forward gives the loss of a bin (train/loss.py).

    Names and weights stay those of that class. `padded`: its bins are, and its attention is transformers' own.
    """

    padded = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.loss_head.__class__ = LossHead
        self.loss_head.logits = logits_of(config)
        use_fused_layers(self, padded=self.padded)  # type: ignore[arg-type]

    @property
    def loss_head(self) -> Any:
        """The layer that projects on the vocabulary."""
        return self.get_output_embeddings()  # type: ignore[attr-defined]

    def forward(self, packed: Any) -> Tensor:
        """The weighted sum of the losses of the bin's supervised tokens (`packed` is a loss.Bin)."""
        # No cache, and in rows of several examples no mask: both would let them attend to one another without a word.
        given = {"attention_mask": packed.mask} if self.padded else packed.places
        output = self.base_model(input_ids=packed.input_ids, use_cache=False, **given)  # type: ignore[attr-defined]
        kept = output.last_hidden_state.flatten(0, 1)[packed.keep]
        return self.loss_head(kept, packed.targets, packed.weights, packed.losses)  # type: ignore[no-any-return]


def trained_class(config: Any, *, padded: bool = False) -> Any:
    """Transformers' decoder for a configuration, with `Trained` mixed in; KeyError where there is none."""
    decoder = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return type(decoder)(decoder.__name__, (Trained, decoder), {"padded": padded})


class _Loss(torch.autograd.Function):
    """sum of weights * cross_entropy(logits(hidden @ weight.T), targets), with its gradients made on the way."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        hidden, weight, bias, targets, weights, losses, logits = given
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        to_hidden = torch.empty_like(hidden)
        trained = ctx.needs_input_grad[1]  # beside an adapter the head is frozen
        to_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if trained else None
        to_bias = None if bias is None or not trained else torch.zeros_like(bias, dtype=torch.float32)
        # A token's weight is a factor of its row, wherever that is shortest: not of the logits.
        weighted = hidden * weights[:, None].to(hidden.dtype)
        size = _chunk_size(weight)
        pieces = (torch.split(tensor, size) for tensor in (hidden, weighted, targets, weights, to_hidden, losses))
        for states, shares, target, share, gradient, own in zip(*pieces, strict=True):
            loss, to_logits = _chunk(_products(states, weight, bias), target, logits)
            own.copy_(loss)
            total += (loss * share).sum()
            to_logits = to_logits.to(states.dtype)
            torch.mm(to_logits, weight, out=gradient)
            if to_weight is None:
                continue
            if states.dtype == torch.float32:
                to_weight.addmm_(to_logits.t(), shares)
            else:
                to_weight += torch.mm(to_logits.t(), shares)
            if to_bias is not None:
                to_bias += (to_logits.float() * share[:, None]).sum(0)
        to_hidden *= weights[:, None].to(hidden.dtype)
        ctx.save_for_backward(
            to_hidden, *(one if one is None else one.to(weight.dtype) for one in (to_weight, to_bias))
        )
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if one is None else one * scale.to(one.dtype) for one in ctx.saved_tensors]
        return (*scaled, None, None, None, None)


def _chunk_size(weight: Tensor) -> int:
    """Tokens at a time."""
    return max(1, CHUNK[weight.device.type] // len(weight))


def _products(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mm(states, weight.t()) if bias is None else torch.addmm(bias, states, weight.t())


def _chunk(products: Tensor, targets: Tensor, logits: Logits) -> tuple[Tensor, Tensor]:
    """Each token's loss of a chunk [rows], and its gradient by the products [rows, vocabulary], fp32."""
    capped = None
    if logits != Logits():
        products = products.float() * logits.scale
    if logits.cap:
        capped = torch.tanh(products / logits.cap)
        products = capped * logits.cap
    logs = torch.log_softmax(products, dim=1, dtype=torch.float32)
    rows = torch.arange(len(targets), device=targets.device)
    losses = -logs[rows, targets]
    gradient = logs.exp_()
    gradient[rows, targets] -= 1
    if capped is not None:
        gradient *= 1 - capped.square()
    return losses, gradient.mul_(logits.scale) if logits.scale != 1 else gradient
