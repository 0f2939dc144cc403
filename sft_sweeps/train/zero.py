"""DeepSpeed's ZeRO as it is used here: its configuration, and what has to be reached for inside it.

Its private names are used here, in train/engine.py where a process begins, and in train/resume.py; pyproject.toml pins
its minor version, and tests/train/test_engine.py fails when one has moved.
"""

import importlib
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from deepspeed.runtime.comm import coalesced_collectives
from deepspeed.runtime.zero import parameter_offload, stage3
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param
from torch import Tensor
from torch import distributed as dist

from sft_sweeps.execution import TrainExecution
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import ranks


def _load_muon() -> None:
    """Import an optimizer of DeepSpeed's that every initialize imports and none here uses.

    It is decorated by torch.compile, which would import a compiler: so with torch's switch against that, which is asked
    as it is decorated.
    """
    before = os.environ.get("TORCHDYNAMO_DISABLE")
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    try:
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    finally:
        del os.environ["TORCHDYNAMO_DISABLE"]
        os.environ.update({} if before is None else {"TORCHDYNAMO_DISABLE": before})


_load_muon()


def config(recipe: Recipe, execution: TrainExecution, parameters: int) -> dict[str, Any]:
    """DeepSpeed's configuration."""
    whole = parameters <= execution.whole_parameters
    zero: dict[str, Any] = {
        "stage": execution.zero_stage,
        "overlap_comm": torch.cuda.is_available() and execution.processes > 1 and not execution.offload,
        "reduce_bucket_size": min(parameters, 200_000_000),
    }
    if execution.offload:
        zero |= {"offload_optimizer": {"device": "cpu", "pin_memory": torch.cuda.is_available()}}
    if execution.zero_stage == 3:
        zero |= {"memory_efficient_linear": not whole}
        zero |= {"stage3_param_persistence_threshold": parameters if whole else 100_000}
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": recipe.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if recipe.precision == "bf16":
        # Sums over bins and ranks stay fp32, so that the process count does not enter the gradient.
        settings |= {"bf16": {"enabled": True}, "communication_data_type": "fp32"}
        settings |= {"data_types": {"grad_accum_dtype": "fp32"}}
    return settings


def patch_gradient_norm(optimizer: Any, *, alone: bool) -> list[float]:
    """The norm of all gradients in a few kernels, not several for each of them with copies in fp64, and as exact.

    Returns the list to which the norms of ZeRO's groups are appended in each step: reading what DeepSpeed keeps of
    them afterwards would wait for the optimizer. And alone, ZeRO-3 has its part of the gradients already: it would
    join them, divide by one, and send them to itself.
    """
    group_norms, device = list[float](), ranks.device()

    def norm(gradients: Sequence[Tensor], *_: Any) -> Tensor:
        norms = torch._foreach_norm(list(gradients), 2, torch.float64)  # in fp32, a CPU loses the fifth digit
        squares = torch.stack(norms).square().sum() if norms else torch.zeros((), dtype=torch.float64, device=device)
        dist.all_reduce(squares)
        total = squares.sqrt().float()
        group_norms.append(float(total))
        # As DeepSpeed marks it; it then leaves the weights as they are.
        return torch.where(total.isfinite(), total, -torch.ones_like(total))

    clip = optimizer.unscale_and_clip_grads

    def clip_where_needed(*arguments: Any) -> None:
        # As DeepSpeed counts; below, it would multiply every gradient by 1.
        if not group_norms or math.hypot(*group_norms) + 1e-6 > optimizer.clip_grad:
            clip(*arguments)

    optimizer.get_grad_norm_direct, optimizer.unscale_and_clip_grads = norm, clip_where_needed
    optimizer.check_overflow = _no_overflow  # the norm shows it; this would look at every gradient
    stage3.reduce_scatter_coalesced = _flattened if alone else coalesced_collectives.reduce_scatter_coalesced
    return group_norms


def forget() -> None:
    """Empty the lists in which DeepSpeed keeps modules, and so their memory, until the process ends."""
    parameter_offload.FWD_MODULE_STACK.clear()
    cached = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
    while cells := getattr(cached, "__closure__", None):  # it is wrapped
        cached = cells[0].cell_contents
    cached.cache_clear()


def _no_overflow(*_: Any, **__: Any) -> None:
    """Finds no overflow."""


def _flattened(tensors: Sequence[Tensor], *_: Any) -> list[Tensor]:
    return [tensor.view(-1) for tensor in tensors]


def set_masters(engine: Any, masters: dict[str, Tensor]) -> None:
    """The optimizer's fp32 weights are the stored ones; DeepSpeed made them from the bf16 copies."""
    for name, parameter in engine.module.named_parameters() if masters else ():
        if name not in masters:
            continue
        set_weights = safe_set_local_fp32_param if hasattr(parameter, "ds_tensor") else safe_set_full_fp32_param
        set_weights(parameter, masters[name])


def layer_classes(model: Any) -> list[type]:
    """The decoder layers' classes: ZeRO handles each as one, which saves hooks and small collectives."""
    names = set(model._no_split_modules or ())
    return list({type(module) for module in model.modules() if type(module).__name__ in names})
