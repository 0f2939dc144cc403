"""bubblewrap's command line, which gives a run namespaces of its own."""

import os
import shutil
import sys
from functools import cache
from pathlib import Path

from sft_sweeps.sandbox import system
from sft_sweeps.sandbox.bundle import SCRIPT

FOLDER_BYTES = 64 * 2**20  # of the folder in memory


@cache
def command() -> list[str]:
    """The system's libraries and the interpreter read-only, nothing else of the machine.

    Root makes no user namespace: in one, its candidates could become nobody else. The keeper keeps what it needs to
    change the user and to kill. The server is process 1: bubblewrap's own would belong to the candidate's user where
    that is not root, have the server's pipes open, and be closed to nobody but by Landlock.
    """
    line = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    if system.drops_to() is not None:
        line[1:] = [f"--unshare-{name}" for name in ("ipc", "pid", "net", "uts", "cgroup-try")]
    line += ["--as-pid-1", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if system.drops_to() is not None:
        line += [word for name in ("SETUID", "SETGID", "KILL") for word in ("--cap-add", f"CAP_{name}")]
    line += [word for key, value in system.ENVIRONMENT.items() for word in ("--setenv", key, value)]
    line += ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "bin", "sbin"):
        folder = Path("/", name)
        if folder.is_symlink():
            line += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            line += ["--ro-bind", str(folder), str(folder)]
    for needed in (*sorted({sys.base_prefix, str(Path(os.__file__).parent)}), str(SCRIPT)):
        if Path(needed) != Path("/usr") and Path("/usr") not in Path(needed).parents:
            parents = reversed(Path(needed).parents[:-1])  # open to others, whatever they are outside
            line += [word for parent in parents for word in ("--perms", "0755", "--dir", str(parent))]
            line += ["--ro-bind", needed, needed]
    line += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    line += [word for closed in system.closed_within() for word in ("--tmpfs", closed, "--remount-ro", closed)]
    line += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]  # it has a folder in memory without a limit
    line += ["--perms", "1777", "--size", str(FOLDER_BYTES), "--tmpfs", "/w"]
    return [*line, "--chdir", "/w", "--remount-ro", "/", "--"]
