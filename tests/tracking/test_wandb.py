"""Weights & Biases as a mirror: real wandb, offline or before a server that hangs; nothing of it touches training."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from common import ROOT
from wandb_files import inspect, services, steps_of

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import problems
from sft_sweeps.tracking.base import Attempt, Ending, Mirror
from sft_sweeps.tracking.metrics import METRICS, Metrics, read
from sft_sweeps.tracking.process import ProcessMirror, log_file
from sft_sweeps.tracking.showing import lines
from sft_sweeps.tracking.trackers import TRACKERS
from sft_sweeps.tracking.wandb_key import has_key

OFFLINE = Tracking("wandb", "tests", "", "offline", "sweep-1", ("table1", "x" * 90), (("model", "mini"), ("k", "1/4")))
KEY = "0123456789abcdef0123456789abcdef01234567"
STEPS = 40
DONE = Ending()


@pytest.fixture(autouse=True)
def _nobodys_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))


def line(step: int) -> dict[str, Any]:
    return {"step": step, "steps": STEPS, "loss": 1 / step, "examples_by_source": {"gsm8k": 3, "code": 13}}


def track(
    folder: Path, tracking: Tracking, pause: float = 0.0, upto: int = STEPS, **changes: Any
) -> tuple[Mirror, float]:
    """A stage that takes its steps; its mirror, and the seconds that it took with starting one."""
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    attempt = replace(Attempt(folder, tracking, "0123456789ab", "mini--math", {"epochs": 3}), **changes)
    mirror, metrics = TRACKERS.get(tracking.name).open(attempt), Metrics(folder)
    for step in range(1, upto + 1):
        metrics.write(line(step))
        time.sleep(pause)
    metrics.close()
    assert read(folder) == [line(step) for step in range(1, upto + 1)]
    return mirror, time.monotonic() - started - pause * upto


def test_every_step_is_read_back_by_wandb_itself_once(tmp_path: Path) -> None:
    """Of a stage that was interrupted, with a name and a recipe that are too long."""
    folder, long = tmp_path / "stage", {"label": "m" * 300, "config": {f"key {n}": n for n in range(10_000)}}
    interrupted, seconds = track(folder, OFFLINE, upto=STEPS // 2, **long)
    interrupted.close(120, Ending("interrupted"))
    assert list(folder.glob("wandb/offline-run-*"))
    mirror, _ = track(folder, OFFLINE, **long)
    mirror.close(120, DONE)
    records = inspect(folder)
    assert steps_of(records) == list(range(1, STEPS + 1)), log_file(folder, "wandb").read_text()
    text = json.dumps(records)
    for part in ("0123456789ab", "sweep-1", "table1", "train/examples_by_source/gsm8k", "key 9999", "m" * 100):
        assert part in text, part
    assert "m" * 129 not in text
    assert seconds < 2
    assert {path.name for path in folder.iterdir()} == {METRICS, "wandb", "logs"}


def test_a_mode_that_wandb_does_not_know_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    mirror, _ = track(tmp_path / "stage", replace(OFFLINE, mode="auto"))
    mirror.close(120, DONE)
    assert "onlin" in problems.problem_of(tmp_path / "stage")
    monkeypatch.delenv("WANDB_MODE")  # which wandb's own reader would refuse too
    assert steps_of(inspect(tmp_path / "stage")) == list(range(1, STEPS + 1))


def test_a_full_disk_in_wandbs_folder_costs_nothing_but_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # the mirror's process has it from here
    try:
        attempt = Attempt(folder, OFFLINE, "0123456789ab", "mini--math", {})
        folder.mkdir()
        mirror = TRACKERS.get("wandb").open(attempt)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    metrics = Metrics(folder)
    for step in range(1, STEPS + 1):
        metrics.write(line(step))
    metrics.close()
    mirror.close(60, DONE)
    assert "File too large" in problems.problem_of(folder), log_file(folder, "wandb").read_text()
    assert len(read(folder)) == STEPS


def test_a_killed_wandb_core_costs_nothing_that_matters(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for pid in services(folder):
                killed.append(pid)
                time.sleep(0.5)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    mirror, seconds = track(folder, OFFLINE, pause=0.2)
    killer.join()
    mirror.close(120, DONE)
    assert killed, "no wandb-core was seen: the test shows nothing"
    assert seconds < 2
    # A second attempt of the mirror brought all steps to W&B as well.
    assert steps_of(inspect(folder)) == list(range(1, STEPS + 1)), log_file(folder, "wandb").read_text()


def test_when_a_run_is_called_kept_all_of_it_is_in_its_file(tmp_path: Path) -> None:
    """W&B writes the end of a file after `finish` has returned; its service is killed with the attempt's process."""
    folder = tmp_path / "stage"
    folder.mkdir()
    metrics = Metrics(folder)
    for step in range(1, STEPS + 1):
        metrics.write(line(step))
    metrics.close()
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom sft_sweeps.execution import Tracking\n"
        "from sft_sweeps.tracking import wandb\nfrom sft_sweeps.tracking.base import Attempt, Ending\n"
        "from sft_sweeps.tracking.showing import Ended\n"
        "ended = Ended(opened=True)\nended.ending = Ending()\nended.set()\n"
        "attempt = Attempt(Path(sys.argv[1]), Tracking('wandb', 'tests', '', 'offline'), '0123456789ab', 'm', {})\n"
        "print(wandb._show(attempt, ended), flush=True)\n"
        "sys.path.insert(0, sys.argv[2])\nfrom wandb_files import services\n"
        "print(services(Path(sys.argv[1])), flush=True)\nos._exit(0)\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(ROOT / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n")[-3:-1] == ["kept", "[]"], done.stdout + done.stderr
    assert steps_of(inspect(folder)) == list(range(1, STEPS + 1))


