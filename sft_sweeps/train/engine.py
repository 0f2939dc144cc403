"""How a stage runs: the model under ZeRO, AdamW, and one optimizer step at a time.

`TrainExecution` says how training is carried out and never what it computes: processes, threads, bins, ZeRO settings.
Weights and optimizer states are fp32; `precision: bf16` computes with bf16 copies of them. Nothing is compiled at run
time: no DeepSpeed op is built, the optimizer is torch's own. (Liger's kernels, where they are installed on a GPU, are:
Triton does it within seconds.)
"""

import gc
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

# DeepSpeed chooses its accelerator when it is imported, and looks for one with a warning unless it is named.
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import transformers
from deepspeed.utils import safe_get_full_fp32_param

from sft_sweeps import identity
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models import weights
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import load, loss, ranks, zero
from sft_sweeps.train.adapter import Attached


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Of the step counted from 0: linear warm-up, the first step at 0, then a cosine that would reach 0 at `steps`."""
    warmup = math.ceil(steps * recipe.warmup_fraction)
    if step < warmup:
        return recipe.learning_rate * step / max(1, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    return recipe.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def prepare_process(execution: TrainExecution) -> None:
    """Settings of the whole process, before the ranks meet and DeepSpeed is used."""
    torch.set_num_threads(execution.threads)
    for name, alone in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        os.environ.setdefault(name, alone)
    if torch.cuda.is_available():
        _prepare_gpu(int(os.environ["LOCAL_RANK"]))
    else:
        # Else DeepSpeed runs `numactl` in every step to count the accelerators.
        os.environ.setdefault("LOCAL_SIZE", str(execution.processes))
    # None of its ops can be compiled. Else it runs a compiler to see which can be, and init_distributed compiles one of
    # them for minutes.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.utils.nvtx.enable_nvtx = False
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed|deepspeed|typing_extensions")


def _prepare_gpu(index: int) -> None:
    """Kernels that add in the same order every time, so that a GPU too resumes bit for bit: attention's gradient."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Bins differ in length from step to step: without it, blocks of memory that fit no other bin are lost.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    torch.cuda.set_device(index)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # for debugging


