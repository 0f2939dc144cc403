"""Locks: one process at a time, also after a holder was killed and where there are no locks."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sft_sweeps.files.lock import locked

# Holds the lock of its first argument, says so, and waits to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from sft_sweeps.files.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
# Takes a number from a file and puts back the next one, with a pause between.
COUNTER = """
import sys, time
from pathlib import Path
from sft_sweeps.files.lock import locked
folder = Path(sys.argv[1])
for _ in range(5):
    with locked(folder / "lock"):
        number = int((folder / "number").read_text())
        time.sleep(0.01)
        (folder / "number").write_text(str(number + 1))
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path)]) for _ in range(3)]
    assert [counter.wait(60) for counter in counters] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "15"


def test_a_killed_holder_is_waited_for_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        pid = os.fork()
        if not pid:
            with locked(path):
                os._exit(7)
        time.sleep(0.5)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)  # still waiting
        holder.send_signal(signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks_nobody_is_waited_for_and_nothing_is_left_that_others_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refused)
        with locked(tmp_path / "lock"), locked(tmp_path / "lock"):
            pass
    with locked(tmp_path / "lock"):
        pass


def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "lock"):
        pass


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), locked(tmp_path / "lock"):
        raise ValueError("mine")
    with locked(tmp_path / "lock"):
        pass