@pytest.fixture
def silence() -> Iterator[str]:
    """A server that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_hangs_delays_nothing_and_hears_no_key_in_a_log(
    tmp_path: Path, silence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", silence)
    folder = tmp_path / "stage"
    mirror, seconds = track(folder, replace(OFFLINE, mode="auto"))
    started = time.monotonic()
    mirror.close(3, DONE)
    assert time.monotonic() - started < 10
    assert seconds < 2
    assert isinstance(mirror, ProcessMirror)
    assert mirror._process
    assert mirror._process.wait(20) == -signal.SIGKILL
    for path in folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_no_wandb_no_folder_no_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track(tmp_path / "none", Tracking())[0].close(1, DONE)
    assert [path.name for path in (tmp_path / "none").iterdir()] == [METRICS]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    track(tmp_path / "absent", OFFLINE)[0].close(1, DONE)


def test_a_file_that_is_cut_and_grows_again_gives_every_step_once(tmp_path: Path) -> None:
    """The steps after a resume state are done again; a line that is half there is read when it is whole."""
    metrics, ended, found = Metrics(tmp_path), threading.Event(), []
    reader = threading.Thread(target=lambda: found.extend(lines(tmp_path / METRICS, ended)))
    reader.start()
    for step in (1, 2, 3, 2, 3, 4):
        metrics.write({"step": step})
        time.sleep(0.3)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step"')
        file.flush()
        time.sleep(1.2)
        file.write(": 5}\n")
    metrics.close()
    ended.set()
    reader.join()
    assert [line["step"] for line in found] == [1, 2, 3, 4, 5]


def test_a_key_is_found_where_wandb_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + KEY)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert has_key()


def test_training_never_imports_wandb() -> None:
    code = "import sys, sft_sweeps.train.stage, sft_sweeps.tracking.wandb; sys.exit('wandb' in sys.modules)"
    assert shutil.which("wandb", path=str(Path(sys.executable).parent)), "wandb is not installed: this shows nothing"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
