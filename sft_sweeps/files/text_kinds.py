"""What kind of text a file's first bytes are: its encoding, and what cannot be read as rows at all."""

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable
from typing import IO, Any

from sft_sweeps.errors import RequestError

BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
BOMS |= {codecs.BOM_UTF16_BE: "utf-16"}
HIGH = re.compile(rb"[\x80-\xff]")
COMMON = frozenset("’‘“”„–—…•«»°€£§©®éèêëàâäáãåçñíîïóòôöúùüßÉÈÀÂÄÇÑÓÖÜœæøÅØ½")
WESTERN = "".join(COMMON).encode("cp1252")
SURE = 0.98
CP1252 = "cp1252"
NAMES = {CP1252: "Windows-1252 (cp1252)", "": "no encoding that is known"}
SEVERAL_HIGH = re.compile(rb"[\x80-\xff]{2,}")
# First bytes of files that hold no rows of text, and what to do about each.
OTHERS: dict[bytes, str] = {
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook. Unpack it, or save the table as CSV",
    b"SQLite format 3": "is an SQLite database. Write it as CSV: sqlite3 -header -csv FILE 'select * from TABLE'",
    b"version https://git-lfs.github.com": "is a pointer to a file of Git LFS. Fetch the file itself: git lfs pull",
    b"ARROW1": "is an Arrow file. Write it as Parquet: "
    "pyarrow.parquet.write_table(pyarrow.feather.read_table(FILE), NEW)",
    b"\xff\xff\xff\xff": "is an Arrow stream, as data sets are saved to disk. Write it as lines: "
    "datasets.load_from_disk(FOLDER).to_json(NEW)",
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "is a Python pickle, which is not opened. Write one JSON object a line",
    ),
    b"ORC\x08": "is an ORC file. Write it as Parquet: pyarrow.parquet.write_table(pyarrow.orc.read_table(FILE), NEW)",
    b"Obj\x01": "is an Avro file. Write one JSON object a line",
    b"\x93NUMPY": "is an array of numpy. Write one JSON object a line",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook. Save the table as CSV",
    b"7z\xbc\xaf": "is packed with 7-Zip. Unpack it: 7z x FILE",
    b"\x04\x22\x4d\x18": "is packed with LZ4. Unpack it: lz4 -d FILE",
    b"\xff\x06\0\0sNaPpY": "is packed with Snappy. Unpack it",
    b"\x1f\x9d": "is packed with compress. Unpack it: uncompress FILE",
    b"\x1f\x8b": "is packed twice. Unpack it: gunzip FILE",
    b"\x28\xb5\x2f\xfd": "is packed twice. Unpack it: unzstd FILE",
    b"<?xml": "is XML, perhaps a server's message. Fetch the file, or write one JSON object a line",
    b"BZh": "is packed with bzip2. Unpack it: bunzip2 FILE",
    b"\xfd7zXZ\0": "is packed with xz. Unpack it: unxz FILE",
    b"<!DOCTYPE html": "is a web page, not the file itself. Fetch the raw file",
    b"<html": "is a web page, not the file itself. Fetch the raw file",
}


def refuse_others(head: bytes, what: str) -> None:
    """RequestError for a file that is known to hold no rows of text."""
    if head[257:262] == b"ustar":
        raise RequestError(f"{what} is a tar archive. Unpack it: tar -xf FILE, and give one of its files.")
    for magic, words in OTHERS.items():
        if head.lstrip()[: len(magic)].lower() == magic.lower():
            raise RequestError(f"{what} {words}.")


def wide_encoding(head: bytes) -> str:
    """`utf-16`, `utf-16-le`, ... where the bytes are that; "" for anything else.

    JSON begins with an ASCII character, so that the zeros beside it tell one from the other (RFC 4627).
    """
    if found := next((name for bom, name in BOMS.items() if head.startswith(bom)), ""):
        return found
    zeros = tuple(not byte for byte in head[:4])
    patterns: dict[tuple[bool, ...], str] = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return patterns.get(zeros, "")


class AsUtf8(io.RawIOBase):
    """The bytes of a file in another encoding, as UTF-8."""

    def __init__(self, file: IO[bytes], head: bytes, encoding: str, what: str) -> None:
        self._file, self._what, self._encoding = file, what, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._left, self._ended = self._utf8(head), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._ended:
            block = self._file.read(len(buffer))
            self._ended = not block
            self._left = self._utf8(block)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _utf8(self, block: bytes) -> bytes:
        try:
            return self._decoder.decode(block, final=not block).encode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise RequestError(f"{self._what} is no whole {self._encoding.upper()} ({error.reason}).") from None


class NotUtf8Error(RequestError):
    """A file that is to be UTF-8 is not."""


def is_western(blocks: Iterable[bytes]) -> bool:
    """Whether text that is not UTF-8 is surely Windows-1252: it says nothing but what is common in that encoding.

    What other encodings write with the same bytes (Hungarian, Polish, Turkish, Cyrillic, Mac) are other characters; a
    file that is UTF-8 in other places is of two encodings, and refused.
    """
    counts: Counter[int] = Counter()
    several = 0
    for block in blocks:
        runs = SEVERAL_HIGH.findall(block)
        if any(not COMMON.isdisjoint(run.decode("utf-8", "ignore")) for run in runs):
            return False
        counts.update(b"".join(HIGH.findall(block)))
        several += sum(map(len, runs))
    all_of_them = counts.total()
    common = sum(counts[byte] for byte in WESTERN)
    return bool(all_of_them) and common >= SURE * all_of_them and 2 * several <= all_of_them


def not_utf8(what: str, location: str, sample: bytes) -> NotUtf8Error:
    """What bytes that are not UTF-8 probably are, and the command that converts them."""
    file = what.partition(": ")[2] or "FILE"
    return NotUtf8Error(f"{what} is not UTF-8 ({location}). {_probably(sample).replace('FILE', file)}")


def _probably(sample: bytes) -> str:
    valid = sample.decode("utf-8", "ignore").encode()
    if len(HIGH.findall(valid)) > 0.7 * len(HIGH.findall(sample)):
        return "The rest of it is: drop the broken bytes with iconv -c -f UTF-8 -t UTF-8 FILE > NEW."
    in_runs = sum(map(len, SEVERAL_HIGH.findall(sample)))
    if in_runs > len(HIGH.findall(sample)) / 2:
        return "Find its encoding, e.g. GB18030 or SHIFT_JIS, and convert it: iconv -f ENCODING -t UTF-8 FILE > NEW."
    try:
        shown = next(iter(re.findall("[^\x00-\x7f]", sample.decode("cp1252"))), "")
    except UnicodeDecodeError:
        return "Find its encoding (file -i FILE) and convert it: iconv -f ENCODING -t UTF-8 FILE > NEW."
    return (
        f"It is probably Windows-1252, where that byte is {shown!r}: convert it with "
        "iconv -f CP1252 -t UTF-8 FILE > NEW, and look whether its accents and quotes are right."
    )
