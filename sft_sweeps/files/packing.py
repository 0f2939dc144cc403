"""A file's bytes with its packing undone, whatever the file is called: gzip, Zstandard, or none."""

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

GZIP, ZSTANDARD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
BLOCK = 1 << 20
FEED = 1 << 10  # bytes given to Zstandard at once, which can make 32 MiB of them
EXPANSION = 1000  # times a file's own size, to which it may unpack; text is packed to a tenth, gzip cannot pass 1,032
ALWAYS_ALLOWED = 1 << 28  # bytes unpacked, whatever the file's size
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)  # what reading a damaged file raises


def packing(path: Path | str) -> str:
    """`gzip`, `zstd`, `parquet`, or "" for a file that is none of them; OSError where it is no regular file."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
        raise OSError(f"{path} is no regular file")
    with open(path, "rb") as file:
        head = file.read(4)
    kinds = {"gzip": GZIP, "zstd": ZSTANDARD, "parquet": PARQUET}
    return next((name for name, magic in kinds.items() if head.startswith(magic)), "")


@contextmanager
def opened(path: Path | str) -> Iterator[IO[bytes]]:
    """The unpacked bytes; reading raises OSError, or one of DAMAGED where the file is damaged or cut short."""
    kind = packing(path)
    if kind == "gzip":
        with gzip.open(path, "rb") as unpacked:
            yield cast(IO[bytes], unpacked)
    elif kind == "zstd":
        with open(path, "rb") as file:
            yield cast(IO[bytes], io.BufferedReader(_Zstandard(file), BLOCK))
    else:
        with open(path, "rb") as file:
            yield file


class _Zstandard(io.RawIOBase):
    """The library's own reader ends without a word where a file is cut short; this one raises EOFError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left, self._frame = file, b"", self._new()
        self._unpacked = 0
        self._limit = max(ALWAYS_ALLOWED, EXPANSION * os.fstat(file.fileno()).st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and (block := self._file.read(FEED)):
            self._left = b"".join(self._frames(block))
            self._unpacked += len(self._left)
            if self._unpacked > self._limit:
                raise OSError(f"it unpacks to more than {EXPANSION:,} times its size")
        if not self._left and not self._frame.eof and self._begun:
            raise EOFError("the last frame is not complete")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _frames(self, block: bytes) -> Iterator[bytes]:
        import zstandard

        while block:
            if self._frame.eof:
                self._frame = self._new()
            self._begun = True
            try:
                yield self._frame.decompress(block)
            except zstandard.ZstdError as error:
                raise EOFError(str(error)) from None
            block = self._frame.unused_data

    def _new(self) -> Any:
        import zstandard

        self._begun = False
        return zstandard.ZstdDecompressor().decompressobj()
