"""A source's file becomes examples: its first rows decide how each is read (data/row_reader.py)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from sft_sweeps.data import columns, fields, groups
from sft_sweeps.data.example import Example
from sft_sweeps.data.formats import AUTO, valid_names
from sft_sweeps.data.row_filter import RowFilter, Tally, check_bad_rows
from sft_sweeps.data.row_reader import Reader, Split, unsplit
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import FileRow, read_rows
from sft_sweeps.spec.data import Source


@dataclass(frozen=True)
class SourceExamples:
    """A source's examples in the order of its rows; `dropped` counts by reason, with a sample each."""

    examples: tuple[Example, ...]
    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)


def reader_of(rows: Iterator[FileRow], source: Source, path: Path) -> tuple[Reader, Iterator[FileRow]]:
    """How rows are read, and the same rows, each with its group: the first decide the format where it is `auto`."""
    if source.format not in valid_names():
        valid = ", ".join(valid_names())
        raise RequestError(f"source {source.name}: format {source.format} is not known. Choose from {valid}.")
    rows = map(fields.without_nulls, rows)
    rows = _in_columns(rows, source) if source.columns else rows
    rows = rows if source.bug_compatible else map(fields.spelt_as_usual, rows)
    head = _head(rows)
    if not head:
        raise RequestError(f"source {source.name}: {path} is empty. Write one JSON object a line into it.")
    auto = source.format == AUTO
    format_name = recognised_format(head) if auto else source.format
    grouped = replace(source, group_by=columns.own_name(source.group_by, source.columns))
    groups.check_column(head, grouped)
    rules = source.cleaning, source.bug_compatible, source.turns
    reader = Reader(source.name, format_name, *rules, auto, source.columns, grouped.group_by)
    return reader, groups.named(chain(head, rows), grouped, format_name)


def _in_columns(rows: Iterator[FileRow], source: Source) -> Iterator[FileRow]:
    """The rows with their columns named; RequestError where the first of them have not what was typed."""
    head = _head(rows)
    columns.check(head, source)
    return (columns.named(row, source.columns) for row in chain(head, rows))


def _head(rows: Iterator[FileRow]) -> list[FileRow]:
    """The first rows, up to fields.DECIDING_ROWS objects among them, or 100 times as many of whatever they are."""
    head: list[FileRow] = []
    objects = 0
    for row in islice(rows, fields.DECIDING_ROWS * fields.DECIDING_ROWS):
        head.append(row)
        objects += isinstance(row.value, dict)
        if objects >= fields.DECIDING_ROWS:
            break
    return head


def recognised_format(rows: Iterable[FileRow]) -> str:
    """The format that most rows have (of equals, the one seen first), "" when none has any."""
    return fields.most_common_format(row.value for row in rows if isinstance(row.value, dict))


def stream(path: Path, source: Source, row_filter: RowFilter, split: Split = unsplit) -> Iterator[Example]:
    """The examples of a source's file, every row of it counted; `split` cuts long conversations."""
    reader, rows = reader_of(read_rows(path, source.name), source, path)
    return examples_of(reader, rows, row_filter, split)


def examples_of(
    reader: Reader, rows: Iterable[FileRow], row_filter: RowFilter, split: Split = unsplit
) -> Iterator[Example]:
    """The examples of rows, every row counted."""
    for index, row in enumerate(rows):
        result = reader.result(row, index, split)
        if row_filter.keeps(result.count):
            yield from result.examples


def read(
    path: Path,
    name: str,
    *,
    max_bad_fraction: float,
    format: str = AUTO,  # noqa: A002 -- the config's word
    limit_key: str = "",
    source: Source | None = None,
) -> SourceExamples:
    """All examples of source `name`; RequestError when more than `max_bad_fraction` of the rows cannot be used.

    `limit_key` is what the user types to raise the limit; by default `data.sources.<name>.max_bad_fraction`. `source`
    says more of how they are read; conversations are not split.
    """
    source = source or Source(name, "", format, "", "specialized", 0, max_bad_fraction=max_bad_fraction)
    row_filter = RowFilter()
    examples, tally = list(stream(path, source, row_filter)), row_filter.tally
    check_bad_rows(tally, path, source, limit_key or f"data.sources.{name}.max_bad_fraction")
    return SourceExamples(tuple(regroup(examples)), tally.rows, dict(sorted(tally.dropped.items())), tally.samples)


def survey(path: Path, source: Source, key: str) -> Tally:
    """What a source's file would give, conversations not split; RequestError as `read`. Holds no example."""
    row_filter = RowFilter()
    for _ in stream(path, source, row_filter):
        pass
    check_bad_rows(row_filter.tally, path, source, key)
    return row_filter.tally


def regroup(examples: list[Example]) -> list[Example]:
    """The examples without the names of their groups where these say nothing."""
    names = groups.Names()
    for example in examples:
        names.add("" if example.group == example.id else example.group)
    return examples if names.say_something else [replace(example, group=example.id) for example in examples]
