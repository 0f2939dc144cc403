"""A store that a group of users works in: folders 2775, files 664, whatever their umasks; but what is run for a user is
his alone (files/private.py), and in the folders that hold it, sweeps/ and those in it, nobody renames another's files.

A store's root says itself whether it is shared (its group may write, and what is made inside gets its group), so every
launch and every worker finds out by looking, whoever shared it. New folders inherit the group and its mark from the
folder above; the umask is the process's to set.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sft_sweeps.errors import RequestError
from sft_sweeps.files import private

FOLDER = stat.S_ISGID | 0o775
FILE = 0o664
UMASK = 0o002


def share(root: Path) -> None:
    """Make a store its group's; what this user has in it already is opened too. RequestError where he may not."""
    if is_shared(root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        group = root.stat().st_gid
        for path in _inside(root):
            with contextlib.suppress(PermissionError):  # somebody else's: his next launch opens it
                _open(path, group)
        _keep_names(root)
        _open(root, group)  # the mark, last: an interrupted walk is made again
    except OSError as error:
        raise RequestError(
            f"store.shared=true, but {root} cannot be shared ({error.strerror}); ask its owner to launch with "
            f"store.shared=true, or choose output_dir=FOLDER"
        ) from error


def join(root: Path) -> None:
    """In a process that will write to a store: when it is shared, let the group write what this process makes."""
    if is_shared(root):
        os.umask(UMASK)


def is_shared(root: Path) -> bool:
    """Whether a store's group may write in it and owns what is made there."""
    wanted = stat.S_ISGID | stat.S_IWGRP
    try:
        return root.stat().st_mode & wanted == wanted
    except OSError:
        return False


def _inside(root: Path) -> Iterator[Path]:
    """All but what runs for somebody, which stays his alone (files/private.py)."""
    for folder, folders, files in os.walk(root):
        if Path(folder).parent == root / "sweeps":
            folders[:] = [name for name in folders if name.partition("-")[0] not in private.NAMES]
        yield from (Path(folder) / name for name in (*folders, *files))


def keep_names(sweep: Path) -> None:
    """In a shared store, let nobody but its owner rename or remove what others have in a folder: code that runs."""
    if is_shared(sweep):
        with contextlib.suppress(PermissionError):
            sweep.chmod(stat.S_IMODE(sweep.stat().st_mode) | stat.S_ISVTX)


def _keep_names(root: Path) -> None:
    sweeps = root / "sweeps"
    sweeps.mkdir(exist_ok=True)
    for path in (sweeps, *sweeps.iterdir()):
        _open(path, root.stat().st_gid) if path == sweeps else None
        keep_names(path)


def _open(path: Path, group: int) -> None:
    """The group's, readable and writable; links are left as they are."""
    if path.is_symlink():
        return
    if path.stat().st_gid != group:
        os.chown(path, -1, group)
    path.chmod(stat.S_IMODE(path.stat().st_mode) | (FOLDER if path.is_dir() else FILE))
