"""A source's file becomes a table of examples.

A file is a list of rows: JSON lines, or one JSON array, either of them gzipped. A row becomes one example or is dropped
for one reason, and every dropped row is counted under its reason with one row of each shown. A row's place in the file
is its example's id, so dropping a row renames no other.

    question_answer   {question, answer}
    query_response    {query, response}
    alpaca            {instruction, input, output}      prompt: the instruction, "\\nInput:\\n", the input
    sharegpt          {id, conversations: [{from, value}]}

An empty text has no character at all; white space is text, as it is for FastChat.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from sft_sweeps.data.example import Example
from sft_sweeps.data.rows import Row, read_rows
from sft_sweeps.errors import RequestError

Rounds = tuple[tuple[str, str], ...]
Convert = Callable[[Mapping[str, Any]], tuple[Rounds, str]]  # a row -> its rounds and its group ("": its own)

HUMAN = frozenset({"human", "user"})
ASSISTANT = frozenset({"gpt", "chatgpt", "bing", "bard", "assistant"})
# NUL is no text, and a lone half of a surrogate pair has no UTF-8 form: neither can be encoded or written.
BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")
CHUNK = re.compile(r"_\d+$")
LOOK_AT = 100  # rows that decide the format
SHOWN = 160  # characters of a dropped row in a message


@dataclass(frozen=True)
class Table:
    """A source's examples in the order of its rows; `dropped` counts by reason, with a sample each."""

    examples: tuple[Example, ...]
    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)


class DropError(Exception):
    """Why a row is no example."""


def read(
    path: Path,
    name: str,
    *,
    max_bad_fraction: float,
    format: str = "auto",  # noqa: A002 -- the config's word
    limit_key: str = "",
) -> Table:
    """The examples of source `name`; RequestError when more than `max_bad_fraction` of the rows had to be dropped.

    `limit_key` is what the user types to raise the limit; by default `data.sources.<name>.max_bad_fraction`.
    """
    if format != "auto" and format not in FORMATS:
        raise RequestError(f"source {name}: format {format} is not known. Choose from auto, {', '.join(FORMATS)}.")
    rows = read_rows(path, name)
    if not rows:
        raise RequestError(f"source {name}: {path} is empty. Write one JSON object a line into it.")
    convert = FORMATS.get(find_format(rows) if format == "auto" else format)
    examples: list[Example] = []
    dropped: Counter[str] = Counter()
    samples: dict[str, str] = {}
    for index, row in enumerate(rows):
        try:
            examples.append(_example(row, f"{name}/{index}", convert))
        except DropError as reason:
            dropped[str(reason)] += 1
            samples.setdefault(str(reason), f"{row.place}: {_shorten(row)}")
    table = Table(tuple(_regroup(examples)), len(rows), dict(sorted(dropped.items())), samples)
    _check(table, path, name, max_bad_fraction, limit_key or f"data.sources.{name}.max_bad_fraction")
    return table


def find_format(rows: list[Row]) -> str:
    """The format that most of the first good rows have (of equals, the one seen first), "" when none has any."""
    objects = islice((row.value for row in rows if isinstance(row.value, dict)), LOOK_AT)
    votes = Counter(next((name for name, needed in FIELDS.items() if needed <= row.keys()), "") for row in objects)
    del votes[""]
    return votes.most_common(1)[0][0] if votes else ""


def _example(row: Row, example_id: str, convert: Convert | None) -> Example:
    if row.broken is not None:
        raise DropError("broken_json")
    if not isinstance(row.value, dict):
        raise DropError("not_an_object")
    if convert is None:
        raise DropError("unknown_fields")
    rounds, group = convert(row.value)
    if any(BAD_CHARACTERS.search(text) for text in (group, *_texts(rounds))):
        raise DropError("bad_characters")
    return Example(example_id, rounds, group)


def _texts(rounds: Rounds) -> Iterator[str]:
    return (text for both in rounds for text in both)


def _pair(prompt: Any, response: Any) -> tuple[Rounds, str]:
    if not isinstance(prompt, str) or not isinstance(response, str):
        raise DropError("not_text")
    if not prompt:
        raise DropError("empty_prompt")
    if not response:
        raise DropError("empty_response")
    return ((prompt, response),), ""


def _field(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise DropError("unknown_fields")
    return row[name]


def _question_answer(row: Mapping[str, Any]) -> tuple[Rounds, str]:
    return _pair(_field(row, "question"), _field(row, "answer"))


def _query_response(row: Mapping[str, Any]) -> tuple[Rounds, str]:
    return _pair(_field(row, "query"), _field(row, "response"))


def _alpaca(row: Mapping[str, Any]) -> tuple[Rounds, str]:
    prompt, response = _field(row, "instruction"), _field(row, "output")
    context = row.get("input") or ""
    if not isinstance(prompt, str) or not isinstance(context, str):
        raise DropError("not_text")
    # FastChat's rule; an input of one character counts as none.
    return _pair(f"{prompt}\nInput:\n{context}" if prompt and len(context.strip()) > 1 else prompt, response)


def _sharegpt(row: Mapping[str, Any]) -> tuple[Rounds, str]:
    turns = _field(row, "conversations")
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        raise DropError("not_text")
    start = next((place for place, turn in enumerate(turns) if turn["from"] in HUMAN), len(turns))
    texts: list[str] = []
    for turn in turns[start:]:
        expected = ASSISTANT if len(texts) % 2 else HUMAN
        if turn["from"] not in expected or not turn["value"]:
            break
        texts.append(turn["value"])
    rounds = tuple(zip(texts[::2], texts[1::2], strict=False))
    if not rounds:
        raise DropError("no_round")
    return rounds, CHUNK.sub("", str(row.get("id") or ""))


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)


# What a row of each format has at least; a row that fits two is of the first.
FIELDS: dict[str, frozenset[str]] = {
    "question_answer": frozenset({"question", "answer"}),
    "query_response": frozenset({"query", "response"}),
    "alpaca": frozenset({"instruction", "output"}),
    "sharegpt": frozenset({"conversations"}),
}
FORMATS: dict[str, Convert] = {
    "question_answer": _question_answer,
    "query_response": _query_response,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}


def _regroup(examples: list[Example]) -> list[Example]:
    """Ids that all share one base ("chat_0", "chat_1", ...) number the rows and name no conversation: no grouping."""
    if len(examples) > 1 and len({example.group for example in examples}) == 1:
        return [replace(example, group=example.id) for example in examples]
    return examples


def _shorten(row: Row) -> str:
    text = json.dumps(row.value) if row.broken is None else row.broken
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


def _check(table: Table, path: Path, name: str, limit: float, key: str) -> None:
    bad = sum(table.dropped.values())
    if bad <= limit * table.rows and table.examples:
        return
    lines = [
        f"source {name}: {bad:,} of the {table.rows:,} rows of {path} cannot be used ({bad / table.rows:.1%}).",
        *(f"    {count:,} {reason}, e.g. {table.samples[reason]}" for reason, count in table.dropped.items()),
    ]
    if "unknown_fields" in table.dropped:
        shapes = ", ".join("{" + ", ".join(sorted(needed)) + "}" for needed in FIELDS.values())
        lines.append(f"    A row needs the fields of one format: {shapes}.")
    raised = f", or raise {key} (now {limit:g})" if table.examples else ""
    raise RequestError("\n".join([*lines, f"Mend the file{raised}."]))
