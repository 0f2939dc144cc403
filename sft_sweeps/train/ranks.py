"""The ranks of a stage: how they meet, and the few things that they tell each other.

RANK, WORLD_SIZE and LOCAL_RANK say which process this is. Alone, it tells itself at no cost.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from sft_sweeps.errors import RunError

TIMEOUT = timedelta(minutes=30)  # of a collective: rank 0 may be writing a large model meanwhile


def device() -> torch.device:
    """Where this rank computes."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def process_group(processes: int, rendezvous: str = "") -> Iterator[None]:
    """The ranks meet at the file `rendezvous` (empty: MASTER_ADDR and MASTER_PORT).

    One rank alone needs none and may train again; a process that was one of several joins no second time.
    """
    rank, found = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if found != processes:
        raise RunError(f"WORLD_SIZE={found}, but the stage is to run on {processes} processes.")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if processes > 1:
        # A store of our own: a path in the address of an init method may not hold `#` or `?`.
        store = dist.FileStore(rendezvous, processes) if rendezvous else None  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=TIMEOUT)
    elif not dist.is_initialized():
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if processes > 1:
            dist.destroy_process_group()


def agree(mine: bool) -> bool:
    """Whether it is so on every rank."""
    return sums([float(not mine)])[0] == 0


def sums(values: Sequence[float]) -> list[float]:
    """The sums over the ranks."""
    if dist.get_world_size() == 1:
        return list(values)
    added = torch.tensor(values, dtype=torch.float64, device=device())
    dist.all_reduce(added)
    return [float(value) for value in added.tolist()]


def from_first(value: Any) -> Any:
    """Rank 0's value, on every rank."""
    if dist.get_world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0, device=device())
    return held[0]
