"""A short attack with a seed that stays the same, and what the attack itself is made of. Longer ones: `make chaos`."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import slurm_cluster
from chaos import caretaker, checks
from chaos.adversary import schedule
from chaos.faults import ALL
from chaos.world import Log, World
from common import ROOT
from outcomes import launched

from sft_sweeps.store.store import Store
from sft_sweeps.tracking import metrics

REFUSED = 2


def chaos(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chaos", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_seed_gives_the_same_attack_and_every_kind_its_turn() -> None:
    first, again, other = (list(islice(schedule(seed, ALL), 5 * len(ALL))) for seed in (1, 1, 2))
    assert first == again != other
    for turn in range(5):
        kinds = [stroke.fault.kind for stroke in first[turn * len(ALL) : (turn + 1) * len(ALL)]]
        assert sorted(kinds) == sorted(fault.kind for fault in ALL)
    assert len({fault.kind for fault in ALL}) == len(ALL) >= 10


def test_what_is_trained_twice_is_seen() -> None:
    finished = {"once": {"09:00"}, "twice": {"09:00", "09:01"}, "made again": {"09:00", "09:02"}}
    assert [text.split()[0] for text in checks.trained_twice(finished, Counter({"made again": 1}))] == ["twice"]


@pytest.mark.parametrize(
    ("steps", "whole"), [([1, 2, 3], True), ([1, 3], False), ([1, 2, 2, 3], False), ([], False), ([3, 2, 1], False)]
)
def test_a_line_that_is_lost_or_doubled_is_seen(steps: list[int], whole: bool, tmp_path: Path) -> None:
    plan, _ = launched(Store(tmp_path), "made", "math")
    (stage,) = plan.stages
    folder = Store(tmp_path).folder(stage)
    folder.mkdir(parents=True)
    every = range(1, stage.steps + 1)
    written = every if whole else [step for step in every if step not in (1, 2, 3)] + steps
    (folder / metrics.METRICS).write_text("".join(f'{{"step": {step}, "loss": 1.0}}\n' for step in written))
    assert (not list(checks.lines_lost_or_doubled(tmp_path))) == whole


@pytest.mark.slow
def test_a_daemon_that_ends_by_itself_is_started_again_and_one_that_was_stopped_is_not(tmp_path: Path) -> None:
    with slurm_cluster.running(gpus=0) as cluster:
        world = World(tmp_path, cluster, Log(tmp_path / "log.txt"))
        cluster.stop(caretaker.CONTROLLER, "KILL")
        cluster.stop("slurmd.127.0.0.10", "KILL")
        caretaker.revive(world)
        assert cluster.lives(caretaker.CONTROLLER)
        assert cluster.lives("slurmd.127.0.0.10")
        caretaker.stop(world, caretaker.CONTROLLER, "TERM")
        caretaker.revive(world)
        assert not cluster.lives(caretaker.CONTROLLER)
        caretaker.start(world, caretaker.CONTROLLER)
        assert cluster.lives(caretaker.CONTROLLER)
    said = (tmp_path / "log.txt").read_text()
    assert [line.split()[2] for line in said.splitlines()] == ["slurmctld", "slurmd.127.0.0.10"]


@pytest.mark.slow
@pytest.mark.long  # each fault has a test of its own, on a real Slurm (launch/slurm/) or here (test_pipeline.py)
def test_a_study_survives_a_short_attack() -> None:
    slurm_cluster.need()
    process = chaos("--seed", "4", "--minutes", "0.6", "--pace", "1.5", "--epochs", "4")
    out, _ = process.communicate(timeout=900)
    if process.returncode == REFUSED:
        pytest.skip(f"NOT RUN: {out}")
    assert process.returncode == 0, out
    assert "survived: nothing lost, nothing twice, every bit as undisturbed" in out


@pytest.mark.slow
def test_an_attack_that_is_interrupted_leaves_nothing() -> None:
    slurm_cluster.need()
    process = chaos("--minutes", "5")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    first = next(lines)
    if "seed" not in first:
        pytest.skip(f"NOT RUN: {first}")
    folder = first.split()[-1]
    assert Path(folder).is_dir()
    next(line for line in lines if "#" in line)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert not Path(folder).exists()
    time.sleep(0.5)
    assert folder not in Path("/proc/mounts").read_text()
    assert not [place for place in Path("/proc").glob("[0-9]*") if folder in environment(place)]


def environment(place: Path) -> str:
    try:
        return (place / "environ").read_text(errors="replace") + (place / "cmdline").read_text(errors="replace")
    except OSError:
        return ""
