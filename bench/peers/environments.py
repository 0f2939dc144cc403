"""Environments of the peers that are not installed with the project: build/peers/NAME, from bench/peers/NAME.txt.

Each is a venv that has its own packages, pinned, and sees the project's behind them: so torch, transformers and Hydra
are the same on both sides, and are installed once. Nothing is ever installed into the project's.

    python -m bench.peers.environments      makes those that are missing
"""

import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "build" / "peers"
STAMP = "installed.txt"


def pinned(name: str) -> Path:
    """What is installed for a peer; no file where the project has all of it."""
    return HERE / f"{name}.txt"


def ready(name: str) -> bool:
    """Whether the environment is there, as pinned."""
    stamp = FOLDER / name / STAMP
    return not pinned(name).is_file() or (stamp.is_file() and stamp.read_text() == pinned(name).read_text())


def lacks(name: str) -> str:
    """What to type where it is not."""
    return "" if ready(name) else f"no environment build/peers/{name}: make peers"


def python(name: str) -> str:
    """The interpreter of a peer; the project's where it has no environment of its own, and for ""."""
    return str(FOLDER / name / "bin" / "python") if name and pinned(name).is_file() else sys.executable


def version(name: str, package: str) -> str:
    """Of a peer's package, in its environment or in the project's."""
    folders = (
        [str(path) for path in (FOLDER / name).glob("lib/python*/site-packages")]
        if pinned(name).is_file()
        else sys.path
    )
    return next(iter(metadata.distributions(name=package, path=folders))).version


def make(name: str) -> None:
    """The environment, anew."""
    folder = FOLDER / name
    venv.create(folder, clear=True, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    behind = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "project.pth").write_text("\n".join(behind) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python(name), "install", "-qq", "--no-deps"]
    subprocess.run([*pip, "-r", str(pinned(name))], check=True)
    (folder / STAMP).write_text(pinned(name).read_text())


def main() -> None:
    for file in sorted(HERE.glob("*.txt")):
        if not ready(file.stem):
            print(f"installing build/peers/{file.stem}", flush=True)
            make(file.stem)


if __name__ == "__main__":
    main()
