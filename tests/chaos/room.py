"""The room in which chaos reigns: processes and mounts of its own, which end with it, whatever ends it.

A namespace of processes has a first one; when that dies the kernel kills all others, daemons too. Its mounts are seen
by nobody else. So a fault cannot reach anything outside, and nothing has to be found by its name.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
FIRST = 'trap "" INT TERM; "$@"; exit $?'  # the first process: it buries the dead, and no signal from inside ends it
SECONDS_TO_LEAVE = 90.0  # after Ctrl-C: a Slurm is ended in order
REFUSED = 2


def enter(arguments: Sequence[str]) -> int:
    """Run this program again inside; its exit status. What it wrote is kept where it failed."""
    command = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), *NAMESPACES]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        print(f"chaos needs namespaces of its own, as root or by the kernel's leave: {tried.stderr.strip()}")
        return REFUSED
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    inside = [*command, "sh", "-c", FIRST, "sh", sys.executable, "-m", "chaos", f"--inside={folder}", *arguments]
    status = 1
    try:
        status = _run(inside)
    finally:
        if status in (0, 128 + signal.SIGINT):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"what was written is kept in {folder}")
    return status


def _run(command: Sequence[str]) -> int:
    """The end of its standard input tells the program inside to leave; so does our death."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    inside = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert inside.stdin is not None
    try:
        return inside.wait()
    except KeyboardInterrupt:
        print("leaving: everything is ended", flush=True)
        inside.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            inside.wait(SECONDS_TO_LEAVE)
        return 128 + signal.SIGINT
    finally:
        inside.kill()
        inside.wait()
        signal.signal(signal.SIGTERM, previous)


def leave_with_the_other_end() -> None:
    """Inside: an interrupt for this process when its standard input ends."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()
