"""`sft-sweeps doctor slurm` on a real Slurm: what is well, what is not, and what to change."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import Cluster

from sft_sweeps.commands import main
from sft_sweeps.commands.doctor import node, slurm
from sft_sweeps.commands.doctor.slurm import Finding, SlurmRequest
from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.slurm.cluster import NodeKind, Partition, PartitionPolicy, parse_limits
from sft_sweeps.slurm.submit_limits import SubmitLimit

Said = dict[str, Finding]


@pytest.fixture
def here(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.chdir(tmp_path)
    return cluster


def said(*options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Said]:
    """The exit status, and the findings by what they are about."""
    status = main.main(["doctor", "slurm", "--json", *options])
    told = json.loads(capsys.readouterr().out)
    found = [Finding(**{key: one[key] for key in one.keys() - {"topic"}}) for one in told["findings"]]
    assert all(bool(one.change) == (one.level == "problem") for one in found)
    assert (status, told["ok"]) == ((0, True) if all(one.level != "problem" for one in found) else (1, False))
    return status, {one.about: one for one in found}


def levels(found: Said) -> dict[str, str]:
    return {about: one.level for about, one in found.items()}


def test_all_is_well(here: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(here.queue())
    status, found = said("--on-node", capsys=capsys)
    assert status == 0
    expected = dict.fromkeys(
        ["commands", "controller", "arrays", "preemption", "time limit", "node", "package", "submit limits"], "ok"
    )
    expected |= dict.fromkeys(
        ["partition main (default)", "partition low", "preemption on main", "output_dir", "scontrol", "host name"], "ok"
    )
    # No accounting here; and no driver behind pretended GPUs, unless this machine has real ones.
    expected |= {"accounting": "warning"}
    seen = levels(found)
    assert seen.pop("GPUs") in ("warning", "ok")
    assert {about: level for about, level in seen.items() if about != "python"} == expected
    assert "2 nodes of 64 CPUs, 195 GB, 8 GPUs; no time limit" in found["partition low"].text
    assert found["GPUs"].text.startswith("1 was given as asked")
    assert "10,001 each at most" in found["arrays"].text
    assert "known for 600 s (MinJobAge)" in found["accounting"].text
    assert len(here.queue()) == before + 1
    assert list(tmp_path.iterdir()) == []  # neither the store nor anything else was made


def test_as_text(here: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(here.queue())
    assert main.main(["doctor", "slurm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("0 problems")
    assert len(lines) > 8
    assert all(re.match(r"(ok     |warning|problem) [a-zA-Z]", line) for line in lines[:-1])
    assert main.main(["doctor", "slurm", "--partition", "[bold]gpu"]) == 1
    last = capsys.readouterr().out.splitlines()
    assert "problem partition: there is no [bold]gpu; change: cluster.partition=NAME, one of main, low" in last
    assert last[-1].startswith("1 problem")
    assert len(here.queue()) == before


def test_a_partition_that_is_not_there(here: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(here.queue())
    status, found = said("--partition", "gpu", "--on-node", capsys=capsys)
    assert (status, levels(found)["partition"]) == (1, "problem")
    assert "node" not in found
    assert len(here.queue()) == before


def test_nodes_that_are_away(here: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        here.run("scontrol", "update", "NodeName=127.0.0.10", "State=DRAIN", "Reason=test")
        status, found = said(capsys=capsys)
        assert (status, "1 of them down or drained" in found["partition low"].text) == (0, True)
        here.run("scontrol", "update", "NodeName=127.0.0.11", "State=DRAIN", "Reason=test")
        status, found = said("--partition", "low", capsys=capsys)
        assert status == 1
        assert levels(found)["partition main (default)"] == "warning"
        assert found["partition low"].level == "problem"
        assert "every node is down or drained" in found["partition low"].text
    finally:
        here.run("scontrol", "update", "NodeName=127.0.0.1[0-1]", "State=RESUME")


def test_no_free_node(here: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    job = here.sbatch("sleep 60", "--nodes=2", "--exclusive")
    here.wait(job, states=["RUNNING"])
    monkeypatch.setattr(node, "PATIENCE", 1)
    status, found = said("--on-node", capsys=capsys)
    here.run("scancel", job)
    here.wait(job)
    assert (status, found["node"].level) == (1, "problem")
    assert "try again later" in found["node"].change


def test_a_python_that_nodes_do_not_have(
    here: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here.queue() is not None
    monkeypatch.setattr(sys, "executable", "/absent/python")
    status, found = said("--on-node", capsys=capsys)
    assert (status, found["node"].level) == (1, "problem")
    assert "/absent/python" in found["node"].text
    assert "cluster.python=PATH" in found["node"].change


def test_a_place_that_cannot_be_used(here: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert here.queue() is not None
    (tmp_path / "file").write_text("")
    status, found = said("--on-node", "--output-dir", "/proc/here", capsys=capsys)
    assert (status, found["output_dir"].level) == (1, "problem")
    assert "output_dir=FOLDER" in found["output_dir"].change
    assert said("--output-dir", "file/deep", capsys=capsys)[0] == 0  # the folder above is looked at


def test_a_stopped_controller(here: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    here.stop("slurmctld")
    try:
        status, found = said("--on-node", capsys=capsys)
    finally:
        here.start("slurmctld")
    assert status == 1
    assert levels(found) == {"commands": "ok", "controller": "problem"}
    assert "no answer (" in found["controller"].text
    assert "DOWN" in found["controller"].text
    assert "\n" not in found["controller"].text


NO_CLUSTER = """#!/bin/sh
echo "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
sbatch: error: fetch_config: DNS SRV lookup failed
sbatch: error: _establish_config_source: failed to fetch config
sbatch: fatal: Could not establish a configuration source" >&2
exit 1
"""


def test_a_machine_of_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, found = said("--on-node", capsys=capsys)
    assert (status, levels(found)) == (1, {"commands": "problem"})
    assert "cluster=local" in found["commands"].change
    for name in slurm.NEEDED:
        (tmp_path / name).write_text(NO_CLUSTER)
        (tmp_path / name).chmod(0o755)
    status, found = said("--on-node", capsys=capsys)
    assert (status, levels(found)) == (1, {"controller": "problem"})
    assert "SLURM_CONF" in found["controller"].change


def limits(**others: Any) -> list[Finding]:
    return list(slurm._limits(replace(parse_limits("PreemptType=preempt/none"), **others)))


@pytest.mark.parametrize(
    ("others", "about", "level", "text"),
    [
        ({}, "preemption", "ok", "off"),
        ({"preempt_type": "qos", "preempt_mode": "CANCEL"}, "preemption", "warning", "launching again continues"),
        ({"preempt_type": "qos", "preempt_mode": "GANG,REQUEUE"}, "preemption", "warning", "save_every_seconds"),
        ({"max_array_size": 1001, "max_array_tasks": 50}, "arrays", "ok", "50 each at most"),
        ({"requeue": False}, "requeue", "warning", "JobRequeue=0"),
        ({"private_jobs": True}, "privacy", "warning", "never taken over"),
        ({"min_job_age": 300}, "accounting", "warning", "known for 300 s"),
    ],
)
def test_limits(others: dict[str, Any], about: str, level: str, text: str) -> None:
    found = {one.about: one for one in limits(**others)}
    assert found[about].level == level
    assert text in found[about].text


def test_what_a_partition_does_with_its_preempted_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the cluster says as a whole; nothing, where nothing is preempted."""
    modes = {"cheap": "CANCEL", "low": "REQUEUE", "main": "OFF", "old": "GANG,SUSPEND"}
    known = {name: PartitionPolicy(mode, "", default=name == "main") for name, mode in modes.items()}
    monkeypatch.setattr(slurm, "policies", lambda: known)
    allowed = replace(parse_limits(""), preempt_type="partition_prio", preempt_mode="REQUEUE")
    found = {one.about: one for one in slurm._partition_preemption("cheap,low,main,old", allowed)}
    levels = {name: found[f"preemption on {name}"].level for name in modes}
    assert levels == {"cheap": "warning", "low": "ok", "main": "ok", "old": "warning"}
    assert "--until-done" in found["preemption on cheap"].text
    assert [one.about for one in slurm._partition_preemption("", allowed)] == ["preemption on main"]
    assert list(slurm._partition_preemption("cheap", replace(allowed, preempt_type=""))) == []


