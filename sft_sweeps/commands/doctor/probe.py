"""What a compute node sees. Sent to the node as text, so that it works where this package is not seen; prints JSON.

python -c TEXT FOLDER WORD      FOLDER holds a file `here` with WORD in it, written by who asks
"""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path


def main(folder: Path, word: str) -> dict[str, object]:
    """The facts by name. Each is found alone: one that fails must not hide the others."""
    name = os.environ.get("SLURMD_NODENAME") or platform.node()
    return {
        "node": name,
        "python": platform.python_version(),
        "package": complaint(sys.executable, "-c", "import sft_sweeps.commands.main, importlib.metadata"),
        "missing": missing(),
        "seen": read(folder / "here") == word,
        "written": write(folder / "there", word),
        "scontrol": complaint("scontrol", "ping"),
        "resolves": resolves(name),
        "gpus": [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu],
        "nvidia": nvidia(),
    }


def complaint(*command: str) -> str:
    """The last line that a command prints when it fails; "" where it succeeds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (lines or [f"exit status {done.returncode}"])[-1]


def missing() -> list[str]:
    """Libraries of training that are not installed for the node's Python."""
    from importlib.util import find_spec

    return [name for name in ("torch", "deepspeed", "transformers") if find_spec(name) is None]


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def write(path: Path, word: str) -> str:
    """Why the file cannot be written; "" where it is."""
    try:
        path.write_text(word)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def resolves(name: str) -> bool:
    try:
        socket.gethostbyname(name)
    except OSError:
        return False
    return True


def nvidia() -> list[str] | None:
    """The GPUs that the driver names; None where there is no driver to ask."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
