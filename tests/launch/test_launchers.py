"""Where jobs can run: this machine, Slurm, and what another distribution adds without a line in this package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT, Points

from sft_sweeps.launch.launchers import fallback, launcher_of
from sft_sweeps.launch.local.launcher import LocalLauncher
from sft_sweeps.launch.slurm.launcher import SlurmLauncher

THEIRS = """
from sft_sweeps.launch.disk import DiskPolicy

class Launcher:
    def disk_policy(self, config):
        return DiskPolicy(3, "theirs.limit", config.store.retention)

    def problems(self, work):
        return [] if work.config.cluster.threads in (None, 1) else ["theirs has one thread; type cluster.threads=1"]

    def launch(self, work, sweep, out):
        out.print(f"handed over {len(work.jobs)} jobs of {work.plan.runs[0].label}")
        return 0

LAUNCHER = Launcher()
"""


@pytest.mark.parametrize(
    ("sinfo", "said"),
    [
        ("echo all", ""),
        ("echo slurm_load_partitions: Unable to contact slurm controller >&2; exit 1", "Unable to contact"),
        ("echo resolve_ctls_from_dns_srv: res_nsearch error: Unknown host >&2; exit 1", "Unknown host"),
        (None, ""),
    ],
)
def test_auto_is_slurm_where_a_cluster_answers(
    sinfo: str | None, said: str, points: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without a cluster, or whose cluster is down, is said in a line; typed, Slurm is what was meant."""
    for name, script in {"sbatch": "", "sinfo": sinfo}.items() if sinfo is not None else ():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    config = points("model=mini", "cluster.name=auto")[0].config
    assert isinstance(launcher_of(config), SlurmLauncher if sinfo and not said else LocalLauncher)
    assert (said in fallback(config)) if said else not fallback(config)
    assert not fallback(points("model=mini", "cluster.name=slurm")[0].config)
    assert isinstance(launcher_of(points("model=mini", "cluster.name=slurm")[0].config), SlurmLauncher)
    assert isinstance(launcher_of(points("model=mini", "cluster.name=local")[0].config), LocalLauncher)


def test_another_distributions_launcher_is_asked_and_gets_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sft_sweeps.launchers]\ntheirs = theirs:LAUNCHER\n")
    line = [sys.executable, str(ROOT / "launch.py"), "model=mini", "data=mini", "train=mini", "evaluate=none"]
    line += ["tracking=none", "cluster.name=theirs", f"output_dir={tmp_path / 'out'}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}

    def launch(*overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*line, *overrides], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    refused = launch("cluster.threads=2")
    assert (refused.returncode, "type cluster.threads=1" in refused.stderr) == (2, True), refused
    assert not (tmp_path / "out").exists()
    done = launch()
    assert done.returncode == 0, done.stderr
    assert "handed over 2 jobs of mini" in done.stdout
