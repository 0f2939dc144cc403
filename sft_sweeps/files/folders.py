"""Folders that may not be there yet."""

import os
from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists; nothing is created."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def names(folder: Path) -> frozenset[str]:
    """What a folder holds, asked for once; nothing where there is none."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
