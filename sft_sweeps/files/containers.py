"""One JSON object that holds all rows of a file: a list under a name, columns, or pandas' forms of a table."""

from typing import Any

from sft_sweeps.errors import RequestError

# The names under which a list of objects is one of rows, and no conversation's turns.
NAMES = ("data", "train", "rows", "examples", "items", "instances", "records", "samples", "validation", "test")


def rows_in(value: Any, what: str) -> list[Any] | None:
    """The rows of a file's only object; None where that is a row itself. RequestError where it holds several lists."""
    if not isinstance(value, dict) or not value:
        return None
    named = [name for name in NAMES if _is_rows(value.get(name))]
    if len(named) > 1:
        raise RequestError(
            f"{what} is one object with several lists of rows ({', '.join(named)}). Take one of them: "
            f"jq -c '.{named[0]}[]' FILE > {named[0]}.jsonl."
        )
    if named:
        return [_inner(row, what) for row in value[named[0]]]
    return _split_table(value) or _columns(value) or _by_number(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _inner(row: dict[str, Any], what: str) -> Any:
    """A row as the viewer of the Hugging Face hub writes it holds the row; RequestError where it was shortened."""
    if "row_idx" in row and row.get("truncated_cells"):
        raise RequestError(
            f"{what} is from the viewer of the hub, which cut its row {row['row_idx']} short (truncated_cells). Fetch "
            "the data set itself: data.sources.SLOT.hub=OWNER/NAME."
        )
    return row["row"] if "row_idx" in row and isinstance(row.get("row"), dict) else row


def _split_table(value: dict[str, Any]) -> list[Any] | None:
    """{"columns": [...], "data": [[...], ...]}."""
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    fits = all(isinstance(row, list) and len(row) == len(columns) for row in data)
    return [dict(zip(columns, row, strict=True)) for row in data] if fits else None


def _columns(value: dict[str, Any]) -> list[Any] | None:
    """{"question": [...], "answer": [...]}, or {"question": {"0": ...}, ...}."""
    columns = list(value.values())
    if all(isinstance(column, dict) and _numbered(column) for column in columns):
        numbers = list(columns[0])
        if all(list(column) == numbers for column in columns):
            return [{name: column[number] for name, column in value.items()} for number in numbers]
        return None
    listed = all(isinstance(column, list) and not any(isinstance(cell, dict) for cell in column) for column in columns)
    if not listed or len({len(column) for column in columns}) != 1:
        return None
    return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _by_number(value: dict[str, Any]) -> list[Any] | None:
    """{"0": {...}, "1": {...}}."""
    return list(value.values()) if _numbered(value) and all(isinstance(row, dict) for row in value.values()) else None


def _numbered(value: dict[str, Any]) -> bool:
    return bool(value) and all(key.isdigit() for key in value)
