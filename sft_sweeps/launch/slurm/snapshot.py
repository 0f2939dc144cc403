"""The code as it was at submission: what a queued job runs, whatever becomes of the checkout meanwhile.

`SWEEP/code/<digest>/` holds the package, `code.json` (version, commit, whether the checkout differed from it) and that
difference as `dirty.diff`. Equal code is kept once. Jobs find it through PYTHONPATH; PYTHONSAFEPATH keeps Python from
looking into the working folder first. It is the submitter's alone (files/private.py), and jobs write no bytecode there:
each checks, before Python starts, that it is what was submitted.
"""

import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from sft_sweeps import PACKAGE, __version__
from sft_sweeps.files import private
from sft_sweeps.files.json_files import write_json

ABOUT = "code.json"
DIFF = "dirty.diff"


def take(sweep: Path) -> Path:
    """The folder in the sweep's `code/` that holds the package as it is now; copied there unless it already is."""
    files = {path.relative_to(PACKAGE.parent): path.read_bytes() for path in _files(PACKAGE)}
    digest = hashlib.sha256()
    for path, content in files.items():
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    target = private.folder(sweep, "code") / digest.hexdigest()[:12]
    if target.is_dir() and not _is_ours(target, files):  # from before it was private, or tampered with
        target = target.with_name(f"{target.name}-{uuid.uuid4().hex[:8]}")
    if not target.is_dir():
        _write(files, target)
    return target


@lru_cache(maxsize=4)
def digest_of(code: Path) -> str:
    """What `private.DIGEST` prints in the folder."""
    total = hashlib.sha256()
    names = sorted(str(path.relative_to(code)).encode() for path in code.rglob("*") if path.is_file())
    for name in names:
        total.update(
            hashlib.sha256((code / os.fsdecode(name)).read_bytes()).hexdigest().encode() + b"  ./" + name + b"\n"
        )
    return total.hexdigest()


def _files(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _is_ours(target: Path, files: Mapping[Path, bytes]) -> bool:
    """Whether a snapshot holds these files, and only trusted users may have written it."""
    paths = [target, *target.rglob("*")]
    if any(private.problem(path) for path in paths):
        return False
    held = {path.relative_to(target) for path in paths if path.is_file()} - {Path(ABOUT), Path(DIFF)}
    return held == files.keys() and all((target / path).read_bytes() == content for path, content in files.items())


def _write(files: Mapping[Path, bytes], target: Path) -> None:
    """Write the files into a folder beside `target`, and rename that: the target appears whole."""
    writing = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    with private.umask():
        for path, content in files.items():
            (writing / path).parent.mkdir(parents=True, exist_ok=True)
            (writing / path).write_bytes(content)
        _describe(writing)
    for path in (writing, *writing.rglob("*")):
        path.chmod(private.FOLDER if path.is_dir() else private.FILE)
    try:
        writing.rename(target)
    except OSError:  # another launch was faster
        if not target.is_dir():
            raise
        shutil.rmtree(writing)


def _describe(writing: Path) -> None:
    commit, diff = _git("rev-parse", "HEAD").strip(), _git("diff", "HEAD", "--", ".")
    untracked = _git("ls-files", "--others", "--exclude-standard", "--", ".").split()
    about = {"version": __version__, "commit": commit, "dirty": bool(diff or untracked)}
    write_json(writing / ABOUT, {**about, "untracked": untracked})
    (writing / DIFF).write_text(diff, encoding="utf-8")


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
