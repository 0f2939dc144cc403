"""A source's file becomes examples, one row at a time.

A row becomes one example or is dropped for one reason, and every dropped row is counted under its reason with one row
of each shown. A row's place in the file is its example's id, so dropping a row renames no other.

    question_answer   {question, answer}
    query_response    {query, response}
    alpaca            {instruction, input, output}      prompt: the instruction, "\\nInput:\\n", the input
    sharegpt          {id, conversations: [{from, value}]}
    messages          {messages: [{role, content}]}     a system message is left out: the template has its own

An empty text has no character at all; white space is text, as it is for FastChat.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sft_sweeps.data import clean, tags
from sft_sweeps.data.example import DropError, Dropped, Example
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import FileRow, read_rows
from sft_sweeps.spec import Cleaning, Source

# NUL is no text, and a lone half of a surrogate pair has no UTF-8 form: neither can be encoded or written.
BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")
CHUNK = re.compile(r"_\d+$")
LOOK_AT = 100  # rows that decide the format
SHOWN = 160  # characters of a dropped row in a message

# What a row of each format has at least; a row that fits two is of the first.
FIELDS: dict[str, frozenset[str]] = {
    "question_answer": frozenset({"question", "answer"}),
    "query_response": frozenset({"query", "response"}),
    "alpaca": frozenset({"instruction", "output"}),
    "sharegpt": frozenset({"conversations"}),
    "messages": frozenset({"messages"}),
}
FORMATS = tuple(FIELDS)
CHATS = ("sharegpt", "messages")


Split = Callable[[Example], Iterable[Example]]


def whole(example: Example) -> Iterable[Example]:
    """No splitting."""
    return (example,)


@dataclass(frozen=True, slots=True)
class RowResult:
    """What one row became: its examples, or why there are none; `keys` tell duplicates."""

    examples: tuple[Example, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    keys: clean.Keys | None = None


@dataclass(frozen=True)
class Reader:
    """How the rows of a source are read, each by itself; `format` "" is that of none."""

    name: str
    format: str
    cleaning: Cleaning | None = None
    bug_compatible: bool = False

    @cached_property
    def _about(self) -> Callable[[Example], str] | None:
        return tags.about(self.cleaning) if self.cleaning and self.cleaning.drop_tags else None

    def outcome(self, row: FileRow, index: int, split: Split) -> RowResult:
        """What a row becomes."""
        found = self.cleaned(row, index)
        return RowResult(dropped=(found,)) if isinstance(found, Dropped) else self.cut(found, row, split)

    def cleaned(self, row: FileRow, index: int) -> Example | Dropped:
        """A row's example before it is split, or why there is none."""
        try:
            found = self._example(row, f"{self.name}/{index}")
            if self._about and (reason := self._about(found)):
                raise DropError(reason)
        except DropError as error:
            return Dropped(str(error), f"{row.place}: {_shorten(row)}")
        return found

    def cut(self, found: Example, row: FileRow, split: Split) -> RowResult:
        """What the cleaned example of a row becomes."""
        keys = clean.keys(found) if self.cleaning and self.cleaning.drop_duplicates else None
        parts, dropped = tuple(split(found)), []
        if (rounds := sum(len(part.rounds) for part in parts)) < len(found.rounds):
            lost = "lost_in_splitting" if parts else "lost_whole_in_splitting"
            dropped.append(Dropped(lost, f"{row.place}: {len(found.rounds) - rounds} of {len(found.rounds)} rounds"))
        if self.cleaning and self.cleaning.drop_wrong_lists:
            wrong = [part for part in parts if clean.has_wrong_list(part)]
            dropped += [Dropped("wrong_list", f"{row.place}: {_shorten(row)}") for _ in wrong]
            parts = tuple(part for part in parts if part not in wrong)
        return RowResult(parts, tuple(dropped), keys)

    def _example(self, row: FileRow, example_id: str) -> Example:
        if row.broken is not None:
            raise DropError("broken_json")
        if not isinstance(row.value, dict):
            raise DropError("not_an_object")
        if self.format in CHATS:
            found = self._conversation(row.value, example_id)
        elif self.format:
            found = Example(example_id, (self._pair(*PAIRS[self.format](row.value)),))
        else:
            raise DropError("unknown_fields")
        if any(BAD_CHARACTERS.search(text) for text in (found.group, *found.messages)):
            raise DropError("bad_characters")
        return found

    def _pair(self, prompt: Any, response: Any) -> tuple[str, str]:
        if not isinstance(prompt, str) or not isinstance(response, str):
            raise DropError("not_text")
        if not prompt and not self.bug_compatible:
            raise DropError("empty_prompt")
        if not response and not self.bug_compatible:
            raise DropError("empty_response")
        return prompt, response

    def _conversation(self, row: Mapping[str, Any], example_id: str) -> Example:
        turns = clean.turns_of(row)
        plugins = row.get("plugins") is not None
        rounds, dangling = clean.conversation(turns, self.cleaning, self.bug_compatible, plugins)
        row_id = str(row.get("id") or "")
        return Example(example_id, rounds, CHUNK.sub("", row_id), dangling, row_id)


