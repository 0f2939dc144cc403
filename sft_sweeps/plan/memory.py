"""What a stage needs of a GPU's memory: from the model's shape, the ZeRO stage, the GPUs and the token budget.

    weights      bf16 copies: all of them (ZeRO 2), or 1/N and what is gathered at a time (ZeRO 3)
    gradients    fp32: 1/N, and the bucket in which they are summed
    update       one group's gradients once more, when activations and logits are gone
    optimizer    fp32 weights and two moments, 1/N; in the host's memory with offload
    activations  what the backward pass needs of each token (below); with recompute the layers' inputs and one layer
    logits       a chunk of them, the gradient of the head's weight, that of the hidden states (train/head.py)

Of an adapter gradients, update and optimizer are its own alone, and the head has no gradient; under ZeRO 3 the frozen
weights are there in fp32 for a moment when they are loaded.

Activations of one layer, numbers held of each token (H hidden, A all heads, I intermediate): the inputs of both norms
and what comes of them, 4H, queries, keys and values (repeated where heads share them), 3A, attention's result, A (on a
CPU 2A: its pieces are joined), and gate, up and their product, 3I, or 2I where an MLP has no gate (train/layers.py).
Norms and rotations that are not fused hold more: UNFUSED times as much, between 0.7 and 2.5 of the families tried.
Attention that is computed as products of every two tokens holds SCORE bytes of each, of each head, besides.
tests/plan/test_memory.py holds this to what torch saves, docs/speed.md to peaks on a GPU. Not in it: what CUDA, NCCL
and the allocator keep, for which RESERVED stands.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sft_sweeps.execution import TrainExecution
from sft_sweeps.models import adapter as adapters
from sft_sweeps.models import architectures
from sft_sweeps.plan import cost
from sft_sweeps.plan.cost import BYTES, parameters
from sft_sweeps.spec.training import Recipe, Shape, Stage

RESERVED = 3e9  # bytes of a GPU: CUDA's context, NCCL's buffers, what fragments
LIVE = 1_000_000_000  # weights that ZeRO-3 gathers ahead at most (stage3_max_live_parameters)
BUCKET = 200_000_000  # gradients that are summed at once (train/engine.py)
CHUNK = 1 << 26  # logits at a time (train/head.py)
GROUP = 1_000_000_000  # weights that the optimizer steps at once (sub_group_size)
UNFUSED = 1.5  # times what a layer holds, of architectures whose layers are not LLaMA's
SCORE = 8  # bytes: the product as computed, its softmax in fp32
GROUPS = {  # deepspeed=NAME: ZeRO stage, offload; the faster first
    "zero2": (2, False),
    "zero3": (3, False),
    "zero3_offload": (3, True),
}


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU at a step's peak."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    update: float
    loading: float = 0.0

    @property
    def total(self) -> float:
        passing = max(self.activations + self.logits, self.update)
        return max(self.weights + self.gradients + self.optimizer + passing, self.loading) + RESERVED


@dataclass(frozen=True)
class MemoryFit:
    """What fits: a `deepspeed` group, whether activations are recomputed, and the tokens of a forward pass."""

    group: str
    recompute: bool
    token_budget: int
    memory: Memory

    @property
    def overrides(self) -> str:
        return f"deepspeed={self.group}{' deepspeed.recompute=true' if self.recompute else ''}"


def of(shape: Shape, recipe: Recipe, execution: TrainExecution, tokens: int) -> Memory:
    """The peak of a stage that runs so, with rows of so many tokens, all of them supervised."""
    count, size, trained = parameters(shape), BYTES[recipe.precision], cost.trained(shape, recipe.adapter)
    own, ranks = cost.beside(shape, recipe.adapter), execution.processes
    whole = execution.zero_stage < 3 or count <= execution.whole_parameters
    held = activations(shape, recipe.precision, recompute=execution.recompute, length=recipe.max_length)
    gathered = count if whole else min(count, LIVE)
    partition = 0.0 if whole else count / ranks
    states = (min(trained / ranks, GROUP) if execution.offload else trained / ranks) * 12
    return Memory(
        weights=(gathered + partition + own) * size,
        gradients=(trained / ranks + min(trained, BUCKET)) * 4,
        optimizer=states,
        activations=tokens * (held + adapter_activations(shape, recipe)),
        logits=logits(shape, recipe.precision, tokens, frozen=bool(own)),
        update=min(trained / ranks, GROUP) * 4,
        loading=count / ranks * 4 if own and not whole else 0.0,
    )


def adapter_activations(shape: Shape, recipe: Recipe) -> float:
    """Bytes that adapters hold of each token: A x of every layer, and its inputs once more where some are left out."""
    if not (adapter := recipe.adapter):
        return 0.0
    layers = adapters.adapted(shape, adapter.targets)
    numbers = sum(adapter.rank + (dimensions[1] if adapter.dropout else 0) for dimensions in layers)
    return numbers * BYTES[recipe.precision]


def activations(shape: Shape, precision: str, *, recompute: bool, length: int = 0) -> float:
    """Bytes held of each token, of an example of `length`, for the backward pass."""
    size, hidden = BYTES[precision], shape.hidden_size
    inner = architectures.mlp_matrices(shape) * shape.intermediate_size
    held = 1.0 if shape.model_type in architectures.ARCHITECTURES else UNFUSED
    layer = held * (4 * hidden + 4 * shape.heads * shape.head_width + inner) * size
    if shape.model_type in architectures.HOLDS_SCORES:
        layer += SCORE * shape.heads * length
    last = hidden * size  # the final norm
    if recompute:
        return shape.layers * hidden * size + layer + last
    return shape.layers * layer + last


def logits(shape: Shape, precision: str, tokens: int, *, frozen: bool = False) -> float:
    """Bytes of the head: a chunk in fp32 and once more as computed, and the gradients that it makes on its way."""
    size, head = BYTES[precision], 0 if frozen else shape.vocab_size * shape.hidden_size
    chunk = min(CHUNK, tokens * shape.vocab_size)
    return chunk * (8 + size) + head * (4 + size) + 3 * tokens * shape.hidden_size * size


def verdicts(shape: Shape, recipe: Recipe, gpus: int, gpu_bytes: float) -> list[MemoryFit]:
    """Each way in which the longest example fits, the fastest first, with the most tokens that fit."""
    fitting = []
    for group, (zero_stage, offload) in GROUPS.items():
        for recompute in (False, True):
            how = TrainExecution(processes=gpus, zero_stage=zero_stage, offload=offload, recompute=recompute)
            budget = largest(shape, recipe, how, gpu_bytes)
            if budget >= recipe.max_length:
                fitting.append(MemoryFit(group, recompute, budget, of(shape, recipe, how, budget)))
    order = list(GROUPS)
    return sorted(fitting, key=lambda v: (GROUPS[v.group][1], v.recompute, order.index(v.group)))


def largest(shape: Shape, recipe: Recipe, execution: TrainExecution, gpu_bytes: float) -> int:
    """The most tokens of a row that fit, up to what a rank has in a step; 0 where not one does."""
    most = recipe.max_length * -(-recipe.batch_size // execution.processes)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if of(shape, recipe, execution, middle).total <= gpu_bytes else (low, middle - 1)
    return low


def alike(stages: Iterable[Stage]) -> list[Stage]:
    """One stage of each model and recipe, as far as memory depends on them: in seeds and data it does not."""
    first: dict[tuple[object, ...], Stage] = {}
    for stage in stages:
        model, recipe = stage.model, stage.recipe
        sizes = (recipe.precision, recipe.batch_size, recipe.max_length, recipe.adapter and recipe.adapter.first)
        first.setdefault((model.id, model.name, model.gpus, *sizes), stage)
    return list(first.values())


def problem(stage: Stage, execution: TrainExecution, gpu_gb: float, gpus: int | None = None) -> str:
    """Why a stage does not fit on `gpus` (its model's), and what does; empty where it fits or needs no GPU."""
    shape, recipe, gpus = stage.model.shape, stage.recipe, stage.model.gpus if gpus is None else gpus
    if not gpus:
        return ""
    how, limit = replace(execution, processes=gpus), gpu_gb * 1e9
    needed = of(shape, recipe, how, execution.token_budget or recipe.max_length)
    if needed.total <= limit:
        return ""
    parts = ", ".join(
        f"{name} {getattr(needed, name) / 1e9:.1f}"
        for name in ("weights", "gradients", "optimizer", "activations", "logits")
    )
    fitting = verdicts(shape, recipe, gpus, limit)
    if fitting:
        way = f"Type {fitting[0].overrides} (up to {fitting[0].token_budget:,} tokens at a time)"
    else:
        more = next((n for n in (2 * gpus, 4 * gpus, 8 * gpus) if verdicts(shape, recipe, n, limit)), 0)
        way = f"Type model.gpus={more}" if more else "Choose a smaller model or larger GPUs"
    return (
        f"model={stage.model.name} on {gpus} GPUs of {gpu_gb:g} GB: a step needs about {needed.total / 1e9:.1f} GB on "
        f"each ({parts}, reserved {RESERVED / 1e9:.0f}). {way}"
    )


def with_recompute(
    stage: Stage, execution: TrainExecution, gpu_gb: float, recompute: bool | None, gpus: int | None = None
) -> TrainExecution:
    """The execution with `recompute` decided: as asked, else only where the longest example does not fit without.

    On so many `gpus`, else the model's.
    """
    gpus = stage.model.gpus if gpus is None else gpus
    tokens = execution.token_budget or stage.recipe.max_length
    if recompute is None and gpus:
        how = replace(execution, processes=gpus, recompute=False)
        recompute = of(stage.model.shape, stage.recipe, how, tokens).total > gpu_gb * 1e9
    return replace(execution, recompute=bool(recompute))


def verdict(stage: Stage, execution: TrainExecution, gpu_gb: float) -> str:
    """What a step is estimated to need where it fits, and the fastest settings that do; empty without GPUs."""
    gpus, shape, recipe = stage.model.gpus, stage.model.shape, stage.recipe
    fitting = verdicts(shape, recipe, gpus, gpu_gb * 1e9) if gpus else []
    if not fitting:
        return problem(stage, execution, gpu_gb)
    tokens = execution.token_budget or recipe.max_length
    needed = of(shape, recipe, replace(execution, processes=gpus), tokens).total / 1e9
    how = f"ZeRO {execution.zero_stage}{', offload' if execution.offload else ''}"
    how += ", recompute" if execution.recompute else ""
    how += f", {recipe.adapter.words}: {cost.beside(shape, recipe.adapter):,} weights" if recipe.adapter else ""
    return (
        f"{stage.model.name} on {gpus} GPUs of {gpu_gb:g} GB: about {needed:.1f} GB on each at {tokens:,} tokens "
        f"({how}); the fastest that fits is {fitting[0].overrides}, up to {fitting[0].token_budget:,} tokens"
    )
