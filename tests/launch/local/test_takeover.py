"""A launch whose folder another one has taken over, to which it seemed dead."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from common import ROOT

from sft_sweeps.store import claims
from sft_sweeps.store.store import RECORD
from sft_sweeps.tracking import metrics

WANTED = ("model=mini", "train=mini", "data=mini_code", "evaluate=none", "tracking=none", "cluster=local")
SAVING = ("cluster.save_every_steps=5", "cluster.save_every_seconds=0", "train.epochs=40")


def until(happens: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_it_trains_no_further_there_waits_and_goes_on_afterwards(tmp_path: Path) -> None:
    command = [sys.executable, "launch.py", *WANTED, *SAVING, f"output_dir={tmp_path / 'store'}"]
    launch = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def folder() -> Path:
        return next((tmp_path / "store").glob("stages/*"), tmp_path)

    until(lambda: metrics.last(folder()).get("step", 0) > 10)
    (claim,) = claims.files(folder())
    claim.write_text(json.dumps(json.loads(claim.read_text()) | {"host": "another"}))
    os.utime(claim, (0, 0))
    rival = claims.take(folder(), "rival")
    assert rival is not None
    assert rival.number == 2
    time.sleep(claims.HEARTBEAT_SECONDS + 5)
    reached, written = metrics.last(folder())["step"], sorted((folder() / "resume").iterdir())
    time.sleep(2.0)
    assert metrics.last(folder())["step"] == reached
    assert sorted((folder() / "resume").iterdir()) == written
    assert not (folder() / RECORD).exists()
    claims.release(folder(), rival)
    out, _ = launch.communicate(timeout=240)
    assert launch.returncode == 0, out
    assert "another launch has taken over train mini--code" in out
    assert "sweep rival" in out
    lines = [line["step"] for line in metrics.read(folder())]
    assert lines == list(range(1, lines[-1] + 1))
    assert (folder() / RECORD).exists()
