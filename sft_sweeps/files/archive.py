"""An archive of many files, packed so that equal files make equal bytes, and read so that nothing in it is trusted.

It is a tar file under Zstandard. Its first member, a list in JSON, names every other one in order, with its size and
SHA-256, and holds its own. The reader knows by that list what each header must be, to the byte, and takes nothing else:
links, devices and members that are not listed are refused, and so are long headers, which Python's own reader would
hold in memory.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.files.json_files import parse

LIST = "export.json"
LIST_BYTES = 1 << 28  # of the list, at most
MOST_FILES = 1_000_000
BLOCK = 1 << 20
LEVEL = 10  # of Zstandard: text at 100 MB/s
END = 10_240  # bytes to whose multiple a tar file is filled up


@dataclass(frozen=True)
class Member:
    """A file of an archive: where it lies in it, its size in bytes and its SHA-256 in hexadecimal digits."""

    path: str
    size: int
    sha256: str


def member_of(path: str, content: Path | bytes) -> Member:
    """A file, or bytes, as a member."""
    if isinstance(content, bytes):
        return Member(path, len(content), hashlib.sha256(content).hexdigest())
    with content.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return Member(path, os.fstat(file.fileno()).st_size, found)


def write(
    target: Path,
    about: Mapping[str, Any],
    contents: Mapping[Member, Path | bytes],
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write members behind a list that says `about` and names them, at once; RequestError where a file has changed."""
    import zstandard

    text = _list_text({**about, "files": [[one.path, one.size, one.sha256] for one in contents]})
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file, zstandard.ZstdCompressor(LEVEL).stream_writer(file) as packed:
            written = _put(packed, member_of(LIST, text), text)
            for member, content in contents.items():
                written += _put(packed, member, content)
                progress(member.size)
            packed.write(b"\0" * (2 * tarfile.BLOCKSIZE + -(written + 2 * tarfile.BLOCKSIZE) % END))
        os.link(temporary, target)  # and not over what somebody else has put there
    finally:
        temporary.unlink(missing_ok=True)


def _list_text(listed: Mapping[str, Any]) -> bytes:
    """The list as it is written: with the SHA-256 of what it says without it."""

    def text(value: Mapping[str, Any]) -> bytes:
        return json.dumps(value, indent=0, sort_keys=True, ensure_ascii=False).encode()

    return text({**listed, "sha256": hashlib.sha256(text(listed)).hexdigest()})


def _put(packed: IO[bytes], member: Member, content: Path | bytes) -> int:
    """Write one member; how many bytes that were."""
    header, total, size = _header(member), hashlib.sha256(), 0
    packed.write(header)
    for block in _blocks(content):
        packed.write(block)
        total.update(block)
        size += len(block)
    if (size, total.hexdigest()) != (member.size, member.sha256):
        raise RequestError(f"{content if isinstance(content, Path) else member.path} changed meanwhile; export again")
    packed.write(b"\0" * _filling(size))
    return len(header) + size + _filling(size)


