"""The encoding of a text file, found by reading it."""

import codecs
from functools import lru_cache
from pathlib import Path

from sft_sweeps.files import packing, text_kinds


def encoding(path: Path) -> str:
    """What a file of text is written in: utf-8, utf-16 ..., cp1252 where that is sure; "" for any other."""
    stat = path.stat()
    return _encoding(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _encoding(name: str, size: int, mtime: int) -> str:  # noqa: ARG001
    decoder = codecs.getincrementaldecoder("utf-8")()
    with packing.opened(name) as file:
        block = file.read(packing.BLOCK)
        if wide := text_kinds.wide_encoding(block):
            return wide
        try:
            while block:
                decoder.decode(block)
                block = file.read(packing.BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            with packing.opened(name) as again:
                western = text_kinds.is_western(iter(lambda: again.read(packing.BLOCK), b""))
            return text_kinds.CP1252 if western else ""
    return "utf-8"
