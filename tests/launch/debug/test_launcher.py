"""cluster.name=debug: jobs run in the launching process, and an exception in one opens a debugger there."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT

LINE = [
    "debug=pdb",
    "model=mini",
    "data=mini_math",
    "train=mini",
    "data.fraction=1/256",
    "train.epochs=1",
    "evaluate=none",
]
PROGRAM = """
import sys
from pathlib import Path
from sft_sweeps.config import command_line
from sft_sweeps.launch import run
from sft_sweeps.worker import dispatch

def broken(job, stop):
    answer = 6
    raise ValueError("a bug")

if sys.argv[1] == "broken":
    dispatch.do = broken
status = command_line.main(run.run, sys.argv[2:], "launch.py")
print("torch here:", "torch" in sys.modules)
sys.exit(status)
"""


def launch(folder: Path, work: str, stdin: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, work, *LINE],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        stdin=stdin, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_failed_job_is_shown_whole(tmp_path: Path) -> None:
    done = launch(tmp_path, "broken", subprocess.DEVNULL)
    assert done.returncode == 1
    assert 'raise ValueError("a bug")' in done.stderr or "ValueError: a bug" in done.stderr
    assert "(Pdb)" not in done.stdout
    assert list(tmp_path.rglob("claim*")) == []  # the next launch need not wait for it


def test_at_a_terminal_a_failed_job_opens_pdb(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"p answer * 7\nq\n")
    try:
        done = launch(tmp_path, "broken", theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert "(Pdb) 42" in done.stdout


@pytest.mark.slow
def test_a_stage_is_trained_in_this_process(tmp_path: Path) -> None:
    done = launch(tmp_path, "real", subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch here: True" in done.stdout
    assert len(list((tmp_path / "multirun_outputs" / "stages").glob("*/record.json"))) == 1
