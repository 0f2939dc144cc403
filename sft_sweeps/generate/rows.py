"""Answers as they are kept: JSON lines, one for each item of a benchmark."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ITEMS = "items.jsonl"
Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """JSON lines, at once: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    temporary.replace(path)


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
