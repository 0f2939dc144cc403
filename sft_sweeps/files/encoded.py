"""Where encoded sources lie in a store."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.files import checksum
from sft_sweeps.files.json_files import read_json

ENCODED = "encoded"  # where a store keeps encoded sources

ACCOUNT = "account.json"  # of an encoded source, written last


def damaged(folder: Path) -> list[str]:
    """The files of an encoded source that are not what was written, its account first; each is read whole."""
    account = read_account(folder)
    if account is None:
        return [ACCOUNT]
    return checksum.damaged(folder, account.get("checksums", {}))  # there were none once


def read_account(folder: Path) -> dict[str, Any] | None:
    """The account of an encoded source; None where there is none, or not what was written."""
    try:
        found = (folder / ACCOUNT).stat()
    except OSError:
        return None
    return _account(folder, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _account(folder: Path, size: int, written: int) -> dict[str, Any] | None:  # noqa: ARG001
    try:
        account = read_json(folder / ACCOUNT)
        whole = isinstance(account, dict) and checksum.is_whole(account)
        return account if whole and isinstance(account.get("checksums", {}), dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def encoded_folder(key: str, roots: Iterable[Path]) -> Path | None:
    """The folder of an encoded source in the first store that has it whole, whatever its name is there."""
    folders = (path.parent for root in roots for path in sorted((root / ENCODED).glob(f"*-{key}/{ACCOUNT}")))
    return next((folder for folder in folders if read_account(folder) is not None), None)
