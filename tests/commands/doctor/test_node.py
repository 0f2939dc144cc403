"""`sft-sweeps doctor slurm --on-node`: what a node may lack, told by programs that nodes of a real Slurm run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from common import ROOT
from slurm_cluster import Cluster

from sft_sweeps.commands.doctor import node
from sft_sweeps.config.cluster_schema import ClusterConfig


@pytest.fixture
def here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    return cluster


WELL: dict[str, Any] = {
    "node": "n1",
    "python": "3.11.7",
    "package": "",
    "missing": [],
    "seen": True,
    "written": "",
    "scontrol": "",
    "resolves": True,
    "gpus": ["0"],
    "nvidia": ["NVIDIA A100-SXM4-80GB, 81920 MiB"],
}


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let nodes run another program, through srun, on a site that greets its jobs."""

    def program(text: str) -> None:
        (tmp_path / "probe.py").write_text(f"import json, sys\nprint('welcome')\n{text}\n")
        monkeypatch.setattr(node, "PROBE", tmp_path / "probe.py")

    return program


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ({}, ("GPUs", "ok", "A100")),
        ({"package": "No module named 'sft_sweeps'"}, ("package", "problem", "No module named")),
        ({"missing": ["torch", "deepspeed"]}, ("package", "problem", "torch, deepspeed")),
        ({"seen": False}, ("output_dir", "problem", "does not see what is written here")),
        ({"written": "Read-only file system"}, ("output_dir", "problem", "Read-only")),
        ({"scontrol": "No such file"}, ("scontrol", "warning", "waits until you launch again")),
        ({"resolves": False}, ("host name", "problem", "cannot meet")),
        ({"gpus": []}, ("GPUs", "problem", "none was given")),
        ({"nvidia": None}, ("GPUs", "warning", "no nvidia-smi")),
        ({"nvidia": []}, ("GPUs", "problem", "nvidia-smi fails")),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_a_node_may_lack(
    fact: dict[str, Any], expected: tuple[str, str, str], answer: Callable[[str], None], tmp_path: Path
) -> None:
    about, level, text = expected
    answer(f"open(sys.argv[1] + '/there', 'w').write(sys.argv[2]); print(json.dumps({WELL | fact!r}))")
    found = {one.about: one for one in node.findings(tmp_path, ClusterConfig(partition="low"), gpus=True)}
    assert (found[about].level, bool(found[about].change)) == (level, level == "problem")
    assert text in found[about].text
    others = {one.level for one in found.values() if one.about != about}
    assert others == {"ok"}
    assert len(found) == 6


@pytest.mark.usefixtures("here")
def test_a_node_whose_files_do_not_come_back(
    answer: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(f"print(json.dumps({WELL!r}))")
    monkeypatch.setattr(node.time, "sleep", lambda _: None)
    found = {one.about: one for one in node.findings(tmp_path, ClusterConfig(), gpus=False)}
    assert found["output_dir"].level == "problem"
    assert "not seen here" in found["output_dir"].text
    assert "GPUs" not in found
    assert [path.name for path in tmp_path.iterdir()] == ["probe.py"]


def test_asked_from_within_a_job(here: Cluster) -> None:
    """srun would make a step of the job that asks."""
    command = ["doctor", "slurm", "--on-node", "--output-dir", "/tmp"]
    program = f"from sft_sweeps.commands.main import main; raise SystemExit(main({command}))"
    asked = here.run("srun", "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", program)
    assert "ran a job with this Python" in asked.stdout
    newest = here.run("squeue", "-h", "-t", "all", "--sort=-i", "-o", "%j").stdout.splitlines()
    assert newest[:2] == ["sft-sweeps-doctor", "env"]


def test_a_node_runs_what_a_job_would(here: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup first, then the configured Python in the container; what fails there is the answer."""
    monkeypatch.setenv("SLURM_CONF", str(here.conf))
    ran = tmp_path / "ran"
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho "$WORD in $BOX" > {ran}\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    cluster = ClusterConfig(setup=["export WORD=set"], container="env BOX=container", python=str(wrapper))
    found = {one.about: one for one in node.findings(tmp_path, cluster, gpus=False)}
    assert found["node"].level == "ok"
    assert ran.read_text() == "set in container\n"
    (refused,) = node.findings(tmp_path, ClusterConfig(setup=["source /absent/activate"]), gpus=False)
    assert (refused.about, refused.level) == ("node", "problem")
    assert "/absent/activate" in refused.text
    assert "cluster.setup" in refused.change