def _blocks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _header(member: Member) -> bytes:
    header = tarfile.TarInfo(member.path)
    header.size = member.size
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _filling(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


class Archive:
    """An open archive: `about` is what its list says, `members` are the files that it must hold."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self.about = self._list()
        self.members = self._members()

    def contents(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Every member with its blocks, once; what of them is not read by then is checked before the next one."""
        for member in self.members:
            self._expect(member)
            content = self._content(member)
            yield member, content
            for _ in content:
                pass
        if self._read(2 * END).strip(b"\0") or self._read(1):
            raise self._refused("it goes on behind its last file")

    def _list(self) -> dict[str, Any]:
        header = self._read(tarfile.BLOCKSIZE)
        try:
            found = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise self._refused("it is no export of sft-sweeps") from None
        if found.name != LIST or not found.isreg() or not 0 < found.size <= LIST_BYTES:
            raise self._refused(f"it is no export of sft-sweeps: it does not begin with {LIST}")
        text = self._read(found.size)
        self._read_filling(found.size)
        try:
            about = parse(text.decode())
        except ValueError as error:
            raise self._refused(f"its {LIST} cannot be read ({error})") from None
        if not isinstance(about, dict) or not isinstance(about.get("files"), list):
            raise self._refused(f"its {LIST} lists no files")
        total = about.pop("sha256", None)
        if header != _header(member_of(LIST, text)) or text != _list_text(about):
            wrong = "is damaged: copy it" if total else "has no sum of its own, as an older sft-sweeps wrote it: export"
            raise self._refused(f"its {LIST} {wrong} again")
        return about

    def _members(self) -> list[Member]:
        rows = self.about["files"]
        if len(rows) > MOST_FILES:
            raise self._refused(f"it lists {len(rows):,} files, more than {MOST_FILES:,}")
        try:
            members = [Member(str(path), int(size), str(digest)) for path, size, digest in rows]
        except (TypeError, ValueError):
            raise self._refused(f"its {LIST} lists something that is no file") from None
        for member in members:
            if wrong := _wrong(member.path):
                raise self._refused(f"it lists {member.path[:200]!r}, {wrong}")
            if member.size < 0:
                raise self._refused(f"it lists {member.path!r} of {member.size} bytes")
        if len({member.path for member in members}) < len(members):
            raise self._refused("it lists a file twice")
        return members

    def _expect(self, member: Member) -> None:
        header = _header(member)
        if (found := self._read(len(header))) != header:
            raise self._refused(f"in place of {member.path} it holds {_described(found)}")

    def _content(self, member: Member) -> Iterator[bytes]:
        total, left = hashlib.sha256(), member.size
        while left:
            if not (block := self._read(min(BLOCK, left))):
                raise self._refused("it ends early: copy it again")
            total.update(block)
            left -= len(block)
            yield block
        self._read_filling(member.size)
        if total.hexdigest() != member.sha256:
            raise self._refused(f"{member.path} is damaged")

    def _read_filling(self, size: int) -> None:
        """What fills up a block behind so many bytes: zeros, as nothing is read that no sum vouches for."""
        if self._read(_filling(size)).strip(b"\0"):
            raise self._refused("it holds something between its files")

    def _read(self, size: int) -> bytes:
        """So many bytes, or all that are left of the filling at the end."""
        parts, left = [], size
        try:
            while left and (part := self._file.read(left)):
                parts.append(part)
                left -= len(part)
        except packing.DAMAGED:
            raise self._refused("it ends early or is damaged: copy it again") from None
        except OSError as error:
            raise self._refused(str(error)) from None
        return b"".join(parts)

    def _refused(self, why: str) -> RequestError:
        return RequestError(f"{self.path} is refused: {why}")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """An archive to read from its start; RequestError where it is none."""
    try:
        kind = packing.packing(path)
    except FileNotFoundError:
        raise RequestError(f"there is no file {path}") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror or 'it is no file'})") from None
    if kind != "zstd":
        raise RequestError(f"{path} is refused: it is no export of sft-sweeps, which are .tar.zst files")
    with packing.opened(path) as file:
        yield Archive(path, file)


def _wrong(path: str) -> str:
    """What is wrong with where a member would lie; empty for a plain path below the archive's root."""
    parts = path.split("/")
    if path.startswith("/") or ":" in parts[0] or "\\" in path:
        return "which is no path inside a store"
    if any(part in ("", ".", "..") for part in parts):
        return "which leads out of a store"
    if not path.isprintable() or any(len(part.encode(errors="replace")) > 255 for part in parts):
        return "which is no name of a file"
    return ""


def _described(header: bytes) -> str:
    """What another header is of, for a message."""
    try:
        found = tarfile.TarInfo.frombuf(header[: tarfile.BLOCKSIZE], "utf-8", "replace")
    except tarfile.HeaderError:
        return "something else" if header.strip(b"\0") else "nothing"
    kinds = {"a link": found.issym() or found.islnk(), "a device": found.isdev(), "a folder": found.isdir()}
    kind = next((name for name, fits in kinds.items() if fits), "a file")
    return f"{kind}, {found.name[:200]!r}"
