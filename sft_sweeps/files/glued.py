"""Lines of a file of JSON lines that are several objects behind each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from sft_sweeps.files import packing
from sft_sweeps.files.file_row import FileRow

GLUED = re.compile(rb'\}[ \t]*\{[ \t]*"')  # between two objects; within a text, a quote has a backslash before it
OBJECT = ", object "  # in the location of one of several in a line
BLANK = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def rows_of(line: str, broken: FileRow) -> Iterator[FileRow]:
    """The rows of a line that is several objects behind each other, else the broken one."""
    place, found = 0, []
    try:
        while place < len(line):
            value, place = DECODER.raw_decode(line, place)
            found.append(value)
            place = cast(re.Match[str], BLANK.match(line, place)).end()
    except (ValueError, RecursionError):
        found = []
    if not all(isinstance(value, dict) for value in found) or len(found) < 2:
        yield broken
        return
    yield from (FileRow(value, f"{broken.location}{OBJECT}{n}") for n, value in enumerate(found, start=1))


def may_be(path: Path) -> bool:
    """Whether a file has what parts two objects of a line; False is certain."""
    before = b""
    with packing.opened(path) as file:
        while block := file.read(packing.BLOCK):
            if GLUED.search(before + block):
                return True
            before = block[-64:]
    return False
