"""JSON files: written atomically or a line at a time, read whole or as the last line."""

import contextlib
import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sft_sweeps.files import fence


def write_json(path: Path, value: Any, durable: bool = True, compact: bool = False) -> None:
    """Atomically: a reader sees the old file or the new one; `durable`: also after the machine's crash.

    `compact` is for what is large or written a thousand times: Python indents ten times as slowly.
    """
    write_text(path, json.dumps(value, indent=None if compact else 1), durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """A text file, as `write_json` does; half a surrogate pair, which no file can hold as UTF-8, becomes `?`."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        write_unread(temporary, text, durable)
        try:
            fence.publish(temporary, path)
        except PermissionError:  # another's file, in a shared folder in which only owners replace theirs
            path.write_bytes(temporary.read_bytes())
            temporary.unlink()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_unread(path: Path, text: str, durable: bool) -> None:
    """A text file that nobody reads before it gets another name; its folder is made only where there is none.

    A shared file system answers each question in its turn, and a launch writes thousands of files.
    """
    opened = partial(path.open, "w", encoding="utf-8", errors="replace")
    try:
        file = opened()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = opened()
    with file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """The content, or None where there is no file; ValueError where it is no JSON (`parse`)."""
    try:
        return parse(content(path).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def content(path: Path, last: int = 0) -> bytes:
    """The bytes of a file, of a long one the `last` ones where so many are asked for; OSError where it is not there.

    Without the questions to a file system that Python asks of each file that it opens.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if last:
            os.lseek(number, max(0, os.lseek(number, 0, os.SEEK_END) - last), os.SEEK_SET)
        return b"".join(iter(lambda: os.read(number, 1 << 20), b""))
    finally:
        os.close(number)


class UnclearJsonError(ValueError):
    """A text that Python's own reader takes, and that others refuse or take differently."""


def parse(text: str, strict: bool = False) -> Any:
    """The value that a text writes; ValueError where it is no JSON, nested too deeply, or names a key twice.

    Of a key's two values one would be dropped without a word: the one that a person sees first. `strict` also refuses
    what JSON does not have: NaN, infinite numbers, and half a surrogate pair, which no file can hold as UTF-8.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, **(_FINITE if strict else {}))
    except RecursionError:
        raise UnclearJsonError("it is nested too deeply") from None
    if strict:
        check_characters(text, value)
    return value


def check_characters(text: str, value: Any) -> None:
    """UnclearJsonError where the value of a text holds half a surrogate pair."""
    try:
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UnclearJsonError(f"half a surrogate pair, {error.object[error.start]!a}, is no character") from None
    except RecursionError:  # one level less is written than is read
        raise UnclearJsonError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise UnclearJsonError(f"it names {key!r} twice")
    return value


def _refused(constant: str) -> Any:
    raise UnclearJsonError(f"{constant} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else float(_refused(text))


_FINITE: Mapping[str, Any] = {"parse_constant": _refused, "parse_float": _finite}


def parse_line(line: str | bytes, strict: bool = False) -> Any:
    """The value of a line that a program wrote; ValueError where that is none, be it for its depth.

    `strict` as in `parse`, for what is acted on.
    """
    try:
        value = json.loads(line, **(_FINITE if strict else {}))
    except RecursionError:
        raise UnclearJsonError("it is nested too deeply") from None
    if strict:
        check_characters(line if isinstance(line, str) else line.decode(), value)
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be reckoned with: Python reads NaN, and integers that no float holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def append_line(path: Path, value: Any, durable: bool = False) -> None:
    """Add one line of JSON to a file, behind a line of its own that a dying process cut short.

    `durable`: it also survives the machine's crash.
    """
    with path.open("a+b") as file:
        file.seek(max(file.tell() - 1, 0))
        whole = file.read() in (b"", b"\n")
        file.write((("" if whole else "\n") + json.dumps(value) + "\n").encode())
        file.flush()
        if durable:
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; what is no object of JSON, and a file that is not there, is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(parse_line(line))
    return [value for value in found if isinstance(value, dict)]


def last_lines(path: Path, last: int = 8192) -> list[str]:
    """The lines in the `last` bytes of a file that may be growing, the newest first; the oldest may be cut short."""
    try:
        lines = content(path, last=last).decode("utf-8", "replace").split("\n")
    except OSError:
        return []
    return [line for line in reversed(lines[:-1]) if line]


def last_line(path: Path) -> str:
    """The last whole line of a file that may be growing; empty when there is none."""
    return next(iter(last_lines(path)), "")
