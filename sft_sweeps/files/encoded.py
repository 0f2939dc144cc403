"""Where encoded sources lie in a store."""

from collections.abc import Iterable
from pathlib import Path

ENCODED = "encoded"  # where a store keeps encoded sources

ACCOUNT = "account.json"  # of an encoded source, written last


def encoded_folder(key: str, roots: Iterable[Path]) -> Path | None:
    """The folder of an encoded source in the first store that has it, whatever name the source had there."""
    folders = (path.parent for root in roots for path in sorted((root / ENCODED).glob(f"*-{key}/{ACCOUNT}")))
    return next(folders, None)