def test_submit_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "policies", lambda: {"low": PartitionPolicy("OFF", "cheap")})
    monkeypatch.setattr(slurm.shutil, "which", lambda _: "/usr/bin/sacctmgr")
    asked: list[Any] = []

    def known(*words: Any) -> list[SubmitLimit]:
        asked.append(words[1:])
        return [SubmitLimit("MaxSubmitJobsPerUser of qos cheap", 0), SubmitLimit("GrpSubmitJobs of account a", 90)]

    monkeypatch.setattr(slurm, "submit_limits", known)
    cluster, allowed = ClusterConfig(partition="low", account="a", max_submitted=7), parse_limits("")
    found = list(slurm._submit_limits(cluster, replace(allowed, enforces_limits=True)))
    assert asked == [({"a"}, {"", "cheap"})]
    assert [(one.level, one.text.split(":")[0]) for one in found] == [
        ("problem", "MaxSubmitJobsPerUser of qos cheap"),
        ("ok", "GrpSubmitJobs of account a"),
        ("ok", "cluster.max_submitted"),
    ]
    assert [one.level for one in slurm._submit_limits(ClusterConfig(), allowed)] == ["ok"]
    assert len(asked) == 1


def test_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sacct").write_text("#!/bin/sh\n")
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {one.about: one.level for one in limits(accounting=True)}["accounting"] == "ok"
    (tmp_path / "sacct").unlink()
    assert "there is no sacct here" in next(one.text for one in limits(accounting=True) if one.about == "accounting")


