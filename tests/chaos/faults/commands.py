"""What users themselves do at a bad moment: the same launch twice, gc, cancel, status."""

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chaos.faults.fault import Chance, Fault, Lasting
from chaos.users import judged
from chaos.world import World

HANGS = 120.0  # seconds
THIRD = "third"  # the host of a second launch of a user who launches on this machine
_numbers = itertools.count(1)


def _started(
    world: World, words: Sequence[str], name: str, host: str = "", number: signal.Signals | None = None
) -> Any:
    """A command; when the fault is over it gets a signal, if any, and is waited for and judged, by a thread."""
    said = world.folder / "said" / f"{name}-{next(_numbers):03d}.txt"
    process = world.start(words, said, host)

    def heal() -> None:
        if number and process.poll() is None:
            process.send_signal(number)
        world.waits.append(threading.Thread(target=_ended, args=(world, process, said), daemon=True))
        world.waits[-1].start()

    return Lasting(said.stem, heal)


def _ended(world: World, process: subprocess.Popen[bytes], said: Path) -> None:
    try:
        process.wait(HANGS)
    except subprocess.TimeoutExpired:
        world.log.problem(f"{said.name} hangs")
        process.kill()
        process.wait()
    judged(world, process, said)


def _command(world: World, *words: str) -> Lasting:
    """One of `sft-sweeps`."""
    line = (sys.executable, "-m", "sft_sweeps.commands.main", *words, "--output-dir", str(world.store))
    return _started(world, line, words[0])


def _of_sweep(*words: str) -> Callable[[World, Chance], Lasting | None]:
    """A command about one of the two newest sweeps."""

    def strike(world: World, chance: Chance) -> Lasting | None:
        sweeps = sorted(path.name for path in (world.store / "sweeps").glob("*"))[-2:]
        return _command(world, words[0], chance.of(sweeps), *words[1:]) if sweeps else None

    return strike


def _gc(world: World, _: Chance) -> Lasting | None:
    return _command(world, "gc", "--older-than", "0", "--yes")


def _launched_too(world: World, chance: Chance) -> Lasting | None:
    """What a user has typed last is typed once more, elsewhere where it runs on this machine; then Ctrl-C."""
    if not world.typed:
        return None
    words, host = world.typed[chance.of(sorted(world.typed))]
    return _started(world, words, "too", host and THIRD, signal.SIGINT)


FAULTS = (
    Fault("launched twice", "the same launch once more, and Ctrl-C after a while", _launched_too, (5.0, 15.0)),
    Fault("gc", "sft-sweeps gc --older-than 0 --yes, while others work", _gc, (3.0, 6.0)),
    Fault("cancelled", "sft-sweeps cancel", _of_sweep("cancel", "--yes"), (3.0, 6.0)),
    Fault("status", "sft-sweeps status, at a bad moment", _of_sweep("status", "--json"), (3.0, 6.0)),
)
