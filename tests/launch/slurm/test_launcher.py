"""Submitting to a real Slurm: what reaches its queue, whatever befalls the launcher. No job starts here."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from common import ROOT, Points
from slurm_cluster import Cluster

from sft_sweeps.jobs import submissions
from sft_sweeps.launch import preflight
from sft_sweeps.launch.run import run
from sft_sweeps.store.claims import holder
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, sweeps

HELD = "+cluster.sbatch.begin=now+1hour"
# All four strategies share stages: 10 stages, 6 of them straight below the base model or a stage that has others.
STUDY = ("study=quickstart", "cluster=slurm", "evaluate=none", HELD)
Said = Callable[..., str]


@pytest.fixture
def here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """This process talks to the cluster, whose queue is empty before and after."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    yield cluster
    cluster.run("scancel", "-u", str(os.getuid()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def said(points: Points, here: Cluster, store: Store, capsys: pytest.CaptureFixture[str]) -> Said:  # noqa: ARG001
    """What `launch.py` says to a command line, run in this process; lines are joined."""

    def command_line(status: int, *overrides: str) -> str:
        capsys.readouterr()
        assert run(points(*overrides, f"output_dir={store.root}")) == status
        found = capsys.readouterr()
        return " ".join((found.err if status else found.out).split())

    return command_line


def command(cluster: Cluster, store: Store, *overrides: str, path: Path | None = None) -> subprocess.Popen[str]:
    """`launch.py` in a process of its own, with other programs before Slurm's."""
    found = cluster.env["PATH"] if path is None else f"{path}{os.pathsep}{cluster.env['PATH']}"
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *overrides, f"output_dir={store.root}"],
        env=cluster.env | {"PATH": found},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def alive(cluster: Cluster) -> set[str]:
    """The living jobs of the queue."""
    return {job for job, state in cluster.queue().items() if state in ("PENDING", "RUNNING")}


def submitted(store: Store) -> Counter[str]:
    """How often each job was given to Slurm, over all sweeps."""
    return Counter(one.job for sweep in sweeps(store) for one in submissions.read(sweep.folder))


def claimed(store: Store) -> set[str]:
    """Slurm's numbers of the stages and models that are claimed, as far as the claims or the queue name them."""
    places = [place for kind in ("stages", "models") for place in (store.root / kind).iterdir()]
    return {claim.job for place in places if (claim := holder(place))}


def the_sweep(store: Store) -> Sweep:
    (found,) = sweeps(store)
    return found


def test_a_sweep_is_a_forest_of_few_calls(said: Said, store: Store, here: Cluster) -> None:
    out = said(0, *STUDY)
    assert "submitted 11 jobs in 5 sbatch calls (1 to prepare, 10 to train)" in out
    sweep = the_sweep(store)
    assert f"sft-sweeps status {sweep.name} --output-dir {store.root} --watch" in out
    numbers = {one.job: one.number for one in submissions.read(sweep.folder)}
    assert set(numbers.values()) == alive(here) == claimed(store)
    plan = sweep.plan()
    for stage in plan.stages:
        text = here.run("scontrol", "show", "job", numbers[f"train-{stage.id}"]).stdout
        parent = f"train-{stage.parent.id}" if f"train-{stage.parent.id}" in numbers else f"prepare-{stage.parent.id}"
        (dependency,) = (word for word in text.split() if word.startswith("Dependency="))
        assert dependency.replace("_*", "").startswith(
            (f"Dependency=afterok:{numbers[parent]}(", f"Dependency=aftercorr:{numbers[parent].partition('_')[0]}(")
        ), (stage.label, dependency)


def test_the_same_again_submits_nothing(said: Said, store: Store, here: Cluster) -> None:
    """Everything is on its way; what a user took back is submitted again."""
    said(0, *STUDY)
    before = alive(here)
    again = said(0, *STUDY)
    assert "11 jobs are already queued or running" in again
    assert "submitted" not in again
    assert alive(here) == before
    last = next(one for one in submissions.read(the_sweep(store).folder) if one.number == max(before))
    here.run("scancel", last.number)
    here.wait(last.number)
    assert "submitted 1 job in 1 sbatch calls (1 to train)" in said(0, *STUDY)
    assert submitted(store)[last.job] == 2
    assert {count for job, count in submitted(store).items() if job != last.job} == {1}


def test_resources_of_three_models_in_one_multirun(
    said: Said, store: Store, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7B and 13B on a node of 8 GPUs, 33B on two; answers on one GPU, of 33B on two."""
    line = (
        "model=llama7b,llama13b,llama33b",
        "data=mini",
        "evaluate=mini",
        "cluster=slurm",
        "cluster.memory=100G",
        HELD,
    )
    assert "no config.json and *.safetensors" in said(2, *line)
    assert not store.root.exists()
    usage = shutil.disk_usage(store.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**13))
    monkeypatch.setattr(preflight, "_weights", lambda *_: iter(()))  # 120 GB that are not here
    said(0, *line)
    sweep = the_sweep(store)
    names = {stage.id: stage.model.name for stage in sweep.plan().stages}
    found = {}
    for one in submissions.read(sweep.folder):
        kind, _, subject = one.job.partition("-")
        script = (sweep.folder / "slurm" / f"{one.number.partition('_')[0]}_submission.sh").read_text()
        options = dict(
            line[8:].split("=", 1) for line in script.splitlines() if line.startswith("#SBATCH --") and "=" in line
        )
        asked = here.run("scontrol", "show", "job", one.number).stdout
        found[kind, names[subject]] = (
            options["--nodes"],
            options["--ntasks-per-node"],
            options.get("--gpus-per-node", ""),
            "NumNodes=2" in asked,
        )
    assert found == {
        ("train", "llama7b"): ("1", "8", "8", False),
        ("train", "llama13b"): ("1", "8", "8", False),
        ("train", "llama33b"): ("2", "8", "8", True),
        ("generate", "llama7b"): ("1", "1", "1", False),
        ("generate", "llama13b"): ("1", "1", "1", False),
        ("generate", "llama33b"): ("1", "1", "2", False),
        ("score", "llama7b"): ("1", "1", "", False),
        ("score", "llama13b"): ("1", "1", "", False),
        ("score", "llama33b"): ("1", "1", "", False),
    }


def test_two_launches_at_the_same_moment_share_their_stages(here: Cluster, store: Store) -> None:
    """Both want code+math; whoever is second waits for the first one's job, and nobody trains it twice."""
    wanted = ("model=mini", "data=mini", "train=mini", "tracking=none", "cluster=slurm", HELD, "evaluate=mini")
    both = [
        command(here, store, *wanted, "strategy=mixed_sequential", "name=a"),
        command(here, store, *wanted, "strategy=dmt", "strategy.k=1/4,1/16", "name=b"),
    ]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    plans = [sweep.plan() for sweep in sweeps(store)]
    shared = {stage.id for stage in plans[0].stages} & {stage.id for stage in plans[1].stages}
    assert len(shared) == 1
    trained = {job: n for job, n in submitted(store).items() if job.startswith(("train-", "prepare-"))}
    assert len(trained) == 1 + 1 + 1 + 2
    assert set(trained.values()) == {1}
    numbers = {one.job: one.number for sweep in sweeps(store) for one in submissions.read(sweep.folder)}
    for stage in {stage.id: stage for plan in plans for stage in plan.stages}.values():
        text = here.run("scontrol", "show", "job", numbers[f"train-{stage.id}"]).stdout
        above = numbers.get(f"train-{stage.parent.id}") or numbers[f"prepare-{stage.parent.id}"]
        assert f"Dependency=afterok:{above}(" in text


# In place of sbatch: it ends its caller, before or after the controller has the job; or it fails, likewise.
WRAPPER = """#!/bin/bash
n=$(($(cat "{count}" 2>/dev/null || echo 0) + 1)); echo $n > "{count}"
if [ $n -ne {at} ]; then exec {sbatch} "$@"; fi
{act}
"""
KILLED_BEFORE = "kill -9 $PPID"
KILLED_AFTER = '{sbatch} "$@" >/dev/null; kill -9 $PPID'
REFUSED = "echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2; exit 1"
FAILED_AFTER = (
    '{sbatch} "$@" >/dev/null; echo \'sbatch: error: Batch job submission failed: Socket timed out on send/recv '
    "operation' >&2; exit 1"
)


def wrapped(folder: Path, act: str, at: int) -> Path:
    sbatch = shutil.which("sbatch")
    folder.mkdir()
    text = WRAPPER.format(count=folder / "count", at=at, sbatch=sbatch, act=act.format(sbatch=sbatch))
    (folder / "sbatch").write_text(text)
    (folder / "sbatch").chmod(0o755)
    return folder


@pytest.mark.parametrize("act", [KILLED_BEFORE, KILLED_AFTER, REFUSED, FAILED_AFTER])
def test_a_launch_that_dies_half_way_leaves_nothing_twice_and_nothing_alone(
    act: str, here: Cluster, store: Store, tmp_path: Path, said: Said
) -> None:
    """At the second call: the base model's job is submitted, five stages are claimed."""
    process = command(here, store, *STUDY, path=wrapped(tmp_path / "bin", act, 2))
    out, _ = process.communicate(timeout=120)
    killed = "kill" in act
    assert process.returncode == (-signal.SIGKILL if killed else 1), out
    if not killed:
        assert "sbatch refused 5 jobs" in out
        assert "1 of 11 jobs are submitted and stay so" in out
        assert "Traceback" not in out
    there = alive(here)
    assert len(there) == (6 if act == KILLED_AFTER else 1)
    assert ("submitted 5 jobs" if act == KILLED_AFTER else "submitted 10 jobs") in said(0, *STUDY)
    assert len(alive(here)) == 11
    assert claimed(store) == alive(here)
    assert there <= alive(here)


def test_arrays_are_split_where_they_are_too_large(
    points: Points, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MaxArraySize=3: no index above 2; ten runs below one model."""
    with slurm_cluster.running(max_array=3) as small:
        monkeypatch.setenv("SLURM_CONF", str(small.conf))
        line = ("model=mini", "data=mini", "train=mini", "evaluate=none", "tracking=none", "cluster=slurm", HELD)
        wanted = points(*line, "train.seed=0,1,2,3,4,5,6,7,8,9", f"output_dir={store.root}")
        assert run(wanted) == 0
        found = [one.number for one in submissions.read(the_sweep(store).folder) if one.job.startswith("train")]
        assert len(found) == len(set(found)) == 10
        assert {int(number.partition("_")[2] or 0) for number in found} == {0, 1, 2}
        assert len({number.partition("_")[0] for number in found}) == 4
        assert set(found) < set(small.queue())


# In place of sbatch: the controller takes no more than so many elements at a time, and says so as Slurm does.
LIMITED = """#!/bin/bash
array=$(sed -n 's/^#SBATCH --array=\\([^%]*\\).*/\\1/p' "$1")
wanted=$(python3 -c 'import sys; print(sum(int(b or a) - int(a) + 1 for a, _, b in (
    part.partition("-") for part in sys.argv[1].split(","))) if sys.argv[1] else 1)' "$array")
there=$(squeue -h -r -u "$(id -un)" | wc -l)
if [ $((there + wanted)) -gt {most} ]; then
  echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
  echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size \
and/or time limits)" >&2
  exit 1
