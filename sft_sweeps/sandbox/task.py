"""What is to be run, and the order that tells a keeper of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sft_sweeps.sandbox import seccomp, system
from sft_sweeps.sandbox.inside import order


@dataclass(frozen=True)
class Task:
    """A program and the checks that run in its namespace.

    `entry` names the function that the checks call and `given` is trusted code that they may use besides: a strict run
    needs both apart from the program.
    """

    program: str
    check: str
    entry: str = ""
    given: str = ""


def request(
    task: Task, nonce: str, mode: str, layers: Sequence[str], *, timeout: float = 10.0, memory_mb: int = 512
) -> bytes:
    """The order for a keeper: how the candidate is confined, by layers and limits (seconds, MiB), and what it runs."""
    preload = system.preloads() and "bubblewrap" not in layers  # inside it, the library can be read
    limits = f"{timeout} {memory_mb * 2**20} {system.drops_to() or 0} {int(preload)}"
    readable = "\0".join(system.readable("bubblewrap" in layers))
    told = (mode, " ".join(layers), task.entry, readable, task.program, seccomp.program(), limits)
    return order.part(told) + order.part((nonce, task.check, task.given))