class TrainEngine:
    """A model under ZeRO with its optimizer. Every rank calls the same methods in the same order.

    `parent` is the folder of the weights that it begins with, `before` that of the parent's adapter, where it has one
    and that is not merged into them; `number` counts the adapters before its own. `universal`: what it will load was
    saved by another process count and converted (train/convert.py).
    `loaded` is the digest of the parent's weights as they are in memory, the same for all ZeRO stages and ranks.
    `token_budget` is the most tokens of one forward pass: the configured number (0: not found yet) until a resume
    state or train/budget.py brings another.
    """

    def __init__(
        self,
        parent: Path,
        recipe: Recipe,
        execution: TrainExecution,
        *,
        before: Path | None = None,
        number: int = 0,
        universal: bool = False,
    ) -> None:
        self.recipe, self.execution, self._universal = recipe, execution, universal
        self.token_budget = execution.token_budget
        # It takes over the group that stands.
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
        self.processes, self.rank, self.device = dist.get_world_size(), dist.get_rank(), ranks.device()
        self.parameters = weights.count(parent)
        whole = self.parameters <= execution.whole_parameters
        model = load.load_model(
            parent, execution.zero_stage, whole=whole, recompute=execution.recompute, padded=recipe.padded
        )
        self.loaded = load.loaded_digest(model)
        self.adapter = Attached(model, recipe, before, number) if recipe.adapter else None
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        masters = load.lower(model) if recipe.precision == "bf16" else {}
        self._optimizer = torch.optim.AdamW(
            trained,
            lr=0.0,
            betas=(recipe.adam_beta1, recipe.adam_beta2),
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        if execution.zero_stage == 3:
            deepspeed.utils.set_z3_leaf_modules(model, zero.layer_classes(model), raise_if_not_found=False)
        config = zero.config(recipe, execution, self.parameters) | {"checkpoint": {"load_universal": universal}}
        self.deepspeed, *_ = deepspeed.initialize(model=model, optimizer=self._optimizer, config=config)
        self.deepspeed.train()
        self._norms = zero.patch_gradient_norm(self.deepspeed.optimizer, alone=self.processes == 1)
        zero.set_masters(self.deepspeed, masters)
        # What exists by now stays: without it, each full collection of garbage walks through all of it.
        gc.freeze()

    def seed(self, step: int) -> None:
        """What an adapter's dropout leaves out in a step follows from the step and the rank, not from those before."""
        if self.recipe.adapter and self.recipe.adapter.dropout:
            torch.manual_seed(int(identity.digest([self.recipe.seed, step, self.rank]), 16))

    def step(self, bins: Sequence[loss.Bin], rate: float) -> tuple[Tensor, float]:
        """One optimizer step on this rank's bins: its part of the loss, and the gradient norm over all ranks."""
        part = self.backward(bins)
        return part, self.update(rate)

    def backward(self, bins: Sequence[loss.Bin]) -> Tensor:
        """Compute the gradients of a step; returns this rank's part of its loss.

        Every rank must bring the same number of bins; one that has fewer fills up with bins of weight zero.
        """
        total = torch.zeros((), dtype=torch.float32, device=self.device)
        for index, packed in enumerate(bins):
            self.deepspeed.set_gradient_accumulation_boundary(index == len(bins) - 1)
            value = self.deepspeed(packed)
            # DeepSpeed averages over the ranks; the weights are those of the whole batch already.
            self.deepspeed.backward(value * self.processes, scale_wrt_gas=False)
            total += value.detach()
        return total

    @torch.no_grad()
    def take_losses(self, bins: Sequence[loss.Bin]) -> None:
        """Write each token's loss into the bins, of which every rank must bring the same number; nothing else of it."""
        self.deepspeed.eval()  # an adapter's dropout would draw random numbers that training then lacks
        for packed in bins:
            self.deepspeed(packed)
        self.deepspeed.train()

    def update(self, rate: float) -> float:
        """Clip the gradients, update the weights, and return the norm that the gradients had over all ranks."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._norms.clear()
        self.deepspeed.step()
        if self._norms:
            return math.hypot(*self._norms)
        norm = float(self.deepspeed.get_global_grad_norm())  # with offload, it counts them itself
        return norm if norm >= 0 else math.nan

    def probe(self, tokens: int) -> None:
        """A pass forward and back over so many tokens, all supervised, of weight zero: nothing remains of it."""
        self.deepspeed.set_gradient_accumulation_boundary(False)
        value = self.deepspeed(loss.blank(tokens, self.device))
        self.deepspeed.backward(value * self.processes, scale_wrt_gas=False)
        self.deepspeed.optimizer.zero_grad()

    def close(self) -> None:
        """Free the model, the optimizer and what DeepSpeed keeps of them."""
        self.deepspeed.destroy()
        zero.forget()
        gc.unfreeze()

    def load(self, folder: Path, tag: str) -> bool:
        """Put DeepSpeed's checkpoint into the model and its optimizer, on every rank; False where there is none."""
        # Without the frozen weights, which are the parent's.
        path, _ = self.deepspeed.load_checkpoint(str(folder), tag=tag, load_module_strict=self.adapter is None)
        for parameter, state in self._optimizer.state.items() if self._universal else ():
            # One tensor on the CPU would count the steps of every group, one up for each of them.
            state["step"] = state["step"].to(parameter.device, copy=True)
        return path is not None

    def full_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The trained parameters' names and full fp32 weights, by name. Every rank must run to the end."""
        for name, parameter in sorted(self._trained()):
            yield name, safe_get_full_fp32_param(parameter).detach().reshape(_shape(parameter))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the trained parameters in the order of their names."""
        return {name: tuple(_shape(p)) for name, p in sorted(self._trained())}

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, one) for name, one in self.deepspeed.module.named_parameters() if one.requires_grad]


def _shape(parameter: Any) -> Any:
    return getattr(parameter, "ds_shape", parameter.shape)
