"""What a file is, by its content: the pins that identities are made of.

Reading is remembered by size and time of change, so that a file is read once however many runs use it.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.files.rows import count_rows

MADE = ".made.json"  # beside a file that was made from a data set of the hub


def content_pin(path: Path, pin: str = "", called: str = "") -> tuple[str, int]:
    """(pin of a file's unpacked bytes, in the form of `pin` where that is theirs; number of its rows).

    RequestError, with what the file is `called` (its path), where it is packed and damaged.
    """
    stat = path.stat()
    try:
        blob, sha256, rows = _hashes(str(path), stat.st_size, stat.st_mtime_ns)
    except packing.DAMAGED as error:
        raise RequestError(f"{called or path} is damaged ({error}). Fetch it again.") from error
    if pin.startswith("hub:") and _made_from(path) == {"pin": pin, "sha256": sha256}:
        return pin, rows
    return (f"git-blob:{blob}" if f"git-blob:{blob}" == pin else f"sha256:{sha256}"), rows


def _made_from(path: Path) -> Any:
    """What `prepare` noted beside a file that it made."""
    try:
        return parse_line(path.with_name(path.name + MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=256)
def _hashes(name: str, size: int, mtime: int) -> tuple[str, str, int]:  # noqa: ARG001
    """(git blob id, SHA-256, rows) of the unpacked bytes; size and time are the cache's key."""
    with packing.opened(name) as file:
        length = sum(map(len, _blocks(file)))
    blob, sha256 = hashlib.sha1(f"blob {length}\0".encode(), usedforsecurity=False), hashlib.sha256()
    with packing.opened(name) as file:
        for block in _blocks(file):
            blob.update(block)
            sha256.update(block)
    return blob.hexdigest(), sha256.hexdigest(), count_rows(Path(name))


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(packing.BLOCK), b"")
