"""Columns that fit the width of a terminal: long cells are cut where it hurts least, then columns are left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sft_sweeps.terminal import show_long

FRAME = 3  # columns of a terminal for each one of a table besides its cells; one more for the table
CUT = "…"
MORE = "all of them: add --json"


@dataclass(frozen=True)
class Column:
    """A column of plain cells. Cells longer than `good` are cut first, to `least` last; 0: they are never cut.

    `dropped` says when the column is left out: that of the highest number first, 0 never.
    """

    name: str
    cells: Sequence[str]
    styles: Sequence[str] = ()
    good: int = 0
    least: int = 0
    dropped: int = 0
    right: bool = False
    ends: bool = False  # the cells' ends tell as much as their beginnings: they are cut in the middle

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.name, *self.cells)))


def table(columns: Sequence[Column], title: str, width: int) -> Table:
    """The columns as a table of no more than that width, if they can be made to fit."""
    made = Table(title=Text(title), title_justify="left")
    fitting = fit(columns, width)
    for column in fitting:
        made.add_column(column.name, justify="right" if column.right else "left", no_wrap=True)
    for row in range(len(columns[0].cells)):
        made.add_row(*(Text(c.cells[row], c.styles[row] if c.styles else "") for c in fitting))
    return made


def show(columns: Sequence[Column], title: str, out: Console) -> None:
    """The columns as a table, or many rows as plain lines."""
    if not show_lines(columns, title, out):
        out.print(table(columns, title, out.width))


def show_lines(columns: Sequence[Column], title: str, out: Console) -> bool:
    """Many rows as plain lines, of the columns that hold anything; False, and nothing printed, where they are few."""
    filled = [column for column in columns if any(column.cells)]
    rows = list(zip(*(column.cells for column in filled), strict=True))
    return show_long(out, title, [column.name for column in filled], rows, MORE)


def fit(columns: Sequence[Column], width: int) -> list[Column]:
    """Those that fit: cells cut to `good`, then columns left out, then cells cut to `least`."""
    kept = [column for column in columns if column.cells]
    kept = _narrowed(kept, width, {column.name: column.good for column in kept})
    while _width(kept) > width and any(column.dropped for column in kept):
        last = max(kept, key=lambda column: column.dropped)
        kept = [column for column in kept if column is not last]
    return _narrowed(kept, width, {column.name: column.least for column in kept})


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + FRAME for column in columns) + 1


def _narrowed(columns: Sequence[Column], width: int, limits: dict[str, int]) -> list[Column]:
    """The columns, the widest ones cut by as much as is needed, none below its limit."""
    made = list(columns)
    while (over := _width(made) - width) > 0:
        able = [n for n, column in enumerate(made) if 0 < limits[column.name] < column.width]
        if not able:
            break
        widest = max(able, key=lambda n: made[n].width)
        column = made[widest]
        room = max(limits[column.name], column.width - over, len(column.name))
        shorter = shortened(column.cells, room, column.ends)
        if max(map(cell_len, (column.name, *shorter))) >= column.width:
            break
        made[widest] = replace(column, cells=shorter)
    return made


def shortened(texts: Sequence[str], room: int, ends: bool = False) -> list[str]:
    """Each in no more than `room`. `ends`: cut so that as many as can be are still told apart."""
    if not ends:
        return [_cut(text, room, room - 1) for text in texts]
    ways = [[_cut(text, room, int((room - 1) * share)) for text in texts] for share in (0.6, 0.35, 0.0, 1.0)]
    return max(ways, key=lambda way: len(set(way)))


def _cut(text: str, room: int, head: int) -> str:
    """Its first `head` characters and as many of its last as there is room for."""
    if cell_len(text) <= room:
        return text
    tail = room - 1 - head
    return f"{text[:head]}{CUT}{text[len(text) - tail :] if tail else ''}"
