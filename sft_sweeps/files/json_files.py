"""JSON files: written atomically or a line at a time, read whole or as the last line."""

import json
import math
import os
import uuid
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any, durable: bool = True, compact: bool = False) -> None:
    """Atomically: a reader sees the old file or the new one; `durable`: also after the machine's crash.

    `compact` is for what is large or written a thousand times: Python indents ten times as slowly.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=None if compact else 1))
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The content, or None where there is no file; ValueError where it is no JSON, or a key stands twice."""
    try:
        return loads(path.read_text(encoding="utf-8"), finite=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


class UnclearJsonError(ValueError):
    """A text that Python's reader takes, and others refuse or take differently."""


def loads(text: str, finite: bool = True) -> Any:
    """A JSON value; UnclearJsonError where a key stands twice, text has no UTF-8 form, or it is nested too deeply.

    Of two values under one key, readers take either: nobody can tell which was meant. `finite` refuses NaN, Infinity,
    and numbers too large for one: JSON has none of them.
    """
    constants: dict[str, Any] = {"parse_constant": _refused, "parse_float": _finite} if finite else {}
    try:
        value = json.loads(text, object_pairs_hook=_unique, **constants)
        if finite and "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise UnclearJsonError("nested too deeply") from None
    except UnicodeEncodeError as error:
        raise UnclearJsonError(f"half a surrogate pair, {error.object[error.start]!a}, is no character") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise UnclearJsonError(
            f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object"
        )
    return found


def _refused(constant: str) -> Any:
    raise UnclearJsonError(f"{constant} is no number in JSON")


def _finite(text: str) -> float:
    return number if math.isfinite(number := float(text)) else _refused(text)


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


def last_line(path: Path) -> str:
    """The last whole line of a file that may be growing; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines[:-1]) if line), "")
