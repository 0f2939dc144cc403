"""What a real Slurm says is what the package reads, whatever state its jobs, nodes and controller are in."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from slurm_cluster import Cluster, running

from sft_sweeps.errors import RunError
from sft_sweeps.slurm import cluster as cluster_facts
from sft_sweeps.slurm import queue as slurm
from sft_sweeps.slurm.cluster import NodeKind
from sft_sweeps.slurm.queue import ENDED, Past, Queue

ME = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
ODD = "a b|c\n7 (x) ü\x1f"


@pytest.fixture
def here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """This process talks to the cluster, with a user's wishes for his own screen that must not matter."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setenv("SQUEUE_PARTITION", "low")
    monkeypatch.setenv("SINFO_SORT", "P")
    return cluster


@pytest.fixture
def silent(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose controller does not answer."""
    conf = re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=1\nMessageTimeout=1", cluster.conf.read_text())
    (tmp_path / "slurm.conf").write_text(conf)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))


def test_the_queue_tells_every_state(here: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(slurm, "ask", lambda *command: calls.append(command[0]) or cluster_facts.ask(*command))
    runs = here.sbatch("sleep 60", "--job-name", ODD, "--time=5", "--partition=low")
    array = here.sbatch("test $SLURM_ARRAY_TASK_ID != 1", "--array=0-2", "--job-name=an-array")
    waits = here.sbatch("true", "--array=3-9:3", f"--dependency=afterok:{runs}")
    never = here.sbatch("true", "--nodes=3")
    held = here.sbatch("true", "--hold")
    ended = here.sbatch("sleep 60")
    here.wait(runs, ended, states=["RUNNING"])
    here.run("scancel", ended)
    here.wait(array, ended)
    here.wait(never, states=["PENDING"])
    queue = Queue()
    found = {job: queue.entry(job, ME) for job in (runs, f"{array}_0", f"{array}_1", f"{waits}_6", never, held, ended)}
    states = [(entry.state, entry.reason, entry.alive) for entry in found.values() if entry]
    assert states == [
        ("RUNNING", "", True),
        ("COMPLETED", "", False),
        ("FAILED", "NonZeroExitCode", False),
        ("PENDING", "Dependency", True),
        ("PENDING", "PartitionNodeLimit", True),
        ("PENDING", "JobHeldUser", True),
        ("CANCELLED", "", False),
    ]
    entry = found[runs]
    assert entry is not None
    assert (entry.name, entry.owner, entry.partition) == (ODD, ME, "low")
    assert entry.nodes in ("127.0.0.10", "127.0.0.11")
    assert 240 < (entry.seconds_left or 0) <= 300
    assert [entry.seconds_left for entry in found.values() if entry and entry.state in ENDED] == [None] * 3
    assert set(queue.named("an-array", ME)) == {f"{array}_0", f"{array}_1", f"{array}_2"}
    assert set(queue.named(ODD, ME)) == {runs}
    assert queue.named("absent", ME) == {}
    assert {job for job in here.queue() if job.startswith(waits)} == {f"{waits}_{n}" for n in (3, 6, 9)}
    assert queue.entry(array, ME) is None
    assert calls == ["squeue"]
    slurm.cancel([runs, f"{waits}_3", waits, never, held, f"{array}_0", "1"])
    slurm.cancel([])
    assert set(here.wait(runs, waits, never, held).values()) == {"CANCELLED"}
    assert queue.entry(runs, ME) == entry  # remembered: one answer for one question
    assert calls == ["squeue", "scancel"]


def test_requeue(here: Cluster) -> None:
    job = here.sbatch("sleep 60", "--partition=low")
    here.wait(job, states=["RUNNING"])
    assert slurm.requeue(job)
    here.until(lambda: here.queue()[job] != "RUNNING", 10)
    entry = Queue().entry(job, ME)
    assert entry is not None
    assert entry.alive
    slurm.cancel([job])
    here.wait(job)
    assert not slurm.requeue("1")


def test_a_controller_that_comes_back_knows_its_jobs(here: Cluster) -> None:
    job = here.sbatch("sleep 60", "--job-name=stays")
    here.wait(job, states=["RUNNING"])
    here.stop("slurmctld")
    here.start("slurmctld")
    here.stop("slurmd.127.0.0.11", "KILL")
    here.start("slurmd.127.0.0.11")
    assert list(Queue().named("stays", ME)) == [job]
    slurm.cancel([job])
    here.wait(job)


@pytest.mark.usefixtures("silent")
def test_no_answer() -> None:
    queue = Queue()
    assert not queue.reachable(ME)
    assert queue.entry("1", ME) is None
    assert queue.named("x", ME) == {}
    assert not slurm.requeue("1")
    for ask in (cluster_facts.limits, cluster_facts.partitions, lambda: slurm.cancel(["1"])):
        with pytest.raises(RunError, match="Unable to contact slurm controller"):
            ask()
    assert slurm.available()


def test_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not slurm.available()
    assert not Queue().reachable(ME)
    assert slurm.history(["1"]) is None
    assert not slurm.requeue("1")
    with pytest.raises(RunError, match="scontrol is not on PATH"):
        cluster_facts.limits()


def test_a_command_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(cluster_facts, "TIMEOUT", 0.2)
    assert not Queue().reachable(ME)


def test_owners(here: Cluster) -> None:
    assert here.queue() is not None
    queue = Queue()
    assert queue.reachable(ME)
    assert queue.reachable(str(os.geteuid()))
    assert not queue.reachable("nobody-of-that-name")


def test_hidden_jobs_are_not_dead_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(extra="PrivateData=jobs") as private:
        job = private.sbatch("sleep 60")
        private.wait(job, states=["RUNNING"])
        monkeypatch.setenv("SLURM_CONF", str(private.conf))
        assert cluster_facts.limits().private_jobs
        if os.geteuid() == 0:
            other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            assert private.run(*other, "squeue", "-h", "-u", ME).stdout == ""  # as if there were no job
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
        queue = Queue()
        assert not queue.reachable(ME)
        assert queue.entry(job, ME) is None
        assert queue.reachable("65534")


def test_limits_and_partitions(here: Cluster) -> None:
    limits = cluster_facts.limits()
    assert limits.cluster == "test"
    assert re.match(r"\d\d\.\d\d", limits.version)
    assert (limits.max_array_size, limits.max_array_tasks, limits.kill_wait, limits.min_job_age) == (
        10001,
        10001,
        2,
        600,
    )
    assert (limits.preempt_type, limits.preempt_mode, limits.preempt_signal) == ("partition_prio", "REQUEUE", True)
    assert (limits.requeue, limits.accounting, limits.kill_invalid_depend, limits.private_jobs) == (1, 0, 0, 0)
    here.run("scontrol", "update", "NodeName=127.0.0.11", "State=DRAIN", "Reason=test")
    main, low = cluster_facts.partitions()
    here.run("scontrol", "update", "NodeName=127.0.0.11", "State=RESUME")
    assert (main.name, main.default, main.up, main.minutes) == ("main", True, True, None)
    assert main.nodes == (NodeKind(1, 1, 64, 200000, 8, "", ()),)
    assert (low.name, low.default, low.nodes) == ("low", False, main.nodes)
    assert slurm.history(["1"]) is None  # sacct is there, but nothing is recorded


def test_other_clusters() -> None:
    """Knobs of the test's cluster that the common one leaves alone."""
    extra = "PartitionName=short Nodes=ALL MaxTime=90 State=DOWN"
    with running(nodes=1, gpus=0, max_array=50, extra=extra) as small, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(small.conf))
        assert cluster_facts.limits().max_array_size == 50
        short = cluster_facts.partitions()[-1]
        assert (short.name, short.up, short.minutes) == ("short", False, 90)
        assert short.nodes == (NodeKind(1, 0, 64, 200000, 0, "", ()),)
        assert "Invalid job array" in small.run("sbatch", "--array=0-50", "--wrap=true", check=False).stderr


