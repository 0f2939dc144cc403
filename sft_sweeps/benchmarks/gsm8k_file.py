"""Answers to GSM8K from anywhere: our own layout, lm-evaluation-harness' sample files, and completions alone.

lm-eval writes each answer once for every filter: such rows are one. Where an answer comes without its gold number, that
of the test file is used, by id: `gsm8k/test/17`, or 17, its place in the file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks.from_file import read, require_unique
from sft_sweeps.benchmarks.scored import Row
from sft_sweeps.errors import RequestError

_LAYOUT = 'rows are {"id", "completion", "gold"}, or what lm-eval logs as samples'


@dataclass(frozen=True)
class Answered:
    """An answer with the number that is right."""

    id: str | int
    completion: str
    gold: str


def gold_of(answer: str) -> str:
    """The number after #### of a reference solution, or the text itself where it is a bare number or a price."""
    text = answer.rpartition("####")[2].replace(",", "").replace("$", "").strip()
    try:
        finite = math.isfinite(float(text)) and "_" not in text
    except ValueError:
        finite = False
    if not finite:
        raise RequestError(
            f"gold answer {answer[-60:]!r} is not a number; write it as 72, or a solution ending in #### 72"
        )
    return text


def questions(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """(id, question, gold) of the published test file's rows, in its order."""
    asked = []
    for index, row in enumerate(rows):
        question, answer = row.get("question", row.get("query")), row.get("answer", row.get("response"))
        if not isinstance(question, str) or not isinstance(answer, str):
            raise RequestError(
                f"row {index + 1} of the GSM8K file has no question and answer; use the published test.jsonl"
            )
        asked.append((f"gsm8k/test/{index}", question, gold_of(answer)))
    return asked


def answers(path: Path, test_file: Path | None) -> list[Answered]:
    """The answers of a file, in its order; RequestError names the row that is none."""
    golds = _golds(test_file) if test_file else {}
    found: list[Answered] = []
    logged: set[Answered] = set()  # by lm-eval, for another filter
    for number, row in enumerate(read(path), 1):
        try:
            answered = _answered(row, golds)
        except RequestError as error:
            raise RequestError(f"row {number} of {path}: {error}") from error
        if "resps" not in row or answered not in logged:
            found.append(answered)
        logged.add(answered)
    require_unique([str(answered.id) for answered in found], path, "id")
    return found


def _golds(test_file: Path) -> dict[str, str]:
    by_id = {id_: gold for id_, _, gold in questions(read(test_file))}
    return by_id | {id_.rpartition("/")[2]: gold for id_, gold in by_id.items()}


def _answered(row: Row, golds: Mapping[str, str]) -> Answered:
    id_ = row.get("id", row.get("doc_id"))
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise RequestError(f"it has no id, a text or a whole number; {_LAYOUT}")
    gold = _gold_in(row)
    if gold is None and str(id_) not in golds:
        hint = "is no place in it" if golds else "--questions FILE, GSM8K's test.jsonl, adds it by id"
        raise RequestError(f"it has no gold, and {f'its id {id_} ' if golds else ''}{hint}; {_LAYOUT}")
    return Answered(id_, _completion(row), gold_of(gold) if gold is not None else golds[str(id_)])


def _gold_in(row: Row) -> str | None:
    """What the row says is right: `gold`; in lm-eval's rows `target`, or the question's own `answer`."""
    doc = row.get("doc")
    given = (row.get("gold"), row.get("target"), doc.get("answer") if isinstance(doc, dict) else None)
    found = next((value for value in given if value is not None), None)
    if found is None or (isinstance(found, str | int | float) and not isinstance(found, bool)):
        return None if found is None else str(found)
    raise RequestError(f"its gold is neither a number nor text; {_LAYOUT}")


def _completion(row: Row) -> str:
    """The one answer; lists that hold nothing but it are opened."""
    found: Any = row.get("completion", row.get("resps"))
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, str):
        return found
    if isinstance(found, list) and found:
        raise RequestError(f"it has {len(found)} answers; each item is answered once")
    wrong = "completion must be text" if found is not None else "it has no completion"
    raise RequestError(f"{wrong}; {_LAYOUT}")
