"""What chaos befalls: a store on a small file system of its own, perhaps a cluster, and the log of what happened."""

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common import ROOT
from slurm_cluster import Cluster

STORE_MB, STORE_INODES = 300, 40_000
TAG = "SFT_SWEEPS_CHAOS"  # in the environment of all that users and faults start
NODES = ("127.0.0.10", "127.0.0.11")  # of the cluster
FAILED_STORE = "failed-store"  # in the folder that is kept: a copy of the store, when something did not hold


@dataclass
class Log:
    """Lines with the seconds since the beginning, on the screen and in a file; what must not have happened."""

    path: Path
    begun: float = field(default_factory=time.monotonic)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        line = f"{time.monotonic() - self.begun:7.1f} s  {text}"
        with self.lock, self.path.open("a") as file:
            file.write(f"{line}\n")
            print(line, flush=True)

    def problem(self, text: str) -> None:
        """Something that must not happen; the end fails."""
        self.problems.append(text)
        self.say(f"PROBLEM: {text}")


@dataclass
class World:
    """`folder` is on the disk and holds all else; `store` is the mounted file system in it."""

    folder: Path
    cluster: Cluster | None
    log: Log
    typed: dict[str, tuple[list[str], str]] = field(default_factory=dict)  # by user: the last launch, and its host
    cut: Counter[str] = field(default_factory=Counter)  # by a stage's folder: how often its record was cut short
    waits: list[threading.Thread] = field(default_factory=list)  # for commands that faults have started
    operating: threading.Lock = field(default_factory=threading.Lock)  # whoever ends or starts a daemon of the cluster
    stopped: set[str] = field(default_factory=set)  # daemons that a fault keeps down

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def environment(self) -> dict[str, str]:
        """Of all that is started here."""
        mine = {TAG: "1", "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1"}
        mine |= {"GLOO_SOCKET_IFNAME": "lo", "TMPDIR": str(self.folder / "tmp")}
        return (self.cluster.env if self.cluster else dict(os.environ)) | mine

    def mount(self) -> None:
        """The store's file system: small, so that filling it costs nothing."""
        for name in ("store", "tmp", "said"):
            (self.folder / name).mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={STORE_MB}m,nr_inodes={STORE_INODES}", "store", self.store)

    def keep(self) -> None:
        """A copy of the store, without weights, for whoever looks into what did not hold."""
        kept = self.folder / FAILED_STORE
        shutil.copytree(self.store, kept, ignore=shutil.ignore_patterns("model", "zero", "socket"), dirs_exist_ok=True)

    def slurm(self, *command: str | Path) -> str:
        """What one of Slurm's commands says; empty where it fails, as it may when the controller is down."""
        assert self.cluster is not None
        try:
            done = self.cluster.run("timeout", "10", *command, check=False)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def start(self, command: Sequence[str | Path], said: Path, host: str = "") -> subprocess.Popen[bytes]:
        """A command of ours in a session of its own, its output in a file; on a machine called `host`."""
        elsewhere = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh"] if host else []
        with said.open("wb") as out:
            return subprocess.Popen(
                [*elsewhere, *command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def run(*command: str | Path) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True, capture_output=True, timeout=60)