def test_history(accounted_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    here = accounted_cluster
    monkeypatch.setenv("SLURM_CONF", str(here.conf))
    assert cluster_facts.limits().accounting
    array = here.sbatch("sleep 1; exit $SLURM_ARRAY_TASK_ID", "--array=0-1")
    plain = here.sbatch("sleep 60")
    held = here.sbatch("true", "--hold", "--array=0-4:2%1")
    here.wait(plain, states=["RUNNING"])
    here.run("scancel", plain, held)
    here.wait(array, plain, held)
    wanted = [f"{array}_0", f"{array}_1", plain, f"{held}_4", "1"]
    found: dict[str, Past] = {}

    def recorded() -> bool:
        found.update(slurm.history(wanted) or {})
        return len(found) == 4 and all(past.state in ENDED for past in found.values())

    here.until(recorded, 30, lambda: str(found))  # the accounting lags
    states = {job: (past.state, past.exit_code) for job, past in found.items()}
    assert states == {
        f"{array}_0": ("COMPLETED", "0:0"),
        f"{array}_1": ("FAILED", "1:0"),
        plain: ("CANCELLED", "0:0"),
        f"{held}_4": ("CANCELLED", "0:0"),
    }
    assert 1 <= found[f"{array}_0"].elapsed_seconds <= 10
    assert found[f"{array}_0"].nodes.startswith("127.0.0.1")
    assert (found[f"{held}_4"].elapsed_seconds, found[f"{held}_4"].nodes) == (0, "")
    assert slurm.history([]) == {}
    here.stop("slurmdbd")
    assert slurm.history(wanted) is None
