"""Folders that may not be there yet."""

from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists; nothing is created."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
