"""The parent's model, read from its folder, the same way for every ZeRO stage.

The parameters are created empty and filled from the bytes of the tensors that models/folder.py chooses. Under ZeRO-3
they are partitioned as they are created, and each rank reads its own part and no more, so that a model that fits no
single rank is materialised on none. The weights are taken as stored, in fp32. Where the model is to compute in bf16,
its copies are bf16 and the fp32 weights are handed out beside it, for the optimizer.
"""

import hashlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor
from torch import distributed as dist
from transformers import AutoConfig
from transformers.initialization import no_init_weights

from sft_sweeps.errors import RunError
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models import weights
from sft_sweeps.train import attention, decoder, head, ranks

BLOCK = 1 << 20  # numbers of a digest at a time
STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_model(parent: Path, zero_stage: int, *, whole: bool, recompute: bool, padded: bool = False) -> Any:
    """The model with the weights of the folder, in fp32; on every rank. `whole`: it fits one with room to spare."""
    config = AutoConfig.from_pretrained(parent, local_files_only=True, trust_remote_code=False)
    if problem := decoder.refusal(config):
        raise RunError(f"{parent}: {problem}.")
    settings = {"dtype": torch.float32, **({} if padded else {"attn_implementation": attention.NAME})}
    # Without `dtype`, which Init takes for bf16 on a CPU, whatever it says: fp32 follows from the configuration. Its
    # linear layer exists to let go of gathered weights, which a whole model never does (the argument of that name is
    # overruled by the configuration).
    partition = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3, "memory_efficient_linear": not whole},
    }
    creation = deepspeed.zero.Init(config_dict_or_path=partition) if zero_stage == 3 else nullcontext()
    with no_init_weights(), creation:
        model = head.trained_class(config, padded=padded)._from_config(config, **settings)
    model.tie_weights()  # which comes with the initialisation that was left out
    _fill(model, parent)
    if recompute:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model


def lower(model: Any) -> dict[str, Tensor]:
    """Replace the fp32 weights by bf16 copies; returns this rank's fp32 part of each trained one, on the CPU."""
    masters = {}
    for name, parameter in model.named_parameters():
        held = getattr(parameter, "ds_tensor", parameter)
        if parameter.requires_grad:
            masters[name] = held.detach().to("cpu", copy=True)
        held.data = held.data.to(torch.bfloat16)
        parameter.data = parameter.data.to(torch.bfloat16)
    return masters


def _fill(model: Any, parent: Path) -> None:
    shapes = {name: tuple(getattr(one, "ds_shape", one.shape)) for name, one in model.named_parameters()}
    stored = checkpoint.loadable(parent, shapes)
    for name, parameter in model.named_parameters():
        part, first, count = own_part(parameter)
        part[:count].copy_(_read(stored[name], first, count))
        part[count:].zero_()


def own_part(parameter: Any) -> tuple[Tensor, int, int]:
    """(what this rank holds of a parameter, flat; its first number's place in the whole; how many there are)."""
    if not hasattr(parameter, "ds_tensor"):
        return parameter.data.view(-1), 0, parameter.numel()
    part = parameter.ds_tensor.data
    first = part.numel() * dist.get_rank()
    return part, first, max(0, min(part.numel(), parameter.ds_numel - first))


def loaded_digest(model: Any) -> str:
    """A digest of the fp32 weights that all ranks together hold of a model, on every rank.

    It is the same however they are partitioned: a sum, modulo 2^64, over all numbers of their bits times an odd factor
    that follows from the parameter's name and the number's place in it.
    """
    total = 0
    for name, parameter in model.named_parameters():
        part, first, count = own_part(parameter)
        if not hasattr(parameter, "ds_tensor"):  # every rank holds all of it, and adds up its share
            share = -(-count // dist.get_world_size())
            first = min(count, share * dist.get_rank())
            part, count = part[first:], min(share, count - first)
        total += _weighted_bits(part[:count], first, _seed(name))
    return f"sum64:{sum(ranks.of_all(total)) % 2**64:016x}"


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)


def _weighted_bits(part: Tensor, first: int, seed: int) -> int:
    total = 0
    for start in range(0, len(part), BLOCK):
        bits = part[start : start + BLOCK].view(torch.int32).to(torch.int64)
        factor = torch.arange(first + start, first + start + len(bits), device=part.device)
        factor.mul_(-7046029254386353131).add_(seed)  # Weyl's sequence of splitmix64, which is then mixed once
        factor ^= factor >> 29
        factor.mul_(-4658895280553007687).bitwise_or_(1)
        total += int((bits * factor).sum())  # integers wrap at 64 bits
    return total


def _read(stored: weights.StoredTensor, first: int, count: int) -> Tensor:
    """`count` numbers of the flat tensor."""
    dtype = STORED[stored.dtype]
    if not count:
        return torch.empty(0, dtype=dtype)
    block = bytearray(count * dtype.itemsize)
    with stored.file.open("rb") as stream:
        stream.seek(stored.start + first * dtype.itemsize)
        if stream.readinto(block) != len(block):
            raise RunError(f"{stored.file} is cut short.")
    return torch.frombuffer(block, dtype=dtype)
