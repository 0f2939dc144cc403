"""Hydra's launcher for Slurm: one array of all points, on the tests' throw-away Slurm; jobs wait, and are cancelled."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.peers import environments
from bench.peers.peer import ROOT, Found, Peer, Row, Settings, in_turn, row
from bench.submit_speed import cluster

SECONDS = 300
WAIT = "begin=now+1hour"


def grid(points: int) -> list[str]:
    """Runs of the miniature: seeds and two fractions."""
    groups = [f"{group}=mini" for group in ("model", "data", "train", "evaluate")]
    seeds = ",".join(map(str, range(points // 2)))
    return ["-m", *groups, "tracking=none", "data.fraction=1,1/2", f"train.seed={seeds}"]


def ours(points: int) -> Found:
    """A launch, which returns when all is submitted."""
    return _submitted(["launch.py", *grid(points), "cluster=slurm", f"+cluster.sbatch.{WAIT}"], "output_dir", None)


def theirs(points: int) -> Found:
    """A launch, which is ended when all is submitted: by itself it stays until the last job has ended."""
    launcher = ["hydra/sweeper=basic", "hydra/launcher=submitit_slurm"]
    held = f"+hydra.launcher.additional_parameters.{WAIT}"
    command = ["-m", "bench.peers.noop", *grid(points), *launcher, held]
    return _submitted(command, "hydra.sweep.dir", points)


def _submitted(command: list[str], folder_key: str, points: int | None) -> Found:
    """Seconds from the typed line to the last sbatch's return, its calls, and the files that were written."""
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)):
        store, calls = Path(name) / "store", Path(name) / "calls"
        environment = os.environ | {"PATH": f"{_counting(Path(name), calls)}{os.pathsep}{os.environ['PATH']}"}
        started = time.time()
        line = [sys.executable, *command, f"{folder_key}={store}"]
        with subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
            if points is None:
                process.wait(SECONDS)
            else:
                _wait_for(points, process)
                process.terminate()
        waiting = _waiting()
        subprocess.run(["scancel", "--user", str(os.getuid())], check=False)
        ends = [float(text) for text in calls.read_text().split()]
        files, code = (_files(store.glob(pattern)) for pattern in ("**/*", "sweeps/*/code/**/*"))
    return {"seconds": max(ends) - started, "calls": len(ends), "files": files, "code": code, "jobs": waiting}


def _files(paths: Iterable[Path]) -> int:
    return sum(path.is_file() for path in paths)


def _counting(folder: Path, calls: Path) -> Path:
    """A folder whose `sbatch` is the real one, and writes down when it has returned."""
    programs = folder / "programs"
    programs.mkdir()
    text = f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\nstatus=$?\ndate +%s.%N >>{calls}\nexit $status\n'
    (programs / "sbatch").write_text(text)
    (programs / "sbatch").chmod(0o755)
    return programs


def _wait_for(points: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS
    while _waiting() < points:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"not all of {points} points were submitted")
        time.sleep(0.2)


def _waiting() -> int:
    """Jobs and elements in the queue."""
    return len(subprocess.run(["squeue", "-h", "-r"], check=True, capture_output=True, text=True).stdout.splitlines())


def compare(settings: Settings) -> Iterator[Row]:
    mine, others = in_turn("submitit_launcher", settings.rounds, points=settings.points)
    first, other = mine[0], others[0]
    notes = {
        "seconds": f"{first['jobs']} jobs / {other['jobs']}",
        "calls": "",
        "files": f"{first['code']} of ours are a copy of the code",
    }
    for key, unit in (("seconds", "s until all is submitted"), ("calls", "sbatch calls"), ("files", "files written")):
        figures = [one[key] for one in mine], [one[key] for one in others]
        yield row(f"submit {settings.points} runs", unit, "less", figures, note=notes[key])


def lacks() -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name, path=path)]
    return f"no Slurm to start here: {', '.join(missing)}" if missing else environments.lacks("submitit_launcher")


PEER = Peer(
    name="submitit_launcher",
    title="hydra-submitit-launcher",
    package="hydra-submitit-launcher",
    runs="the same line by Hydra's BasicSweeper and `submitit_slurm`, one job a run, on a Slurm of this machine; ours "
    "submits training, answers and scores, and returns, theirs one task, and stays until the last job has ended",
    compare=compare,
    lacks=lacks,
)
