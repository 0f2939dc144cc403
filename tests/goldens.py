"""Files that hold what a test expects, whole: `make goldens` writes them anew and shows the difference.

Three kinds of truth are never written by it. Ids (tests/test_golden_ids.py) are identity: one that moves orphans
everybody's finished stages. What another program answered (tests/data/golden_cleaning.json) is not ours to change. A
number that a test states itself is changed by hand, where it stands.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MEASURED = re.compile(r"\d\.\de-\d\d")


def writing() -> bool:
    """Whether they are written anew."""
    return os.environ.get("GOLDENS") == "write"


def compare(path: Path, text: str) -> None:
    """The text must be the file's; with GOLDENS=write it becomes the file's."""
    if writing():
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs; where it should, run `make goldens`"


def compare_part(path: Path, name: str, lines: Sequence[str]) -> list[float]:
    """The same of the part of a page between the marks of that name, but for measured numbers (1.2e-06): those."""
    page = path.read_text(encoding="utf-8")
    before, start, rest = page.partition(f"<!-- {name} -->\n")
    old, end, behind = rest.partition(f"<!-- end of {name} -->")
    assert start and end, f"{path} has no marks of {name}"  # noqa: PT018
    new = "".join(f"{line}\n" for line in ["", *lines, ""])
    if writing():
        path.write_text(before + start + new + end + behind, encoding="utf-8")
        old = new
    assert MEASURED.sub("", old) == MEASURED.sub("", new), f"{name} of {path} differ; where they should: `make goldens`"
    return [float(number) for number in MEASURED.findall(old + new)]


def entries(values: Mapping[str, Any]) -> str:
    """A JSON object with one line for each of its values, so that a difference is a line's."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"
