"""`data.sources.SLOT.columns={prompt: question, response: answer}`: which columns of a file hold what.

A row's columns are given the names of one format before anything is read. Whatever is not named keeps its name and what
that means; a column that has a name of that format and is not meant is read as nothing (`columns={system: null}`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from sft_sweeps.data.turn_flags import says_something
from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.files.rows import FileRow
from sft_sweeps.spec.data import Source

# What a column may hold, and the key by which a format reads it.
KEYS: Mapping[str, str] = {
    "prompt": "prompt",
    "response": "completion",
    "messages": "messages",
    "chosen": "chosen",
    "rejected": "rejected",
    "system": "system",
    "context": "context",
    "history": "history",
    "id": "id",
}
NOT_READ = ""  # in place of a column: rows are read without the key
OTHERS = {"messages": ("conversations", "conversation")}  # other keys of the same, which then are not meant
Pairs = Sequence[tuple[str, str]]


def problems(key: str, columns: Mapping[str, str | None], format_name: str) -> Iterator[str]:
    """What is wrong with what was typed, whatever the file; `key` is that of the columns."""
    named = {word: column for word, column in columns.items() if column is not None}
    for word, column in named.items():
        if word not in KEYS:
            hint = nearest(word, [*KEYS]) or f"; a column may hold {', '.join(KEYS)}"
            yield f"{key}.{word}={column}: {word} is nothing that is read{hint}. Type {key}.{word}=null to ignore a key"
        if not column:
            yield f"{key}.{word} names no column; type {key}.{word}=NAME"
    texts = [column for column in named.values() if column]
    for column in sorted({column for column in texts if texts.count(column) > 1}):
        words = [word for word, name in named.items() if name == column]
        yield f"{key}: {column} is named for {' and '.join(words)}; each needs a column of its own"
    yield from _incomplete(key, named, format_name)


def _incomplete(key: str, named: Mapping[str, str], format_name: str) -> Iterator[str]:
    answers = [word for word in ("response", "chosen") if word in named]
    if "prompt" in named and not answers:
        yield f"{key}.prompt={named['prompt']} needs its answer: also type {key}.response=COLUMN"
    if "response" in named and "prompt" not in named:
        yield f"{key}.response={named['response']} needs its question: also type {key}.prompt=COLUMN"
    if "response" in named and named.keys() & {"messages", "chosen"}:
        other = "messages" if "messages" in named else "chosen"
        yield f"{key}: response and {other} are two answers; name one of them"
    if (fixed := format_of(tuple(named.items()))) and format_name not in ("auto", fixed):
        base = key.rpartition(".")[0]
        yield f"{base}.format={format_name} reads other keys than {key} names; leave {base}.format out"


def typed(columns: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    """What was typed, as a source holds it."""
    return tuple(sorted((word, column or NOT_READ) for word, column in columns.items()))


def format_of(columns: Pairs) -> str:
    """The format that the named columns make, "" where they leave it to the file's own keys."""
    words = {word for word, column in columns if column}
    if "chosen" in words:
        return "chosen"
    if "response" in words:
        return "prompt_completion"
    return "messages" if "messages" in words else ""


def named(row: FileRow, columns: Pairs) -> FileRow:
    """The row with its columns under the names of the format."""
    if not columns or not isinstance(row.value, dict):
        return row
    taken = {KEYS[word]: row.value[column] for word, column in columns if column and says(row.value, column)}
    gone = {column or word for word, column in columns} | displaced(columns)
    rest = {own_name(key, columns): value for key, value in row.value.items() if key not in gone}
    return replace(row, value={**taken, **rest})


def says(row: Mapping[str, Any], column: str) -> bool:
    """Whether a row has a column that is not null: an empty text is one, and is judged as every text is."""
    return column in row and (row[column] == "" or says_something(row[column]) or isinstance(row[column], list))


def displaced(columns: Pairs) -> set[str]:
    """The file's own keys in whose place a named column is read."""
    used = {KEYS[word] for word, column in columns if column}
    used |= {other for word, column in columns if column for other in OTHERS.get(word, ())}
    return used - {column for _, column in columns}


def own_name(key: str, columns: Pairs) -> str:
    """A key as it is called once the columns are named."""
    return next((KEYS[word] for word, column in columns if column and column == key), key)


def column_of(key: str, columns: Pairs) -> str:
    """The file's name of what is called `key` once the columns are named."""
    return next((column for word, column in columns if column and KEYS[word] == key), key)


def check(head: Sequence[FileRow], source: Source) -> None:
    """RequestError where none of a file's first rows has a named column."""
    rows = [row.value for row in head if isinstance(row.value, dict)]
    known = list(dict.fromkeys(chain.from_iterable(rows)))
    for word, column in source.columns:
        if rows and column and column not in known:
            key = f"data.sources.{source.slot or source.name}.columns.{word}"
            hint = nearest(column, known) or f"; they have: {', '.join(known[:20])}"
            raise RequestError(f"{key}={column}: the first rows of {source.path} have no such column{hint}")
