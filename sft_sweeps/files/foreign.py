"""Files that came with a model or from another person, read within limits: each may be anything at all."""

import stat
from pathlib import Path
from typing import Any

from sft_sweeps.files.json_files import check_characters, parse

LIMIT = 256 << 20  # bytes; the largest published tokenizer.json have 35 MB


def read_text(path: Path, limit: int = LIMIT) -> str:
    """A file's text; OSError where it is absent or no regular file, ValueError where it is longer or not UTF-8.

    A pipe would be waited for, and a device never ends.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(f"{path} is no regular file")
    if about.st_size > limit:
        raise ValueError(f"{path} has {about.st_size:,} bytes; {limit:,} are the most that is read")
    return path.read_text(encoding="utf-8")


def read_object(path: Path, limit: int = LIMIT) -> dict[str, Any]:
    """A file's JSON object; OSError or ValueError where it is none, with the reason."""
    text = read_text(path, limit)
    value = parse(text)
    check_characters(text, value)  # what it names could be neither encoded nor written
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no JSON object")
    return value
