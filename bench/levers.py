"""Ways to compute a training step faster, each of which can be put on and left off: what bench/gpu_levers.py measures.

None is part of the package. They are put on models that train/load.py has made, and on train/engine.py where it builds
its own; the plain engine has its interface. `needs` says why one cannot be tried on a machine.
"""

import contextlib
import gc
import importlib.util
import math
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import varlen
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from sft_sweeps.execution import TrainExecution
from sft_sweeps.models import weights
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import attention, load, loss, ranks
from sft_sweeps.train.attention import Scores, States, attend

GPU = "needs a GPU"
# torch's operators for rows of several examples, and for one.
ATTENTION = ("torch_attn._varlen_attn", "aten._scaled_dot_product")


@dataclass(frozen=True)
class Lever:
    """One of them: what it does, why it cannot be tried here ("" where it can), and whether it is about recompute."""

    does: str
    needs: Callable[[], str] = lambda: ""
    recomputing: bool = False


def _needs_flash_attention_3() -> str:
    if not torch.cuda.is_available():
        return GPU
    if not hasattr(torch.nn.attention, "activate_flash_attention_impl"):
        return "needs torch with torch.nn.attention.activate_flash_attention_impl (2.13 has it)"
    found = importlib.util.find_spec("flash_attn_interface")
    return "" if found else "needs FlashAttention-3 (its module flash_attn_interface)"


def _needs_cudnn() -> str:
    if not torch.cuda.is_available():
        return GPU
    there = hasattr(varlen, "_should_use_cudnn") and hasattr(torch.ops.aten, "_cudnn_attention_backward")
    return "" if there else "needs torch with cuDNN behind varlen_attn (2.13 has it)"


def _needs_compiler() -> str:
    if torch.cuda.is_available():
        return "" if importlib.util.find_spec("triton") else "needs Triton"
    return "" if shutil.which("g++") else "needs a C++ compiler"


LEVERS: dict[str, Lever] = {
    "plain_engine": Lever("no ZeRO: gradients go to fp32 once, no buckets"),
    "flash_attention_3": Lever("FlashAttention-3, whose gradient can add in a fixed order", _needs_flash_attention_3),
    "cudnn_attention": Lever("cuDNN's attention for rows of several examples", _needs_cudnn),
    "compile": Lever("torch.compile of what stands between attentions, any number of tokens", _needs_compiler),
    "fused_products": Lever("queries, keys, values in one product; gate and up in another"),
    "unfused_adamw": Lever("the reverse of one that is on: AdamW in several kernels (foreach)"),
    "keep_attention": Lever("recompute all but attention", recomputing=True),
    "keep_layers": Lever("recompute only as many layers as memory asks for", recomputing=True),
}


@contextlib.contextmanager
def applied(chosen: Collection[str], keep_layers: int = 0) -> Iterator[None]:
    """Whatever loads a model inside gets the levers that change one; kernels and optimizers change for that time."""
    plain_load = load.load_model
    own = {"keep_attention", "keep_layers", "compile"} & set(chosen)  # transformers recomputes its own forward only

    def load_model(parent: Path, zero_stage: int, *, recompute: bool, **given: Any) -> Any:
        model = plain_load(parent, zero_stage, recompute=recompute and not own, **given)
        if "fused_products" in chosen:
            _fuse(model)
        if "compile" in chosen:
            _compile(model)
        if recompute and own:
            _recompute(model, keep_attention="keep_attention" in chosen, keep_layers=keep_layers)
        return model

    with contextlib.ExitStack() as stack:
        if "flash_attention_3" in chosen:
            torch.nn.attention.activate_flash_attention_impl("FA3")
            stack.callback(torch.nn.attention.restore_flash_attention_impl)
        if "cudnn_attention" in chosen:
            stack.enter_context(_set(varlen, "_should_use_cudnn", lambda _: True))
            stack.enter_context(_set(attention, "fused", lambda: cudnn))
        if "unfused_adamw" in chosen:
            stack.enter_context(_set(torch.optim, "AdamW", _Foreach))
        stack.enter_context(_set(load, "load_model", load_model))
        yield


