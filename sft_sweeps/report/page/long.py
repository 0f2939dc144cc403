"""Tables of many rows: the most telling ones first, all of them where a reader opens them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sft_sweeps.report.sheets import Sheet

MANY = 24  # rows that are read at a glance
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A caption, a header, rows; of many `first` has the most telling, and `said` which these are."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[Row]
    first: Sequence[Row] = ()
    said: str = ""


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Of many rows the first."""
    listed = [tuple(row) for row in rows]
    first = listed[:MANY] if len(listed) > MANY else []
    return Table(caption, tuple(header), listed, first, f"The first {MANY}." if first else "")


def of_sheet(sheet: Sheet) -> Table:
    """Of many changes the largest losses and gains beyond noise, of many settings those on a front."""
    rows = [tuple(entry.text for entry in row) for block in sheet.blocks for row in block]
    whole = table(sheet.caption, sheet.columns, rows)
    if len(rows) <= MANY or len(rows) != len(sheet.records):
        return whole
    kinds = (
        ("low", _largest_changes, "The largest losses and gains whose interval does not hold 0."),
        ("on_front", _on_front, "Those on a front."),
    )
    for key, chosen, said in kinds:
        if key in sheet.records[0]:
            kept = [rows[index] for index in chosen(sheet.records)][:MANY]
            return Table(sheet.caption, sheet.columns, rows, kept, said) if kept else whole
    return whole


def _largest_changes(records: Sequence[dict[str, Any]]) -> list[int]:
    """Losses from the largest, then gains up to the largest."""
    ranked = sorted(range(len(records)), key=lambda index: float(records[index]["value"]))
    losses = [index for index in ranked if records[index]["high"] < 0]
    gains = [index for index in ranked if records[index]["low"] > 0]
    of_losses = max(MANY // 2, MANY - len(gains))
    kept = losses[:of_losses]
    return kept + gains[len(gains) - min(len(gains), MANY - len(kept)) :]


def _on_front(records: Sequence[dict[str, Any]]) -> list[int]:
    return [index for index, record in enumerate(records) if record["on_front"]]
