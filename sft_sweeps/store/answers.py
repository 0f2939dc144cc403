"""Answers as they are kept: JSON lines, one for each item of a benchmark."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.files import fence
from sft_sweeps.files.json_files import parse_line

ITEMS = "items.jsonl"
VERDICTS = "verdicts.jsonl"  # beside a score
JOURNAL = "answers.partial.jsonl"  # of a generation that is not finished
AnswerRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated token ids, without the end-of-sequence token; `finished` says that the model wrote it."""

    ids: list[int]
    finished: bool


NEEDED = {"id", "sample", "turn", "answer", "ids", "finished"}


class Journal:
    """Answers as they come, one line each, appended: a killed job goes on after the last whole line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[AnswerRow] = []
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            try:
                row = parse_line(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not isinstance(row, dict) or not row.keys() >= NEEDED:
                break
            self.rows.append(row)
            whole += len(line)
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)  # a line that was cut off in the middle
        self.file = path.open("a", encoding="utf-8")

    def add(self, row: AnswerRow) -> None:
        """Keep one row; it survives the death of this process."""
        self.rows.append(row)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def write_rows(path: Path, rows: Iterable[AnswerRow]) -> None:
    """JSON lines, at once: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing{fence.token()}")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fence.publish(temporary, path)


def read_rows(path: Path) -> list[AnswerRow]:
    """The rows of a JSON lines file."""
    return [parse_line(line) for line in path.read_text(encoding="utf-8").splitlines()]