fi
exec {sbatch} "$@"
"""


@pytest.fixture(params=[True, False], ids=["a limit that is known", "one that only sbatch knows"])
def limited(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """At most four jobs in the queue at one time."""
    if request.param:
        return ("cluster.max_submitted=4",)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(LIMITED.format(most=4, sbatch=shutil.which("sbatch")))
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return ()


def test_what_fits_is_submitted_and_the_rest_when_launched_again(
    said: Said, store: Store, here: Cluster, limited: tuple[str, ...]
) -> None:
    """Four jobs have room: the base model's and three of its five children. Each that ends makes room for one."""
    out = said(0, *STUDY, *limited)
    assert "submitted 4 jobs" in out
    assert "7 jobs not submitted yet, for there is room for no more" in out
    assert ("cluster.max_submitted=4" if limited else "AssocMaxSubmitJobLimit") in out
    assert len(alive(here)) == 4
    again = said(0, *STUDY, *limited)
    assert "4 jobs are already queued or running" in again
    assert "7 jobs not submitted yet" in again
    assert "submitted 4" not in again
    gone = min(alive(here) - {number for job, number in numbers(store).items() if job.startswith("prepare")})
    here.run("scancel", gone)
    here.until(lambda: gone not in alive(here), 30)
    assert "submitted 1 job in 1 sbatch calls" in said(0, *STUDY, *limited)
    assert len(alive(here)) == 4
    if limited:
        assert "submitted 7 jobs" in said(0, *STUDY, "cluster.max_submitted=11")
        assert len(alive(here)) == 11