@contextlib.contextmanager
def _set(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


class _Foreach(torch.optim.AdamW):
    """AdamW in several kernels, whatever is asked for."""

    def __init__(self, parameters: Any, **settings: Any) -> None:
        super().__init__(parameters, **(settings | {"fused": False, "foreach": True}))


def cudnn(states: States, boundaries: Tensor, longest: int, scores: Scores) -> Tensor:
    """Causal attention by cuDNN: `varlen_attn` says causal by a window, which it refuses there, so its operator is."""
    ends = (boundaries, boundaries, longest, longest)
    found: Tensor = torch.ops.torch_attn._varlen_attn(*states, *ends, True, scores.scale, [-1, -1])[0]
    return found


class Joint(torch.nn.Module):
    """The first of several linear layers of one input: all are one product, of which each hands out its part."""

    def __init__(self, layers: Sequence[torch.nn.Linear]) -> None:
        super().__init__()
        self.sizes = [layer.out_features for layer in layers]
        self.weight = torch.nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        self.parts: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor
        first, *self.parts = torch.split(F.linear(x, self.weight), self.sizes, -1)
        return first


class Later(torch.nn.Module):
    """One of the others."""

    def __init__(self, joint: Joint) -> None:
        super().__init__()
        vars(self)["joint"] = joint  # not a module of this one, which would give its weight a second name

    def forward(self, _: Tensor) -> Tensor:
        part: Tensor = vars(self)["joint"].parts.pop(0)
        return part


def _fuse(model: Any) -> None:
    for layer in model.base_model.layers:
        for owner, names in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj")),
            (layer.mlp, ("gate_proj", "up_proj")),
        ):
            joint = Joint([getattr(owner, name) for name in names])
            setattr(owner, names[0], joint)
            for name in names[1:]:
                setattr(owner, name, Later(joint))


def _compile(model: Any) -> None:
    """Between attentions, a layer is two functions of tensors, compiled once for all layers and token counts."""
    import torch._dynamo
    import torch._inductor.config

    torch._inductor.config.deterministic = True  # else kernels are chosen by their times, and sums differ by run
    before, after = torch.compile(_before), torch.compile(_after)

    def forward_of(layer: Any) -> Callable[..., Tensor]:
        own, mlp, first, second = layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm

        def forward(x: Tensor, *_: Any, position_embeddings: tuple[Tensor, Tensor], **row: Any) -> Tensor:
            for tensor in (x, *position_embeddings):
                torch._dynamo.maybe_mark_dynamic(tensor, 1)
            norm = (first.weight, first.variance_epsilon)
            projected = before(x, norm, _weights(own), position_embeddings, own.head_dim)
            query, key, value = (states.transpose(1, 2) for states in projected)
            ends = {"lengths": row["lengths"], "boundaries": row.get("boundaries")}
            attended = attend(own, query, key, value, None, scaling=own.scaling, **ends)[0].flatten(-2)
            torch._dynamo.maybe_mark_dynamic(attended, 1)
            norm = (second.weight, second.variance_epsilon)
            ended: Tensor = after(x, attended, own.o_proj.weight, norm, (*_weights(mlp), mlp.down_proj.weight))
            return ended

        return forward

    for layer in model.base_model.layers:
        layer.forward = forward_of(layer)


def _weights(owner: Any) -> list[Tensor]:
    """Of the layers that read one input: joint, or each its own."""
    names = ("q_proj", "k_proj", "v_proj") if hasattr(owner, "q_proj") else ("gate_proj", "up_proj")
    return [module.weight for name in names if hasattr(module := getattr(owner, name), "weight")]


def _projected(x: Tensor, each: Sequence[Tensor], parts: int) -> list[Tensor]:
    """The products; a joint one is cut into equal parts, as LLaMA's are without shared keys."""
    return list(F.linear(x, each[0]).chunk(parts, -1)) if len(each) == 1 else [F.linear(x, one) for one in each]


def _normal(x: Tensor, norm: tuple[Tensor, float]) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm[1]) * norm[0]).to(x.dtype)