def test_no_default_partition() -> None:
    kind = NodeKind(1, 0, 128, 1031000, 8, "a100", ())
    one = Partition("gpu", False, True, 1500, (kind,))
    partition, problem = slurm._partitions((one,), "")
    assert (
        partition.text == "1 node of 128 CPUs, 1,007 GB, 8 GPUs (a100); time limit 25:00:00 (cluster.time at most that)"
    )
    assert (problem.level, problem.change) == ("problem", "cluster.partition=NAME, one of gpu")
    assert [found.level for found in slurm._partitions((one,), "gpu")] == ["ok"]
    assert [found.level for found in slurm._partitions((replace(one, up=False),), "gpu")] == ["problem"]


def test_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    rows = [
        "/ ext4",
        f"{tmp_path} tmpfs",
        f"{tmp_path}/a\\040b nfs4",
        f"{tmp_path}/twice xfs",
        f"{tmp_path}/twice lustre",
    ]
    mounts.write_text("".join(f"x {row} rw 0 0\n" for row in rows))
    kinds = [slurm.file_system(tmp_path / name, mounts) for name in ("..", "x", "a b/c", "a", "twice/y")]
    assert kinds == ["ext4", "tmpfs", "nfs4", "tmpfs", "lustre"]
    assert slurm.file_system(tmp_path, tmp_path / "absent") == ""


@pytest.mark.parametrize(
    ("kind", "on_node", "level"),
    [("tmpfs", False, "problem"), ("nfs4", False, "ok"), ("fuse.sshfs", True, "ok"), ("ext4", False, "warning")],
)
def test_folders(kind: str, on_node: bool, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "file_system", lambda _: kind)
    found = list(slurm._folders(SlurmRequest(tmp_path / "absent", ClusterConfig(), on_node=on_node)))
    assert [(one.about, one.level) for one in found] == [("output_dir", level), ("python", level)]
    monkeypatch.setattr(slurm, "file_system", lambda _: "ext4")
    assert (
        list(slurm._folders(SlurmRequest(tmp_path, ClusterConfig(), on_node=True))) == []
    )  # the node itself will tell