def _field(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise DropError("unknown_fields")
    return row[name]


def _alpaca(row: Mapping[str, Any]) -> tuple[Any, Any]:
    prompt, response = _field(row, "instruction"), _field(row, "output")
    context = row.get("input") or ""
    if not isinstance(prompt, str) or not isinstance(context, str):
        raise DropError("not_text")
    # FastChat's rule; an input of one character counts as none.
    return f"{prompt}\nInput:\n{context}" if prompt and len(context.strip()) > 1 else prompt, response


PAIRS: dict[str, Callable[[Mapping[str, Any]], tuple[Any, Any]]] = {
    "question_answer": lambda row: (_field(row, "question"), _field(row, "answer")),
    "query_response": lambda row: (_field(row, "query"), _field(row, "response")),
    "alpaca": _alpaca,
}


@dataclass
class Tally:
    """What became of the rows so far: how many, and how many dropped for each reason, with a sample of each."""

    rows: int = 0
    examples: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    dropped_rows: Counter[str] = field(default_factory=Counter)  # without any example, each for one reason

    def drop(self, dropped: Dropped) -> None:
        """Count a dropped row, or a part of one."""
        self.dropped[dropped.reason] += 1
        self.samples.setdefault(dropped.reason, dropped.sample)


@dataclass(frozen=True)
class SourceExamples:
    """A source's examples in the order of its rows; `dropped` counts by reason, with a sample each."""

    examples: tuple[Example, ...]
    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)


def reader_of(rows: Iterator[FileRow], source: Source, path: Path) -> tuple[Reader, Iterator[FileRow]]:
    """How rows are read, and the same rows: the first ones decide the format where it is `auto`."""
    name, form = source.name, source.format
    if form != "auto" and form not in FORMATS:
        raise RequestError(f"source {name}: format {form} is not known. Choose from auto, {', '.join(FORMATS)}.")
    head = _head(rows)
    if not head:
        raise RequestError(f"source {name}: {path} is empty. Write one JSON object a line into it.")
    found = find_format(head) if form == "auto" else form
    return Reader(name, found, source.cleaning, source.bug_compatible), chain(head, rows)


class RowFilter:
    """Counts what became of the rows, and drops duplicates of earlier ones."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._unique = clean.Unique()

    def passes(self, outcome: RowResult) -> bool:
        """Whether the examples of the next row stay."""
        tally = self.tally
        tally.rows += 1
        if outcome.keys and (reason := self._unique.repeats(outcome.keys)):
            tally.drop(Dropped(reason, f"row {tally.rows - 1}"))
            tally.dropped_rows[reason] += 1
            return False
        for dropped in outcome.dropped:
            tally.drop(dropped)
        if outcome.dropped and not outcome.examples:
            tally.dropped_rows[outcome.dropped[0].reason] += 1
        tally.examples += len(outcome.examples)
        return bool(outcome.examples)


def _head(rows: Iterator[FileRow]) -> list[FileRow]:
    """The first rows, among which are LOOK_AT good ones if it can be."""
    head: list[FileRow] = []
    good = 0
    for row in islice(rows, LOOK_AT * LOOK_AT):
        head.append(row)
        good += isinstance(row.value, dict)
        if good >= LOOK_AT:
            break
    return head


def stream(path: Path, source: Source, sieve: RowFilter, split: Split = whole) -> Iterator[Example]:
    """The examples of a source's file, every row of it counted; `split` cuts long conversations."""
    reader, rows = reader_of(read_rows(path, source.name), source, path)
    for index, row in enumerate(rows):
        outcome = reader.outcome(row, index, split)
        if sieve.passes(outcome):
            yield from outcome.examples


