"""A sweep that is tracked without a server, killed and resumed several times, and brought to a server afterwards."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from common import ROOT
from rich.console import Console
from wandb_files import inspect, steps_of
from wandb_server import WandbServer

from sft_sweeps.launch.results import show_at_tracker
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.tracking import problems

KEY = "0123456789abcdef0123456789abcdef01234567"
LINE = [
    *("cluster=local", "model=mini", "train=mini", "data=mini_code", "evaluate=mini", "evaluate.examples=6"),
    *("tracking=wandb", "tracking.mode=offline", "cluster.save_every_steps=10"),
]
STEPS = 150
KILLED_AT = (40, 90)


def begin(output: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "launch.py", *LINE, f"output_dir='{output}'"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def workers(output: Path) -> Iterator[int]:
    """Processes that train: their standard output is a log of the stage."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            target = os.readlink(entry / "fd/1")
        except OSError:
            continue
        if target.startswith(f"{output}/stages/") and "train-" in target:
            yield int(entry.name)


def killed(output: Path, step: int) -> None:
    """A launch whose training is killed when it has come so far."""
    launch = begin(output)
    until = time.monotonic() + 180
    while time.monotonic() < until and launch.poll() is None:
        if any(path.read_bytes().count(b"\n") >= step for path in output.glob("stages/*/metrics.jsonl")):
            break
        time.sleep(0.05)
    for pid in workers(output):
        os.kill(pid, signal.SIGKILL)
    text, _ = launch.communicate(timeout=120)
    assert launch.returncode == 1, text


def sync(output: Path, server: WandbServer) -> tuple[int, dict[str, Any]]:
    environment = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}
    code = "import sys; from sft_sweeps.commands.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sync", "--output-dir", str(output), "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.long  # each step of it: tracking/test_wandb.py and test_wandb_server.py, commands/test_sync.py
def test_a_sweep_without_a_server_killed_and_resumed_is_whole_and_goes_up_once(tmp_path: Path) -> None:
    output = tmp_path / "store"
    for step in KILLED_AT:
        killed(output, step)
    launch = begin(output)
    text, _ = launch.communicate(timeout=300)
    assert launch.returncode == 0, text
    assert "Traceback" not in text
    assert "kept as files" in text

    (stage,) = output.glob("stages/*")
    (trained,) = stage.glob("wandb/offline-run-*")
    assert re.sub(r"offline-run-\d+_\d+-", "", trained.name) == stage.name[-12:]
    assert steps_of(inspect(stage)) == list(range(1, STEPS + 1))
    (sweep,) = output.glob("sweeps/*")
    shutil.rmtree(trained)  # as where the tracker's process was ended before it had written all
    problems.note(stage, "wandb", "it was ended")
    work: Any = SimpleNamespace(store=Store(output), config=SimpleNamespace(output_dir=str(output)))
    show_at_tracker(work, Sweep(sweep), Console())
    assert problems.problem_of(stage) == ""
    assert steps_of(inspect(stage)) == list(range(1, STEPS + 1))

    kinds = sorted(re.sub(r"offline-run-\d+_\d+-|-\w+$", "", path.name) for path in sweep.glob("wandb/offline-run-*"))
    assert kinds == ["generate", "report", "score"]
    records = inspect(sweep, "*-score-*")
    told = json.dumps(records)
    assert "mini_code/score" in told
    assert "gpu_hours" in told
    assert list(sweep.glob("wandb/offline-run-*-score-*/files/media/table/samples/*.table.json"))

    with WandbServer() as server:
        status, first = sync(output, server)
        assert (status, {run["how"] for run in first["runs"]}) == (0, {"shown"}), first
        assert server.runs[stage.name[-12:]].steps() == list(range(1, STEPS + 1))
        lines = server.lines
        status, second = sync(output, server)
        assert (status, {run["how"] for run in second["runs"]}) == (0, {"there"}), second
        assert server.lines == lines
