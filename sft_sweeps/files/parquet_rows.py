"""The rows and the columns of Parquet files."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files.file_row import FileRow

BATCH = 1024  # rows at a time


def read(path: Path, name: str) -> Iterator[FileRow]:
    """The rows of source `name`'s file."""
    from pyarrow import ArrowException, parquet  # 0.1 s that only its readers pay

    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=BATCH):
            for value in batch.to_pylist():
                yield FileRow(value, f"row {number}")
                number += 1
    except ArrowException as error:
        raise RequestError(f"source {name}: {path} is a damaged Parquet file ({error}). Fetch it again.") from None


def columns(path: Path | str) -> set[str]:
    """The names of a file's columns, and of what is inside them."""
    from pyarrow import parquet

    schema = parquet.read_metadata(path).schema
    return {part for index in range(len(schema)) for part in schema.column(index).path.split(".")}


def read_column(path: Path | str, column: str, beside: Collection[str] = ()) -> Iterator[Any]:
    """The cells of a column; none where the file lacks it, or all columns of `beside` (if any)."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if column in names and (not beside or not set(beside).isdisjoint(names)):
            for batch in file.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()
    except ArrowException as error:
        raise ValueError(str(error)) from None


def count(path: Path | str) -> int:
    """The rows of a file; ValueError where it cannot be told."""
    from pyarrow import ArrowException, parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except ArrowException as error:
        raise ValueError(str(error)) from None
