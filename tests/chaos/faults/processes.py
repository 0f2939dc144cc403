"""What befalls processes: ranks on this machine and on Slurm, launches, wandb-core."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from chaos.faults.fault import Chance, Fault, Lasting
from chaos.processes import Process, launches, ranks, trackers
from chaos.world import World

SHARE_STOPPED, PERIOD = 0.8, 0.25  # of a slow folder


def _signalled(find: Callable[[World], Sequence[Process]], number: signal.Signals) -> Callable[..., Lasting | None]:
    def strike(world: World, chance: Chance) -> Lasting | None:
        if not (found := find(world)):
            return None
        one = chance.of(found)
        return Lasting(one.name) if one.send(number) else None

    return strike


def _stall(world: World, chance: Chance) -> Lasting | None:
    if not (found := ranks(world)):
        return None
    one = chance.of(found)
    if not one.send(signal.SIGSTOP):
        return None
    return Lasting(one.name, lambda: one.send(signal.SIGCONT))


def _slow(world: World, _: Chance) -> Lasting | None:
    """Every process that works in the store waits for it most of the time. Nothing of the file system is slowed: all
    that touch it are stopped and continued, which for them is the same.
    """
    if not ranks(world):
        return None
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.is_set():
            stopped = [*ranks(world), *launches()]
            for one in stopped:
                one.send(signal.SIGSTOP)
            over.wait(SHARE_STOPPED * PERIOD)
            for one in stopped:
                one.send(signal.SIGCONT)
            time.sleep((1 - SHARE_STOPPED) * PERIOD)

    worker = threading.Thread(target=stop_and_go, daemon=True)
    worker.start()

    def heal() -> None:
        over.set()
        worker.join()
        with suppress(OSError):
            for one in (*ranks(world), *launches()):
                one.send(signal.SIGCONT)

    return Lasting("all that work in the store", heal)


def _launches(_: World) -> Sequence[Process]:
    return launches()


def _trackers(_: World) -> Sequence[Process]:
    return trackers()


FAULTS = (
    Fault("rank killed", "KILL for a process of a job", _signalled(ranks, signal.SIGKILL)),
    Fault("rank ended", "TERM for a process of a job", _signalled(ranks, signal.SIGTERM)),
    Fault("rank stalled", "a process of a job is stopped for a while", _stall, (2.0, 12.0)),
    Fault("launch killed", "KILL for a launch", _signalled(_launches, signal.SIGKILL)),
    Fault("launch interrupted", "Ctrl-C for a launch", _signalled(_launches, signal.SIGINT)),
    Fault("wandb-core killed", "KILL for the process that writes W&B's files", _signalled(_trackers, signal.SIGKILL)),
    Fault(
        "slow folder",
        f"all that work in the store wait {SHARE_STOPPED:.0%} of the time (stopped and continued)",
        _slow,
        (2.0, 6.0),
        frozenset({"slow folder"}),
    ),
)