def read(
    path: Path,
    name: str,
    *,
    max_bad_fraction: float,
    format: str = "auto",  # noqa: A002 -- the config's word
    limit_key: str = "",
    source: Source | None = None,
) -> SourceExamples:
    """All examples of source `name`; RequestError when more than `max_bad_fraction` of the rows cannot be used.

    `limit_key` is what the user types to raise the limit; by default `data.sources.<name>.max_bad_fraction`. `source`
    says more of how they are read; conversations are not split.
    """
    source = source or Source(name, "", format, "", "specialized", 0, max_bad_fraction=max_bad_fraction)
    sieve = RowFilter()
    examples, tally = list(stream(path, source, sieve)), sieve.tally
    check(tally, path, source, limit_key or f"data.sources.{name}.max_bad_fraction")
    return SourceExamples(tuple(regroup(examples)), tally.rows, dict(sorted(tally.dropped.items())), tally.samples)


def survey(path: Path, source: Source, key: str) -> Tally:
    """What a source's file would give, conversations not split; RequestError as `read`. Holds no example."""
    sieve = RowFilter()
    for _ in stream(path, source, sieve):
        pass
    check(sieve.tally, path, source, key)
    return sieve.tally


def find_format(rows: list[FileRow]) -> str:
    """The format that most of the first good rows have (of equals, the one seen first), "" when none has any."""
    objects = (row.value for row in rows if isinstance(row.value, dict))
    votes = Counter(next((name for name, needed in FIELDS.items() if needed <= row.keys()), "") for row in objects)
    del votes[""]
    return votes.most_common(1)[0][0] if votes else ""


def regroup(examples: list[Example]) -> list[Example]:
    """Ids that all share one base ("chat_0", "chat_1", ...) number the rows and name no conversation: no grouping."""
    if len(examples) > 1 and len({example.group for example in examples}) == 1:
        return [replace(example, group=example.id) for example in examples]
    return examples


def _shorten(row: FileRow) -> str:
    return _shortened(json.dumps(row.value, default=str) if row.broken is None else row.broken)


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


# Rows that a rule of the user's own drops are no bad ones.
WANTED = ("duplicate_", "tag_", "word_", "code_fence", "language", "blocked_word", "plugin", "lost_", "wrong_list")


def check(tally: Tally, path: Path, source: Source, key: str) -> None:
    """RequestError when more than `max_bad_fraction` of the rows cannot be used, or none can."""
    name, limit = source.name, source.max_bad_fraction
    bad = sum(count for reason, count in tally.dropped.items() if not reason.startswith(WANTED))
    if bad <= limit * tally.rows and tally.examples:
        return
    lines = [
        f"source {name}: {bad:,} of the {tally.rows:,} rows of {path} cannot be used ({bad / tally.rows:.1%}).",
        *(f"    {count:,} {reason}, e.g. {tally.samples[reason]}" for reason, count in sorted(tally.dropped.items())),
    ]
    if "unknown_fields" in tally.dropped:
        shapes = ", ".join("{" + ", ".join(sorted(needed)) + "}" for needed in FIELDS.values())
        lines.append(f"    A row needs the fields of one format: {shapes}.")
    raised = f", or raise {key} (now {limit:g})" if tally.examples else ""
    raise RequestError("\n".join([*lines, f"Mend the file{raised}."]))