def _before(
    x: Tensor, norm: tuple[Tensor, float], each: Sequence[Tensor], positions: tuple[Tensor, Tensor], width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Norm, products and rotation, up to attention: [1, tokens, heads, width]."""
    query, key, value = (part.view(*part.shape[:-1], -1, width) for part in _projected(_normal(x, norm), each, 3))
    cosines, sines = (one[:, :, None] for one in positions)
    turned = [
        states * cosines + torch.cat((-states[..., width // 2 :], states[..., : width // 2]), -1) * sines
        for states in (query, key)
    ]
    return turned[0].to(x.dtype), turned[1].to(x.dtype), value


def _after(x: Tensor, attended: Tensor, out: Tensor, norm: tuple[Tensor, float], products: Sequence[Tensor]) -> Tensor:
    """From attention to the layer's end; `products` are those of gate and up, or both in one, and down."""
    *each, down = products
    x = x + F.linear(attended, out)
    gate, up = _projected(_normal(x, norm), each, 2)
    return x + F.linear(F.silu(gate) * up, down)


def _recompute(model: Any, *, keep_attention: bool, keep_layers: int) -> None:
    """Recompute the first layers, all but the last `keep_layers`; of these, attention's results may be kept."""

    def policy(_: Any, operator: Any, *__: Any, **___: Any) -> CheckpointPolicy:
        kept = keep_attention and any(name in str(operator) for name in ATTENTION)
        return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

    layers = list(model.base_model.layers)
    for layer in layers[: len(layers) - keep_layers]:
        contexts = partial(create_selective_checkpoint_contexts, policy)
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, context_fn=contexts)


class PlainEngine:
    """One process, torch alone: the interface of `train.engine.TrainEngine` as far as a step needs it."""

    processes, rank = 1, 0

    def __init__(self, parent: Path, recipe: Recipe, execution: TrainExecution) -> None:
        self.device, self.token_budget, self.clip = ranks.device(), execution.token_budget, recipe.max_grad_norm
        whole = weights.count(parent) <= execution.whole_parameters
        self.model = load.load_model(parent, 2, whole=whole, recompute=execution.recompute)
        stored = load.lower(self.model) if recipe.precision == "bf16" else {}
        self.model.to(self.device).train()
        self.parameters = dict(self.model.named_parameters())
        self.masters = [
            torch.nn.Parameter(stored[name].to(self.device)) if stored else one for name, one in self.parameters.items()
        ]
        if stored:
            for one, master in zip(self.parameters.values(), self.masters, strict=True):
                one.register_post_accumulate_grad_hook(partial(_to_master, master))
        self.optimizer = torch.optim.AdamW(
            self.masters,
            lr=0.0,
            betas=(recipe.adam_beta1, recipe.adam_beta2),
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def backward(self, bins: Sequence[loss.Bin]) -> Tensor:
        """Add up the gradients of a step; the loss."""
        total = torch.zeros((), dtype=torch.float32, device=self.device)
        for packed in bins:
            value = self.model(packed)
            value.backward()
            total += value.detach()
        return total

    def update(self, rate: float) -> float:
        """Clip, update, and the norm that the gradients had."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        gradients = [master.grad for master in self.masters if master.grad is not None]
        norms = torch._foreach_norm(gradients, 2, torch.float64)
        norm = float(torch.stack(norms).square().sum().sqrt())
        if norm > self.clip and math.isfinite(norm):
            torch._foreach_mul_(gradients, self.clip / (norm + 1e-6))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.masters[0] is not next(iter(self.parameters.values())):
            with torch.no_grad():
                torch._foreach_copy_(list(self.parameters.values()), self.masters)
        return norm

    def probe(self, tokens: int) -> None:
        """As TrainEngine's: a pass of weight zero, of which nothing remains."""
        self.model(loss.blank(tokens, self.device)).backward()
        self.optimizer.zero_grad()

    def close(self) -> None:
        """Let go of all memory."""
        vars(self).clear()
        gc.collect()


def _to_master(master: torch.nn.Parameter, parameter: Tensor) -> None:
    """A gradient goes to fp32 once, as soon as it is there, and is let go of."""
    assert parameter.grad is not None
    if master.grad is None:
        master.grad = parameter.grad.float()
    else:
        master.grad += parameter.grad
    parameter.grad = None
