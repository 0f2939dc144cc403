"""A store and a checkout from which sweeps are launched on the tests' own Slurm."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT
from slurm_cluster import Cluster

from sft_sweeps.jobs import attempts, submissions
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, find
from sft_sweeps.tracking import metrics

LONG = 300.0  # seconds, of a machine that is loaded


@dataclass(frozen=True)
class Site:
    """A store, and a checkout from which sweeps are launched into it."""

    cluster: Cluster
    store: Store
    checkout: Path = ROOT

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        """`python launch.py ...`."""
        command = [sys.executable, "launch.py", *overrides, f"output_dir={self.store.root}"]
        environment = self.cluster.env | {"PYTHONPATH": str(self.checkout)}
        return subprocess.Popen(
            command, cwd=self.checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def launch(self, *overrides: str, status: int = 0) -> str:
        """The same, and what it says."""
        process = self.start(*overrides)
        out, _ = process.communicate(timeout=LONG)
        assert process.returncode == status, out
        return out

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`sft-sweeps ...`."""
        command = (sys.executable, "-m", "sft_sweeps.commands.main", *arguments, "--output-dir", str(self.store.root))
        return self.cluster.run(*command, check=False, cwd=ROOT)

    def status(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.command("status", name, "--json").stdout))

    def ended(self, name: str, seconds: float = LONG) -> dict[str, Any]:
        """The status of a sweep, once nothing of it can go on by itself."""
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.status(name))
            active = ("running", "pending", "requeued", "unknown")
            return not any(one["state"] in active for one in (*found["stages"], *found["jobs"]))

        self.until(over, seconds, lambda: json.dumps(found, indent=1))
        return found

    def until(self, happens: Callable[[], object], seconds: float = LONG, why: Callable[[], str] = lambda: "") -> None:
        end = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < end, f"{why()}\n{self.cluster.log()}"
            time.sleep(0.2)

    def sweep(self, name: str) -> Sweep:
        return find(self.store, name)

    def number(self, name: str, stage: Stage) -> str:
        """Slurm's of the job that trains a stage."""
        return submissions.latest(self.sweep(name).folder)[f"train-{stage.id}"].number

    def step(self, stage: Stage) -> int:
        return int(metrics.last(self.folder(stage)).get("step", 0))

    def folder(self, stage: Stage) -> Path:
        return Store(self.store.root).folder(stage)

    def digests(self, plan: Plan) -> dict[str, str]:
        """Of the finished weights, by label."""
        store = Store(self.store.root)
        return {stage.label: (store.record(stage) or {"digest": "none"})["digest"] for stage in plan.stages}

    def starts(self, stage: Stage) -> int:
        return attempts.usage(self.folder(stage), running=False).starts

    def ranks(self, job: str, signal: str, rank: int) -> None:
        """Send a signal to one process of a running job."""
        pattern = f"SLURM_PROCID={rank}\0"
        for place in Path("/proc").glob("[0-9]*"):
            try:
                environment = (place / "environ").read_text(errors="replace")
                words = (place / "cmdline").read_text(errors="replace").split("\0")
            except OSError:
                continue
            if (
                f"SLURM_JOB_ID={job}\0" in environment
                and pattern in environment
                and "sft_sweeps.worker.slurm_entry" in words
                and not words[0].endswith("srun")  # which has the first task's environment
            ):
                subprocess.run(["kill", f"-{signal}", place.name], check=True)
                return
        raise AssertionError(f"no process {rank} of job {job}")
