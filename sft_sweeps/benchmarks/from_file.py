"""What benchmarks share of `sft-sweeps score NAME FILE`: reading a file from anywhere, and whether it is complete."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sft_sweeps.benchmarks.published import Rows
from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.files.json_files import UnclearJsonError, parse
from sft_sweeps.files.rows import FileRow, read_rows

_NAME = "answers"  # as the reader of data files calls this one, in its messages


def read(path: Path) -> Rows:
    """The rows of whatever the reader of data files takes; RequestError names what is wrong and where."""
    try:
        rows = [_object(row, path) for row in read_rows(path, _NAME)]
    except RequestError as error:
        raise RequestError(str(error).removeprefix(f"source {_NAME}: ")) from error
    if not rows:
        raise RequestError(f"{path} has no rows; nothing can be scored")
    _check_texts(path)
    return rows


def _object(row: FileRow, path: Path) -> dict[str, object]:
    if isinstance(row.value, dict):
        return row.value
    wrong = "is not a JSON object" if row.broken is None else f"is not JSON ({_fault(row.broken)})"
    raise RequestError(f"{row.location} of {path} {wrong}; write one JSON object on each line")


def _check_texts(path: Path) -> None:
    """RequestError for what readers of JSON take differently, or nobody can read: see `UnclearJsonError`."""
    if packing.packing(path) == "parquet":
        return
    with packing.opened(path) as file:
        text = file.read().decode("utf-8-sig", "replace")
    whole = text.lstrip().startswith("[")
    for number, line in enumerate([text] if whole else text.split("\n"), 1):
        try:
            parse(line, strict=True)
        except UnclearJsonError as error:
            raise RequestError(f"{path if whole else f'line {number} of {path}'}: {error}") from error
        except ValueError:
            continue  # a part of a value over several lines


def _fault(text: str) -> str:
    """Why a text is no JSON value."""
    try:
        parse(text, strict=True)
    except ValueError as error:
        return str(error)
    return "unknown"


def require_unique(ids: Sequence[str], path: Path, key: str) -> None:
    """RequestError where an item is answered twice."""
    counts = Counter(ids)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise RequestError(
            f"{path}: {key} {repeated[0]} occurs {counts[repeated[0]]} times; each item is answered once"
        )


def require_complete(answered: int, expected: int, what: str, path: Path, partial: bool) -> None:
    """RequestError unless all are answered, or, where a partial set is asked for, not more than there are."""
    if answered != expected and not (partial and answered < expected):
        hint = "; score what is there, named as partial, with --partial" if answered < expected else ""
        raise RequestError(f"{path} answers {answered:,} of the {expected:,} {what}{hint}")
