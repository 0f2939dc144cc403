"""The ranks of a stage: how they meet, and the few values that they exchange.

RANK, WORLD_SIZE and LOCAL_RANK say which process this is. One rank alone exchanges nothing.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import read_json, write_json

TIMEOUT = timedelta(minutes=30)  # of the rendezvous, and of a collective: rank 0 may be writing a large model meanwhile
LONGEST_PAUSE_SECONDS = 1.0  # between two tries to read what rank 0 writes


def device() -> torch.device:
    """Where this rank computes."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def process_group(processes: int, rendezvous: str = "") -> Iterator[None]:
    """The ranks meet where the file `rendezvous` says (empty: at MASTER_ADDR and MASTER_PORT).

    Rank 0 listens at a port that the system has free and writes the file; the others wait for it. It must be new in
    every attempt: what an earlier one left would send them to a port where nobody listens any more. One rank alone
    needs none and may train again; a process that was one of several joins no second time. RunError when they have
    not all come within TIMEOUT.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if world != processes:
        raise RunError(f"WORLD_SIZE={world}, but the stage is to run on {processes} processes.")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if processes > 1:
        store = _meet(Path(rendezvous), rank, processes) if rendezvous else None
        dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=TIMEOUT)
    elif not dist.is_initialized():
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if processes > 1:
            dist.destroy_process_group()


def _meet(path: Path, rank: int, processes: int) -> Any:
    """The store that rank 0 serves, once all ranks have come to it."""
    try:
        if rank == 0:
            store = _store("127.0.0.1", 0, processes, serves=True)
            host = os.environ.get("SLURMD_NODENAME", "127.0.0.1")  # without Slurm, all are on this machine
            write_json(path, {"host": host, "port": store.port}, durable=False)
        else:
            address = _address_of_first(path)
            store = _store(address["host"], address["port"], processes, serves=False)
        store.set(f"rank {rank}", "")
        for other in range(processes):
            store.wait([f"rank {other}"], TIMEOUT)
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(
            f"rank {rank} gave up: not all of the {processes} ranks met at {path} within {TIMEOUT} ({reason}). "
            "The logs of the other ranks say why they did not come; launch again."
        ) from error
    return store


def _store(host: str, port: int, processes: int, *, serves: bool) -> Any:
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, port, processes, serves, TIMEOUT, wait_for_workers=False
    )


def _address_of_first(path: Path) -> dict[str, Any]:
    """The host and port that rank 0 wrote; TimeoutError when it has not within TIMEOUT."""
    deadline, pause = time.monotonic() + TIMEOUT.total_seconds(), 0.02
    while time.monotonic() < deadline:
        # NFS remembers that a file was not there until the folder is listed.
        with suppress(OSError):
            os.listdir(path.parent)
            if (address := read_json(path)) is not None:
                return dict(address)
        time.sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
    raise TimeoutError("rank 0 never wrote it")


def agree(mine: bool) -> bool:
    """Whether `mine` is true on every rank."""
    return sums([float(not mine)])[0] == 0


def sums(values: Sequence[float]) -> list[float]:
    """The sums over the ranks."""
    if dist.get_world_size() == 1:
        return list(values)
    added = torch.tensor(values, dtype=torch.float64, device=device())
    dist.all_reduce(added)
    return [float(value) for value in added.tolist()]


def most(value: float) -> float:
    """The largest of the ranks' values."""
    if dist.get_world_size() == 1:
        return value
    largest = torch.tensor(value, dtype=torch.float64, device=device())
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return float(largest)


def from_first(value: Any) -> Any:
    """Rank 0's value, on every rank."""
    if dist.get_world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0, device=device())
    return held[0]


def by_first(work: Callable[[], object]) -> None:
    """Rank 0 does it; where that ends in a RunError, every rank raises it."""
    problem = ""
    if dist.get_rank() == 0:
        try:
            work()
        except RunError as error:
            problem = str(error)
    if problem := str(from_first(problem)):
        raise RunError(problem)


def of_all(value: Any) -> list[Any]:
    """Every rank's value, on every rank, in the order of the ranks."""
    if dist.get_world_size() == 1:
        return [value]
    held: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(held, value)
    return held
