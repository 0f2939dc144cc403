"""Attacks on the sandbox, run for real against victims made for the purpose: `sft-sweeps doctor sandbox`.

Each attack is a program that comes to its end only if it got what it wanted; what others leave is looked for from
outside. They use `ctypes` and `os` alone, so that none fails for want of an import.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import layers, removal
from sft_sweeps.sandbox.hostile.attack import Attack
from sft_sweeps.sandbox.hostile.files import FILES
from sft_sweeps.sandbox.hostile.forging import ANSWER, FORGING
from sft_sweeps.sandbox.hostile.limits import LIMITS
from sft_sweeps.sandbox.hostile.network import NETWORK
from sft_sweeps.sandbox.hostile.processes import PROCESSES
from sft_sweeps.sandbox.run import execute
from sft_sweeps.sandbox.servers import GRACE
from sft_sweeps.sandbox.task import Task
from sft_sweeps.sandbox.victims import Victims, victims

__all__ = ["ATTACKS", "Attack", "Result", "main", "run", "suite", "victims"]
ATTACKS: tuple[Attack, ...] = (*FILES, *NETWORK, *PROCESSES, *LIMITS, *FORGING)
TIMEOUT = 2.0
MEMORY_MB = 512
LATE = 1.5  # seconds that a daemon would need to leave its mark


@dataclass(frozen=True)
class Result:
    """Whether the sandbox held, and the reason that the run gave."""

    attack: Attack
    held: bool
    reason: str
    seconds: float


def run(attack: Attack, against: Victims, isolation: Isolation) -> Result:
    """One attack; it is held when it did not come to its end, changed no victim and left nothing behind."""
    before = against.state()
    started = time.monotonic()
    with _temporary() as folder:
        task = _task(attack, against, isolation)
        outcome = execute(task, timeout=TIMEOUT, memory_mb=MEMORY_MB, isolation=isolation)
        left = os.listdir(folder)
    seconds = time.monotonic() - started
    if attack.late:
        time.sleep(LATE)
    unharmed = against.state() == before and not left and seconds < TIMEOUT + GRACE
    return Result(attack, not outcome.passed and unharmed, outcome.reason, seconds)


def _task(attack: Attack, against: Victims, isolation: Isolation) -> Task:
    program = attack.program
    for name, value in against.values().items():
        program = program.replace(f"{{{name}}}", str(value))
    program = program.replace("{{", "{").replace("}}", "}")
    check = f"assert answer() == {ANSWER}" if "def answer" in program else ""
    return Task(program, check, "answer" if isolation.strict else "")


@contextmanager
def _temporary() -> Iterator[str]:
    """A place of its own for runs' folders, so that what they leave is seen."""
    before = tempfile.tempdir
    folder = tempfile.mkdtemp(prefix="sft-sweeps-attack-")
    os.chmod(folder, 0o711)
    tempfile.tempdir = folder
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        removal.remove(folder)


def suite(isolation: Isolation, only: Callable[[Attack], bool] = lambda _: True) -> Iterator[Result]:
    """The attacks on what this isolation gives, each against victims of its own; some need a strict run and get one."""
    for attack in filter(only, ATTACKS):
        chosen = replace(isolation, strict=isolation.strict or attack.strict)
        if attack.property == "names" and layers.lacking(chosen, ("names",)):
            continue  # it would succeed, and is not said to be held
        with victims() as made:
            yield run(attack, made, chosen)


def main() -> int:
    """`python -m sft_sweeps.sandbox.attacks [ISOLATION] [strict]`: one line an attack; 1 when one got through."""
    mode = sys.argv[1] if len(sys.argv) > 1 else "auto"
    isolation = Isolation(mode=mode, strict="strict" in sys.argv)
    print("active:", ", ".join(layers.describe(isolation)))
    lost = 0
    for result in suite(isolation):
        lost += not result.held
        print(f"{'held' if result.held else 'LOST':5}{result.attack.property:10} {result.attack.name}: {result.reason}")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
