"""The code as it was at submission: what a queued job runs, whatever becomes of the checkout meanwhile.

`SWEEP/code/<digest>/` holds the package, `code.json` (version, commit, whether the checkout differed from it) and that
difference as `dirty.diff`. Equal code is kept once. Jobs find it through PYTHONPATH; PYTHONSAFEPATH keeps Python from
looking into the working folder first.
"""

import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from sft_sweeps import PACKAGE, __version__
from sft_sweeps.files.json_files import write_json

ABOUT = "code.json"
DIFF = "dirty.diff"


def take(sweep: Path) -> Path:
    """The folder in the sweep's `code/` that holds the package as it is now; copied there unless it already is."""
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(PACKAGE)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    target = sweep / "code" / digest.hexdigest()[:12]
    if not target.is_dir():
        _write(files, target)
    return target


def _write(files: list[Path], target: Path) -> None:
    """Copy the files into a folder beside `target`, and rename that: the target appears whole."""
    writing = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    for path in files:
        copy = writing / PACKAGE.name / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    commit, diff = _git("rev-parse", "HEAD").strip(), _git("diff", "HEAD", "--", ".")
    untracked = _git("ls-files", "--others", "--exclude-standard", "--", ".").split()
    about = {"version": __version__, "commit": commit, "dirty": bool(diff or untracked)}
    write_json(writing / ABOUT, {**about, "untracked": untracked})
    (writing / DIFF).write_text(diff, encoding="utf-8")
    try:
        writing.rename(target)
    except OSError:  # another launch was faster
        if not target.is_dir():
            raise
        shutil.rmtree(writing)


def _git(*arguments: str) -> str:
    """A git command's output about the package's folder; empty where that is not a checkout of this project."""
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments],
            capture_output=True, text=True, timeout=30, check=False, env=environment, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 and (PACKAGE.parent / ".git").exists() else ""