def numbers(store: Store) -> dict[str, str]:
    return {one.job: one.number for one in submissions.read(the_sweep(store).folder)}


def test_what_the_environment_asks_of_sbatch_does_not_win(
    said: Said, store: Store, here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PARTITION": "low", "TIMELIMIT": "1", "NO_REQUEUE": "1", "EXPORT": "NONE", "QOS": "x"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    said(0, *STUDY)
    text = here.run("scontrol", "show", "job", next(iter(numbers(store).values()))).stdout
    assert "Partition=main" in text
    assert "TimeLimit=04:00:00" in text
    assert "Requeue=1" in text
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    err = said(2, *STUDY)
    assert "SLURM_CLUSTERS=other is set in your environment" in err
    assert "unset SLURM_CLUSTERS" in err


def test_jobs_need_nothing_that_is_written_after_sbatch_has_answered(said: Said, store: Store) -> None:
    """What a job's command names is there when the controller has the job; a launcher may die at once."""
    said(0, *STUDY)
    folder = the_sweep(store).folder / "slurm"
    scripts = [path.read_text() for path in folder.glob("*_submission.sh")]
    assert len(scripts) == 5
    named = [Path(script.split()[-2]) for script in scripts]
    assert all(path.is_file() and not path.name.split(".")[0].isdigit() for path in named)
    assert list(folder.glob("*.pkl")) == []


WRONG = [
    ("cluster.partition=mian", "cluster.partition=mian is no partition of this cluster", "cluster.partition=main"),
    ("cluster.kinds.train.memory=900G", "a job to train asks for 921,600 MB on a node", "kinds.train.memory=200000M"),
    ("cluster.processes=80", "the most that partition main has on one is 64", "cluster.processes=64"),
    ("cluster.nodes=3 cluster.processes=3", "cluster.nodes=3", "cluster.nodes=2"),
    ("cluster.constraint=a100", "no node of partition main has it", "cluster.constraint=''"),
    ("cluster.time=3", "too short for mini", "cluster.time=0:0"),
]


@pytest.mark.parametrize(("overrides", "says", "typed"), WRONG, ids=[overrides for overrides, _, _ in WRONG])
def test_what_the_cluster_cannot_do_is_said_before_anything_is_submitted(
    overrides: str, says: str, typed: str, said: Said, store: Store
) -> None:
    err = said(2, *STUDY, *overrides.split())
    assert says in err
    assert typed in err
    assert not store.root.exists()


def test_without_slurm(said: Said, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    err = said(2, *STUDY)
    assert "cluster.name=slurm: sbatch is not on PATH here" in err
    assert "cluster=local" in err
    assert not store.root.exists()


@pytest.mark.slow
@pytest.mark.long  # a minute of waiting; a silent Slurm: slurm/test_queue.py; other problems: test_refusals.py
def test_a_slurm_that_does_not_answer_hides_no_other_problem(
    said: Said, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "absent"))
    err = said(2, "model=llama7b", "data=mini", "cluster=slurm", "evaluate=none")
    assert "cluster.name=slurm: Slurm does not answer here. Launch on a login node" in err
    assert "cluster=local" in err
    assert "model=llama7b: no config.json and *.safetensors" in err
    assert not store.root.exists()
