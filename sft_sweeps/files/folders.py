"""Folders that may not exist yet."""

from pathlib import Path


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists: where it would be created."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
