"""Ctrl-C in an import comes after it; anywhere else at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sft_sweeps import interrupts

SLOW = """
import time
print("importing", flush=True)
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    time.sleep(0.01)
print("imported", flush=True)
"""
PROGRAM = """
import sys, time
from sft_sweeps import interrupts

interrupts.LONGEST_SECONDS = 1.0
try:
    with interrupts.after_imports():
        {work}
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, ["importing", "imported", "interrupted"]), (60, ["importing", "interrupted"])],
    ids=["it ends", "it hangs"],
)
def test_an_import_ends_before_ctrl_c_comes_unless_it_hangs(tmp_path: Path, seconds: float, said: list[str]) -> None:
    (tmp_path / "slow_module.py").write_text(SLOW.format(seconds=seconds))
    assert _interrupted(tmp_path, "import slow_module") == said


def test_elsewhere_it_comes_at_once(tmp_path: Path) -> None:
    assert _interrupted(tmp_path, 'print("working", flush=True)') == ["working", "interrupted"]


def test_another_handler_stays() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.after_imports():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(folder: Path, work: str) -> list[str]:
    """What a program says that gets Ctrl-C, twice, after its first line; it ends in seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(Path(interrupts.__file__).parents[1]), str(folder)))},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline().strip()
    for _ in range(2):
        time.sleep(0.1)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return [first, *rest.split()]
