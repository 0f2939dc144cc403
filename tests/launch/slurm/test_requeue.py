"""A job that puts itself back into the queue starts again alone, whatever its siblings in the array do."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from common import ROOT
from slurm_cluster import Cluster

from sft_sweeps.launch.slurm.sbatch import TRAP

# Each element notes that it starts. Element 0 ends at once; the others wait, and on USR2 go back into the queue: by the
# worker's call, or, having left a mark, by the batch script's trap. What is started again ends well.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from sft_sweeps.slurm.queue import requeue_this_job
def come_back(*_):
    requeue_this_job() or sys.exit(1)
    time.sleep(60)
signal.signal(signal.SIGUSR2, come_back)
Path(sys.argv[1]).touch()
time.sleep(120)
"""
SCRIPT = """
export PYTHONPATH={root} SFT_SWEEPS_MARKS={folder}/marks
mkdir -p "$SFT_SWEEPS_MARKS"
echo "$SLURM_JOB_ID $SLURM_ARRAY_JOB_ID" >> {folder}/$SLURM_ARRAY_TASK_ID
[ "$SLURM_ARRAY_TASK_ID" = 0 ] || [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ] && exit 0
{waits}
"""
BY_WORKER = "exec {python} {folder}/worker.py {folder}/ready-$SLURM_ARRAY_TASK_ID"
BY_TRAP = (
    TRAP.replace("{", "{{").replace("}", "}}")
    + """
trap 'touch "$SFT_SWEEPS_MARKS/$SLURM_JOB_ID"; exit 1' USR2
touch {folder}/ready-$SLURM_ARRAY_TASK_ID
sleep 120 & wait $!
"""
)


@pytest.fixture
def array(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Submit elements 0 to 3; the array's number."""
    (tmp_path / "worker.py").write_text(WORKER)
    submitted: list[str] = []

    def submit(waits: str) -> str:
        names = {"root": ROOT, "folder": tmp_path, "python": sys.executable}
        script = SCRIPT.format(waits=waits.format(**names), **names)
        # The batch script is bash: --wrap would be run by sh, whose `exec` and traps are not what sbatch files have.
        path = tmp_path / "array.sbatch"
        path.write_text(f"#!/bin/bash\n{script}")
        out = f"--output={cluster.folder}/log/%A_%a.out"
        options = ("--parsable", "--array=0-3", "--requeue", "--open-mode=append", "--cpus-per-task=1", out)
        submitted.append(cluster.run("sbatch", *options, path).stdout.strip())
        return submitted[-1]

    yield submit
    cluster.run("scancel", *submitted)


def until(happens: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.2)


def starts(folder: Path, index: int) -> list[str]:
    return (folder / str(index)).read_text().splitlines()


@pytest.mark.parametrize(
    "waits", [pytest.param(BY_WORKER, id="worker"), pytest.param(BY_TRAP, id="trap", marks=pytest.mark.slow)]
)
def test_only_the_element_that_asks_starts_again(
    cluster: Cluster, array: Callable[[str], str], tmp_path: Path, waits: str
) -> None:
    """First the one whose own number is the array's, then the other one that runs."""
    number = array(waits)
    until(lambda: all((tmp_path / f"ready-{index}").exists() for index in (1, 2, 3)))
    own = next(index for index in (1, 2, 3) if starts(tmp_path, index)[0].split() == [number, number])
    cancelled, running = (index for index in (1, 2, 3) if index != own)
    cluster.run("scancel", f"{number}_{cancelled}")
    until(lambda: len(cluster.run("squeue", "-h", "-r", "-j", number, "-t", "R,CG,PD").stdout.splitlines()) <= 2)
    cluster.run("scancel", "--batch", "--signal=USR2", f"{number}_{own}")
    until(lambda: len(starts(tmp_path, own)) == 2)
    assert [len(starts(tmp_path, index)) for index in (0, cancelled, running)] == [1, 1, 1]
    states = cluster.run("squeue", "-h", "-r", "-j", f"{number}_{running}", "-o", "%T").stdout.split()
    assert states == ["RUNNING"]
    cluster.run("scancel", "--batch", "--signal=USR2", f"{number}_{running}")
    until(lambda: len(starts(tmp_path, running)) == 2)
    assert [len(starts(tmp_path, index)) for index in (0, cancelled, own)] == [1, 1, 2]
