"""What is printed on a terminal, a file or a pipe."""

import contextlib
import copy
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

from sft_sweeps import PACKAGE
from sft_sweeps.errors import RequestError, visible

if TYPE_CHECKING:
    from rich.table import Table

COLORS = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red", "corrupted": "red"}
SCRIPT = "launch.py"
IN_CHECKOUT = os.path.isfile(SCRIPT) and Path(SCRIPT).resolve() == PACKAGE.parent / SCRIPT  # where this was typed
LAUNCH = f"python {SCRIPT}" if IN_CHECKOUT else "sft-sweeps launch"  # to type here
LONG = 300  # rows of a table, beyond which it is printed as plain lines
FIRST = 20  # of such a table's rows, on a terminal
LINE_WIDTH = 10_000  # of a row of a table there
PIPE_WIDTH = 160  # of text that goes to a file or a pipe
BARS = "▁▂▃▄▅▆▇█"  # of a chart of one line


class _Console(Console):
    """Rich passes escape sequences on that stand in a text. And in a file or a pipe it draws the lines of tables."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if self.is_terminal:
            return super().render(renderable, options)
        from rich.rule import Rule
        from rich.table import Table

        options = options or self.options
        if isinstance(renderable, Rule):
            renderable = Text.assemble("-- ", renderable.title, "\n")
        elif isinstance(renderable, Table):
            wide = options.update(max_width=LINE_WIDTH)
            return [*super().render(_without_lines(renderable), wide), Segment.line()]
        return super().render(renderable, options)


def _without_lines(table: "Table") -> "Table":
    """The same for programs that read lines: columns side by side, each row one line, nothing cut."""
    made = copy.copy(table)
    made.box, made.show_edge, made.pad_edge, made.padding = None, False, False, (0, 2, 0, 0)
    made.columns = [copy.copy(column) for column in table.columns]
    for column in made.columns:
        column.no_wrap, column.overflow = True, "ignore"
    return made


def console(stderr: bool = False) -> Console:
    """A console that does not squeeze tables when its output is no terminal."""
    made = _Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else _Console(stderr=stderr, highlight=False, width=PIPE_WIDTH)


def duration(seconds: float) -> str:
    """A length of time as people say it: 40 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def size(count: int) -> str:
    """An amount of bytes as people say it: 512 B, 1.4 kB, 20.0 MB, 3.5 TB (powers of a thousand)."""
    if count < 1000:
        return f"{count} B"
    units = ("kB", "MB", "GB", "TB")
    power = next((n for n in range(1, len(units)) if count < 999.5 * 1000**n), len(units))
    amount = count / 1000**power
    return f"{amount:,.0f} {units[power - 1]}" if amount >= 99.95 else f"{amount:.1f} {units[power - 1]}"


def counted(number: int, one: str) -> str:
    """`1 run`, `2 runs`, `1,024 runs`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def sparkline(points: Sequence[Sequence[float]], width: int) -> str:
    """Values over where they stand, in order, as a chart of one line: the lowest and the highest fill its height."""
    if not points or width < 1:
        return ""
    first, last = points[0][0], points[-1][0]
    columns: dict[int, list[float]] = {}
    for place, value in points:
        columns.setdefault(min(int((place - first) / ((last - first) or 1) * width), width - 1), []).append(value)
    means = [sum(columns[n]) / len(columns[n]) for n in sorted(columns)]
    low, high = min(means), max(means)
    return "".join(BARS[round((mean - low) / ((high - low) or 1) * (len(BARS) - 1))] for mean in means)


def how_ended(code: int) -> str:
    """How a process ended, by its exit code as Python has it: below zero, a signal's."""
    if code >= 0:
        return f"exited with status {code}"
    names = {int(one): one.name for one in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"


def show_long(out: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], more: str) -> bool:
    """A table of more than LONG rows as plain lines; False, and nothing printed, where it is not so long.

    A terminal is shown the first ones, how many there are, and `more`, where to find them; a file or a pipe gets all.
    Drawing ten thousand rows as a table takes as long as all else that is done for them.
    """
    if len(rows) <= LONG:
        return False
    shown = rows[:FIRST] if out.is_terminal else rows
    widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in (header, *shown))
    last = [f"... and {len(rows) - FIRST:,} more; {more}"] if len(shown) < len(rows) else []
    out.file.write(visible("\n".join([title, *lines, *last, ""])))
    return True


def say(out: Console, text: str, **options: Any) -> None:
    """A line of prose: wrapped at words on a terminal, left whole in a file or a pipe."""
    out.print(text, soft_wrap=not out.is_terminal, **options)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """RequestError where files cannot be written."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"{folder} cannot be written ({error.strerror}); choose another: --out FOLDER") from error
