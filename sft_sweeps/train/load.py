"""The parent's model, read from its folder: each rank reads its own part of the weights and no more.

Under ZeRO-3 the parameters are partitioned as they are created and filled from the bytes of the safetensors files, so
that a model that fits no single rank is materialised on none. The weights are taken as stored, in fp32. Where the model
is to compute in bf16, its copies are bf16 and the fp32 weights are handed out beside it, for the optimizer.
"""

from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.initialization import no_init_weights

from sft_sweeps.errors import RunError
from sft_sweeps.models import weights
from sft_sweeps.models.architectures import ARCHITECTURES
from sft_sweeps.train import attention, head

STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_model(parent: Path, zero_stage: int, *, whole: bool, recompute: bool) -> Any:
    """The model with the weights of the folder, in fp32; on every rank. `whole`: it fits one with room to spare."""
    config = AutoConfig.from_pretrained(parent, local_files_only=True)
    _check(parent, config)
    settings = {"dtype": torch.float32, "attn_implementation": attention.NAME}
    if zero_stage == 3:
        # Without `dtype`, which Init takes for bf16 on a CPU, whatever it says: fp32 follows from the configuration.
        # Its linear layer exists to let go of gathered weights, which a whole model never does (the argument of that
        # name is overruled by the configuration).
        partition = {
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": 3, "memory_efficient_linear": not whole},
        }
        with no_init_weights(), deepspeed.zero.Init(config_dict_or_path=partition):
            model = head.Trained._from_config(config, **settings)
        model.tie_weights()  # which comes with the initialisation that was left out
        _fill(model, parent)
    else:
        model = head.Trained.from_pretrained(parent, local_files_only=True, **settings)
    if recompute:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model


def lower(model: Any) -> dict[str, Tensor]:
    """Replace the fp32 weights by bf16 copies; returns this rank's fp32 part of each, on the CPU."""
    masters = {}
    for name, parameter in model.named_parameters():
        held = getattr(parameter, "ds_tensor", parameter)
        masters[name] = held.detach().to("cpu", copy=True)
        held.data = held.data.to(torch.bfloat16)
        parameter.data = parameter.data.to(torch.bfloat16)
    return masters


def _check(parent: Path, config: Any) -> None:
    if config.model_type not in ARCHITECTURES:
        raise RunError(f"{parent} is a {config.model_type} model. Training is exact for: {', '.join(ARCHITECTURES)}.")
    if getattr(config, "attention_dropout", 0.0):
        raise RunError(f"{parent / 'config.json'} sets attention_dropout. Dropout is refused: set it to 0.")


def _fill(model: Any, parent: Path) -> None:
    stored = weights.tensors(parent)
    for name, parameter in model.named_parameters():
        if name not in stored or stored[name].shape != tuple(parameter.ds_shape):
            shape = stored[name].shape if name in stored else "nothing"
            raise RunError(f"{parent} has {shape} for {name}, which is to be {tuple(parameter.ds_shape)}.")
        part = parameter.ds_tensor.data
        first = part.numel() * torch.distributed.get_rank()
        count = max(0, min(part.numel(), parameter.ds_numel - first))
        part[:count].copy_(_read(stored[name], first, count))
        part[count:].zero_()


def _read(stored: weights.StoredTensor, first: int, count: int) -> Tensor:
    """`count` numbers of the flat tensor."""
    if stored.dtype not in STORED:
        raise RunError(f"{stored.file} holds weights as {stored.dtype}. Valid: {', '.join(STORED)}.")
    dtype = STORED[stored.dtype]
    if not count:
        return torch.empty(0, dtype=dtype)
    block = bytearray(count * dtype.itemsize)
    with stored.file.open("rb") as stream:
        stream.seek(stored.start + first * dtype.itemsize)
        stream.readinto(block)
    return torch.frombuffer(block, dtype=dtype)
