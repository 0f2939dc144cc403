"""A cluster's bad days, on a real Slurm: siblings of what starts again, nodes that are dead in name alone, ranks that
are killed, jobs that are ended for another's sake.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from common import ROOT
from slurm_cluster import Cluster, running
from slurm_site import LONG, Site

from sft_sweeps.spec.training import Stage
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.store.store import Store
from sft_sweeps.tracking import metrics

pytestmark = pytest.mark.slow
CHEAP = "PartitionName=cheap Nodes=ALL MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1 PreemptMode=CANCEL"
WANTED = (
    *("model=mini", "data=mini", "train=mini", "tracking=none", "~data.sources.math", "evaluate=none"),
    *("data.fractions.general=1/64", "cluster=slurm", "cluster.time=120"),
    *("cluster.save_every_steps=5", "cluster.save_every_seconds=0"),
)
# As it is typed; Slurm is asked every other second.
STAYS = """
import runpy, sys
from sft_sweeps.launch.slurm import stay
stay.POLL_SECONDS = 2.0
sys.argv = ["launch.py", *sys.argv[1:]]
runpy.run_path("launch.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One with a partition whose preempted jobs are ended for good."""
    with running(extra=CHEAP) as made:
        yield made


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    yield Site(cluster, Store(tmp_path / "slurm"))
    cluster.run("scancel", "-u", "root")


def trains(site: Site, stage: Stage, further: int = 8) -> None:
    """A state is saved, and steps are done beyond what there was."""
    goal = resume_step(site.folder(stage)) + further
    site.until(
        lambda: site.step(stage) >= goal and resume_step(site.folder(stage)) > 0, why=lambda: log_of(site, stage)
    )


def log_of(site: Site, stage: Stage) -> str:
    return "\n".join(path.read_text()[-3000:] for path in (site.folder(stage) / "logs").glob("train-*.log"))


def whole(site: Site, stage: Stage) -> bool:
    """Every step has its line, once and in order."""
    return [line["step"] for line in metrics.read(site.folder(stage))] == list(range(1, stage.steps + 1))


def processes(job: str, start: int) -> list[int]:
    """Of a start of a job on this machine, which plays all nodes."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = dict(word.partition("=")[::2] for word in (place / "environ").read_text().split("\0"))
            words = (place / "cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        mine = environment.get("SLURM_JOB_ID") == job and restarts == start - 1
        if mine and "sft_sweeps.worker.slurm_entry" in words and not words[0].endswith("srun"):
            found.append(int(place.name))
    return found


def own_number(site: Site, job: str) -> str:
    return site.cluster.run("scontrol", "show", "job", job).stdout.partition("JobId=")[2].split()[0]


@pytest.mark.long  # which element starts again, on a real Slurm: test_requeue.py
def test_one_element_of_a_stage_array_starts_again_and_no_other(site: Site) -> None:
    """Warned while its siblings run, wait, are done or cancelled; and what waits or has ended is not moved by it."""
    site.launch(
        "-m", *WANTED, "data.fractions.code=1,1/2,1/3,1/4,1/64", "strategy=multi_task", "train.epochs=14",
        "cluster.processes=1", "cluster.max_running=4", "name=array",
    )  # fmt: skip
    plan = site.sweep("array").plan()
    stages = first, second, untouched, cancelled, short = sorted(plan.stages, key=lambda stage: -stage.steps)
    number = {stage.id: site.number("array", stage) for stage in stages}
    assert len({one.partition("_")[0] for one in number.values()}) == 1, number

    def state(stage: Stage) -> str:
        return site.cluster.queue()[number[stage.id]]

    def warn(stage: Stage) -> None:
        """`scancel` would try for minutes to reach what does not run."""
        site.cluster.run("timeout", "3", "scancel", "--signal=USR2", number[stage.id], check=False)

    def starts() -> list[int]:
        return [site.starts(stage) for stage in stages]

    for stage in (first, second, untouched, cancelled):
        trains(site, stage)
    assert state(short) == "PENDING"
    warn(short)
    assert (state(short), starts()) == ("PENDING", [1, 1, 1, 1, 0])
    for stage in (first, second):  # held, so that they run still when their turn has come
        site.ranks(own_number(site, number[stage.id]), "STOP", 0)
    site.cluster.run("scancel", number[cancelled.id])
    site.until(lambda: state(short) == "COMPLETED", why=lambda: log_of(site, short))
    for ended in (short, cancelled):
        warn(ended)
        site.cluster.run("scancel", number[ended.id], check=False)
    site.ranks(own_number(site, number[second.id]), "CONT", 0)
    warn(second)
    site.until(lambda: starts()[1] == 2, why=lambda: log_of(site, second))
    assert (state(first), starts()) == ("RUNNING", [1, 2, 1, 1, 1])
    site.ranks(own_number(site, number[first.id]), "CONT", 0)
    warn(first)
    site.until(lambda: starts()[0] == 2, why=lambda: log_of(site, first))
    trains(site, first)
    site.ranks(own_number(site, number[first.id]), "SEGV", 0)
    found = {stage["id"]: stage for stage in site.ended("array")["stages"]}
    assert [found[stage.id]["state"] for stage in stages] == ["failed", "done", "done", "cancelled", "done"], found
    assert found[first.id]["why"].startswith("rank 0 was killed by SIGSEGV"), found[first.id]
    assert starts() == [2, 2, 1, 1, 1]
    assert all(whole(site, stage) for stage in (second, untouched, short))


@pytest.mark.long  # nodes and slurmd go down: make chaos too; a start that another has overtaken: worker/test_starts.py
@pytest.mark.parametrize("element", [False, True], ids=["job", "element"])
def test_a_node_that_is_dead_in_name_alone(site: Site, element: bool) -> None:
    """Its slurmd is killed, its steps live on: the start elsewhere trains, the earlier one ends, no step is lost."""
    codes = "1,1/5" if element else "1"
    site.launch(
        "-m", *WANTED, f"data.fractions.code={codes}", "strategy=multi_task", "train.epochs=8", "cluster.processes=2",
        "name=split",
    )  # fmt: skip
    stage = site.sweep("split").plan().stages[0]
    number, cluster = site.number("split", stage), site.cluster
    trains(site, stage, 12)
    own = own_number(site, number)
    earlier = processes(own, 1)
    assert len(earlier) == 2
    node = cluster.run("squeue", "-h", "-j", number, "-o", "%N").stdout.strip()
    cluster.stop(f"slurmd.{node}", "KILL")
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        assert all(Path(f"/proc/{pid}").exists() for pid in earlier)
        site.until(lambda: site.starts(stage) == 2, why=lambda: log_of(site, stage))
        begun = site.step(stage)
        gone: Callable[[], bool] = lambda: not processes(own, 1)  # noqa: E731
        site.until(gone, 30, why=lambda: log_of(site, stage))  # a heartbeat, on a loaded machine
        site.until(lambda: site.step(stage) > begun + 5, why=lambda: log_of(site, stage))
    finally:
        cluster.start(f"slurmd.{node}")
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    found = site.ended("split")
    assert {one["state"] for one in found["stages"]} == {"done"}, found
    assert whole(site, stage)
    assert site.starts(stage) == 2


def test_a_launch_that_stays_goes_on_with_what_was_preempted_and_not_with_what_failed(site: Site) -> None:
    """PreemptMode=CANCEL: Slurm ends such a job for good, and cancels what waits for it."""
    cluster = site.cluster
    doctor = cluster.run(
        sys.executable, "-m", "sft_sweeps.commands.main", "doctor", "slurm", "--partition", "cheap", check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert "PreemptMode=CANCEL: preempted jobs are ended" in doctor.stdout.replace("\n", " "), doctor
    overrides = (
        *(*WANTED, "strategy=sequential", "data.fractions.code=1", "train.epochs=8", "cluster.processes=2"),
        *("cluster.nodes=2", "cluster.partition=cheap", "cluster.until_done=true", "name=cheap"),
    )
    said: list[str] = []
    stays = subprocess.Popen(
        [sys.executable, "-c", STAYS, *overrides, f"output_dir={site.store.root}"],
        cwd=ROOT, env=cluster.env | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert stays.stdout is not None
    reader = threading.Thread(target=lambda: said.extend(stays.stdout or ()), daemon=True)
    reader.start()
    site.until(lambda: any("submitted" in line for line in said), why=lambda: "".join(said))
    first, second = site.sweep("cheap").plan().stages
    trains(site, first)
    number = site.number("cheap", first)
    blocker = cluster.sbatch("sleep 3", "--partition=main", "--nodes=2", "--exclusive")
    cluster.wait(blocker, seconds=LONG)
    assert cluster.queue()[number] == "PREEMPTED", cluster.queue()
    site.until(lambda: site.number("cheap", first) != number, why=lambda: "".join(said))
    site.until(lambda: site.starts(first) == 2, why=lambda: log_of(site, first))
    trains(site, first)
    site.ranks(own_number(site, site.number("cheap", first)), "KILL", 1)
    stays.wait(LONG)
    reader.join(10)
    out = "".join(said)
    assert stays.returncode == 1, out
    assert f"failed train-{first.id}" in out
    assert "rank 1 was killed by SIGKILL" in out
    assert "gloo" not in out
    found = {stage["id"]: stage for stage in site.ended("cheap")["stages"]}
    assert found[first.id]["why"].startswith("rank 1 was killed by SIGKILL"), found
    assert found[second.id]["state"] == "cancelled"
    logs = site.command("logs", first.id)
    assert "failed: rank 1 was killed by SIGKILL" in logs.stderr, logs
    assert site.starts(first) == 2
    assert os.environ["SLURM_CONF"] == str(cluster.conf)
