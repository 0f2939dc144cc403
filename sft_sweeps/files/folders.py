"""Folders that may not be there yet."""

import os
from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists; nothing is created."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def nearest_folder(path: Path) -> Path:
    """The nearest existing folder: of a path that leads through a file, the one that holds the file."""
    nearest = nearest_existing(path)
    return nearest if nearest.is_dir() else nearest.parent


def names(folder: Path) -> frozenset[str]:
    """What a folder holds, asked for once; nothing where there is none."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
