"""Whole sweeps on a real Slurm, with everything that clusters do to them; against the same without any of it.

Two nodes of two processes each, or one of two; every process computes with one thread, so that equal executions end in
equal weights, bit for bit.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from common import ROOT
from slurm_cluster import Cluster
from slurm_site import LONG, Site

from sft_sweeps.jobs import submissions
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.answers import ITEMS, JOURNAL
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.store.store import Store
from sft_sweeps.tracking import metrics

pytestmark = pytest.mark.slow
MINI = ("model=mini", "data=mini", "train=mini", "tracking=none")


@pytest.fixture
def here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """This process talks to the cluster too."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    yield cluster
    cluster.run("scancel", "-u", "root")


@pytest.fixture
def site(here: Cluster, tmp_path: Path) -> Site:
    return Site(here, Store(tmp_path / "slurm"))


@pytest.fixture
def undisturbed(here: Cluster, tmp_path: Path) -> Site:
    """Where the same is done on this machine, without Slurm."""
    return Site(here, Store(tmp_path / "local"))


@pytest.mark.long  # two nodes of two processes: the next test; what sweeps share on a cluster: test_launcher.py
def test_two_sweeps_at_once_on_two_nodes_of_two_processes(site: Site, undisturbed: Site) -> None:
    """DMT and mixed sequential training share one stage, whoever trains it; weights and scores are those of here."""
    wanted = (
        *MINI,
        "evaluate=mini",
        "evaluate.examples=12",
        "data.fraction=1/4",
        "train.epochs=1",
        "cluster.processes=4",
    )
    lines = {"mixed": ("strategy=mixed_sequential",), "dmt": ("strategy=dmt", "strategy.k=1/4")}
    both = [
        site.start(*wanted, *line, f"name={name}", "cluster=slurm", "cluster.nodes=2") for name, line in lines.items()
    ]
    outputs = [process.communicate(timeout=LONG)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    plans = {name: site.sweep(name).plan() for name in lines}
    shared, mixed_end = plans["mixed"].stages
    assert plans["dmt"].stages[0].id == shared.id
    for name in lines:
        found = site.ended(name)
        assert {stage["state"] for stage in found["stages"]} == {"done"}, found
        assert found["scores"] == {"done": 6, "total": 6}
    assert [site.starts(stage) for stage in (shared, mixed_end, plans["dmt"].stages[1])] == [1, 1, 1]
    undisturbed.launch("-m", *wanted, "strategy=mixed_sequential,dmt", "strategy.k=1/4", "name=both", "cluster=local")
    for plan in plans.values():
        assert site.digests(plan) == undisturbed.digests(plan)
    scores = sorted(score for name in lines for score in report(site, name))
    assert scores == report(undisturbed, "both")
    assert len(scores) == 12
    assert "nothing to do: all 2 stages are trained" in site.launch(*wanted, *lines["dmt"], "name=dmt", "cluster=slurm")


def report(site: Site, name: str) -> list[tuple[str, str, int, int]]:
    """Every score of a sweep, as `sft-sweeps report` tells it."""
    found = json.loads(site.command("report", name, "--json").stdout)
    return sorted(
        (after["id"], benchmark, score["k"], score["n"])
        for run in found["runs"]
        for after in run["stages"]
        for benchmark, score in after["scores"].items()
    )


# A long stage, and a short one that stands on it; scores are another test's.
CHAIN = (
    *(*MINI, "~data.sources.math", "evaluate=none", "data.fractions.general=1/64"),
    *("train.epochs=12", "cluster.processes=2", "cluster.save_every_steps=20", "cluster.save_every_seconds=0"),
)


def test_a_stage_survives_what_clusters_do(site: Site, undisturbed: Site, tmp_path: Path) -> None:
    """Warning signal, preemption, requeue, a node lost, daemons restarted; the checkout is broken while it waits."""
    chain = (*CHAIN, "name=chain", "strategy=sequential")
    undisturbed.launch(*chain, "cluster=local")
    checkout = tmp_path / "checkout"
    for name in ("sft_sweeps", "hydra_plugins", "conf"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", checkout)
    on = (*chain, "cluster=slurm", "cluster.nodes=2", "cluster.partition=low", "cluster.time=120")
    Site(site.cluster, site.store, checkout).launch(*on)
    for module in ("slurm_task", "dispatch", "process"):
        (checkout / "sft_sweeps" / "worker" / f"{module}.py").write_text("raise SystemExit('the checkout has changed')")
    plan = site.sweep("chain").plan()
    long, short = plan.stages
    job, cluster = site.number("chain", long), site.cluster

    def further(by: int) -> None:
        """It trains: a state is saved and steps are done beyond what there was."""
        goal = resume_step(site.folder(long)) + by
        site.until(
            lambda: site.step(long) >= goal and resume_step(site.folder(long)) >= 20, why=lambda: said(site, long)
        )
        assert cluster.queue()[site.number("chain", short)] == "PENDING"
        assert not site.folder(short).exists() or not (site.folder(short) / "metrics.jsonl").exists()

    def again(starts: int) -> None:
        site.until(lambda: site.starts(long) == starts, why=lambda: said(site, long))

    further(30)
    cluster.run("scancel", "--signal=USR2", job)  # the warning before a time limit
    again(2)
    further(30)
    blocker = cluster.sbatch("sleep 1", "--partition=main", "--nodes=2", "--exclusive")  # a real preemption
    cluster.wait(blocker, seconds=LONG)
    again(3)
    further(30)
    cluster.run("scontrol", "requeue", job)
    again(4)
    further(30)
    cluster.run("scontrol", "update", "nodename=127.0.0.11", "state=down", "reason=test")  # the node fails
    cluster.wait(job, states=["PENDING"])
    cluster.run("scontrol", "update", "nodename=127.0.0.11", "state=resume", check=False)  # unless it is back already
    again(5)
    further(30)
    for daemon in ("slurmctld", "slurmd.127.0.0.10"):
        cluster.stop(daemon)
        cluster.start(daemon)
    further(30)
    found = site.ended("chain")
    assert [(stage["state"], stage["starts"]) for stage in found["stages"]] == [("done", 5), ("done", 1)]
    assert site.number("chain", long) == job
    assert site.digests(plan) == undisturbed.digests(plan)
    steps = [line["step"] for line in metrics.read(site.folder(long))]
    assert steps == list(range(1, long.steps + 1))
    assert not (site.folder(long) / "resume").exists()


def said(site: Site, stage: Stage) -> str:
    """The log of a stage's first process."""
    log = site.folder(stage) / "logs" / "train-0.log"
    return log.read_text() if log.exists() else "it has no log"


@pytest.mark.long  # a killed rank on a real Slurm: test_bad_days.py; what stands on it: test_pipeline.py
def test_a_killed_process_fails_its_stage_and_what_stands_on_it_alone(site: Site, undisturbed: Site) -> None:
    """FAILED in Slurm's own eyes; the other run finishes; launching again trains only what is missing."""
    wanted = (*CHAIN, "name=kill", "strategy=sequential,multi_task", "train.epochs=6")
    undisturbed.launch("-m", *wanted, "cluster=local")
    site.launch("-m", *wanted, "cluster=slurm", "cluster.time=120")
    plan, cluster = site.sweep("kill").plan(), site.cluster
    (long, short), (other,) = (run.stages for run in plan.runs)
    site.until(lambda: resume_step(site.folder(long)) >= 20, why=lambda: said(site, long))
    number = site.number("kill", long)
    site.ranks(own_number(cluster, number), "KILL", 1)
    found = {stage["id"]: stage for stage in site.ended("kill")["stages"]}
    states = cluster.queue()
    assert states[number] == "FAILED"
    assert states[site.number("kill", short)] == "CANCELLED"
    assert [found[stage.id]["state"] for stage in (long, short, other)] == ["failed", "cancelled", "done"]
    assert found[long.id]["why"].startswith("rank 1 was killed by SIGKILL"), found
    assert "failed: rank 1 was killed by SIGKILL" in site.command("logs", long.id).stderr
    assert f"its parent train-{long.id} failed" in found[short.id]["why"]
    out = site.launch("-m", *wanted, "cluster=slurm", "cluster.time=120")
    assert "2 of 3 stages to train" in out
    assert "1 of them from a resume state" in out
    assert "submitted 2 jobs" in out
    assert {stage["state"] for stage in site.ended("kill")["stages"]} == {"done"}
    assert [site.starts(stage) for stage in (long, short, other)] == [2, 1, 1]
    assert site.digests(plan) == undisturbed.digests(plan)


@pytest.mark.long  # each part has a test of its own: the trap (test_requeue.py), cancelling on a real cluster
# (commands/test_cancel.py), going on with another count of processes (train/test_convert.py)
def test_nodes_without_scontrol_and_another_count_of_processes(site: Site, tmp_path: Path) -> None:
    """In a container: the batch script, outside of it, requeues. Cancelled, it goes on with one process, not two."""
    wanted = (*CHAIN, "name=count", "strategy=sequential", "train.epochs=8", "cluster=slurm", "cluster.time=120")
    (tmp_path / "empty").mkdir()
    site.launch(*wanted, f"cluster.container='env PATH={tmp_path / 'empty'}'")
    plan = site.sweep("count").plan()
    long, short = plan.stages
    number = site.number("count", long)

    def saved() -> bool:
        return resume_step(site.folder(long)) >= 20

    site.until(saved, why=lambda: said(site, long))
    site.cluster.run("scancel", "--signal=USR2", number)
    site.until(lambda: site.starts(long) == 2, why=lambda: said(site, long))
    assert "the batch script is asked to requeue" in said(site, long)
    again = resume_step(site.folder(long)) + 20
    site.until(lambda: site.step(long) > again, why=lambda: said(site, long))
    out = site.command("cancel", "count", "--yes")
    assert "cancelled 2 jobs: 2 train; resume states are kept" in out.stdout, out
    found = {stage["id"]: stage["state"] for stage in site.ended("count")["stages"]}
    assert (found[long.id], found[short.id]) == ("cancelled", "cancelled")
    kept = resume_step(site.folder(long))
    assert kept >= again
    assert "submitted 2 jobs" in site.launch(*wanted, "cluster.processes=1")
    assert {stage["state"] for stage in site.ended("count")["stages"]} == {"done"}
    (line,) = (site.folder(long) / "conversions.jsonl").read_text().splitlines()
    conversion = json.loads(line)
    assert (conversion["step"], conversion["from_processes"], conversion["to_processes"]) == (kept, 2, 1)
    assert [line["step"] for line in metrics.read(site.folder(long))] == list(range(1, long.steps + 1))


def own_number(cluster: Cluster, number: str) -> str:
    """An element's own number, which its processes have as SLURM_JOB_ID."""
    text = cluster.run("scontrol", "show", "job", number).stdout
    return text.partition("JobId=")[2].split()[0]


@pytest.mark.long  # warned on a real Slurm: the test of a stage; replicas: generate/test_replicas.py
def test_two_replicas_are_warned_and_come_back(site: Site, undisturbed: Site) -> None:
    """Slurm's warning reaches every process of a job: replicas leave it to the one that keeps the answers."""
    wanted = (*MINI, "strategy=base", "evaluate=mini", "evaluate.examples=100", "evaluate.batch_size=2")
    wanted = (*wanted, "evaluate.max_new_tokens=60")
    site.launch(*wanted, "cluster=slurm", "cluster.replicas=2", "name=warned")
    plan = site.sweep("warned").plan()
    generation, base = plan.generations[0], plan.models[0]
    journal = Store(site.store.root).generation(generation) / JOURNAL
    number = submissions.latest(site.sweep("warned").folder)[f"generate-{base.id}"].number
    site.until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 5)
    assert "CPUs/Task=2" in site.cluster.run("scontrol", "show", "job", number).stdout
    site.cluster.run("scancel", "--signal=USR2", number)
    site.until(lambda: "Restarts=1" in site.cluster.run("scontrol", "show", "job", number).stdout)
    site.cluster.run("scontrol", "release", number, check=False)
    found = site.ended("warned")
    assert found["scores"] == {"done": 3, "total": 3}, json.dumps(found, indent=1)
    log = (Store(site.store.root).folder(base) / "logs" / "generate-0.log").read_text()
    assert "answering of mini stopped after" in log
    assert log.count("2 replicas of hf answer for mini") == 2
    undisturbed.launch(*wanted, "cluster=local")
    for each in plan.generations:
        items = [(Store(of.store.root).generation(each) / ITEMS).read_text() for of in (site, undisturbed)]
        assert items[0] == items[1]
