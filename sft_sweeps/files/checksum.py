"""Checksums of files, to find bytes that a disk or a network changed: xxh3, 64 bits, as 16 hexadecimal digits.

They are no protection against somebody who writes a file and its checksum. Computed while a file is written or read,
they cost nothing that is noticed: docs/speed.md has the measurement.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import xxhash

BLOCK = 1 << 22
KEY = "checksum"  # of what stands beside it in an object of JSON


def of_bytes(content: bytes) -> str:
    """The checksum of bytes."""
    return str(xxhash.xxh3_64_hexdigest(content))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object of JSON with a checksum of itself."""
    return {**content, KEY: _of_content(content)}


def is_whole(content: Mapping[str, Any]) -> bool:
    """Whether an object of JSON is what was sealed; one without a checksum is from before there were any."""
    rest = {key: value for key, value in content.items() if key != KEY}
    return KEY not in content or content[KEY] == _of_content(rest)


def _of_content(content: Mapping[str, Any]) -> str:
    return of_bytes(json.dumps(content, sort_keys=True).encode())


def of_file(path: Path) -> str:
    """The checksum of a file; OSError where it cannot be read."""
    total = xxhash.xxh3_64()
    with path.open("rb", buffering=0) as file:
        block = memoryview(bytearray(BLOCK))
        while count := file.readinto(block):
            total.update(block[:count])
    return str(total.hexdigest())


def damaged(folder: Path, checksums: Mapping[str, str]) -> list[str]:
    """The files of a folder, by name, that are missing or are not what they were."""
    return [name for name, checksum in checksums.items() if not _holds(folder / name, checksum)]


def _holds(path: Path, checksum: str) -> bool:
    try:
        return of_file(path) == checksum
    except OSError:
        return False


class Summed:
    """A file that is written from its start to its end, and the checksum of what was written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._total = stream, xxhash.xxh3_64()

    def write(self, content: Any) -> int:
        self._total.update(content)
        return self._stream.write(content)

    def flush(self) -> None:
        self._stream.flush()

    @property
    def checksum(self) -> str:
        return str(self._total.hexdigest())
