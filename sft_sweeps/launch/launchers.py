"""The places where jobs can run, by the name that `cluster.name` has for them.

A place is a folder of this room (local/, slurm/, debug/), its class with `JobLauncher`'s methods, and a line below.
Another distribution announces its own as an entry point of the group `sft_sweeps.launchers`: an object with them.
"""

import shutil
from typing import Protocol

from rich.console import Console

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import nearest
from sft_sweeps.launch.debug.launcher import DebugLauncher
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.local.launcher import LocalLauncher
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.launch.slurm.launcher import SlurmLauncher
from sft_sweeps.registry import Registry
from sft_sweeps.slurm import queue
from sft_sweeps.store.sweeps import Sweep

AUTO = "auto"


class JobLauncher(Protocol):
    """What a launch asks of a place where jobs run."""

    def disk_policy(self, config: Config) -> DiskPolicy:
        """How many stages train there at the same time, and the key that limits it: what the disk must hold."""

    def problems(self, work: MissingWork) -> list[str]:
        """Why the jobs cannot run there, each text with what to type; starts and writes nothing."""

    def launch(self, work: MissingWork, sweep: Sweep, out: Console) -> int:
        """Run the jobs, or hand them over and return; says what it did on `out`. The exit status."""


LAUNCHERS: Registry[JobLauncher] = Registry(
    "launcher",
    "sft_sweeps.launchers",
    lambda: {"local": LocalLauncher(), "slurm": SlurmLauncher(), "debug": DebugLauncher()},
)


def problems(config: Config) -> list[str]:
    """What is wrong with `cluster.name`."""
    name, valid = config.cluster.name, (*LAUNCHERS.names, AUTO)
    if name in valid:
        return []
    return [f"cluster.name={name} is unknown; valid: {', '.join(valid)}{nearest(name, valid, 'cluster.name=')}"]


def launcher_of(config: Config) -> JobLauncher:
    """The launcher that `cluster.name` names; `auto` is Slurm where a cluster answers, else this machine."""
    name = config.cluster.name
    if name == AUTO:
        name = "slurm" if queue.available() and not queue.unanswered(shutil.which("sbatch")) else "local"
    return LAUNCHERS.get(name)


def fallback(config: Config) -> str:
    """What to say where Slurm's commands are here, nobody typed them, and no cluster answers; else empty."""
    if config.cluster.name != AUTO or not queue.available():
        return ""
    why = queue.unanswered(shutil.which("sbatch"))
    return f"no Slurm cluster answers ({why}), so jobs run on this machine; cluster=slurm insists on it" if why else ""
