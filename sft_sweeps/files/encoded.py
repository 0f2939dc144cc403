"""Where encoded sources lie in a store."""

from collections.abc import Iterable
from pathlib import Path

from sft_sweeps.files import checksum
from sft_sweeps.files.json_files import read_json

ENCODED = "encoded"  # where a store keeps encoded sources

ACCOUNT = "account.json"  # of an encoded source, written last


def damaged(folder: Path) -> list[str]:
    """The files of an encoded source that are not what was written, its account first; each is read whole."""
    try:
        account = read_json(folder / ACCOUNT)
        if not isinstance(account, dict) or not checksum.is_whole(account):
            return [ACCOUNT]
        return checksum.damaged(folder, account.get("checksums", {}))  # there were none once
    except (OSError, ValueError, AttributeError, RecursionError):
        return [ACCOUNT]


def encoded_folder(key: str, roots: Iterable[Path]) -> Path | None:
    """The folder of an encoded source in the first store that has it, whatever name the source had there."""
    folders = (path.parent for root in roots for path in sorted((root / ENCODED).glob(f"*-{key}/{ACCOUNT}")))
    return next(folders, None)
