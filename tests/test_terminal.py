"""Whatever data holds, what is shown of it gives a terminal no orders."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape
from rich.table import Table

from sft_sweeps import errors, terminal
from sft_sweeps.commands.logs.command import _harmless
from sft_sweeps.commands.main import main
from sft_sweeps.terminal import BARS, sparkline

HOSTILE = st.text(st.sampled_from("ab \t\x1b]0;[31m\x07\x08\x9b\x00\u202e\u2066"), max_size=20)
ORDERS = set("\x1b\x07\x08\x9b\x00\u202e\u2066\r\x7f")


def test_what_it_looks_like() -> None:
    assert errors.visible("a\x1b[2J\tb\n\u202ec\x9b") == "a\\x1b[2J\tb\n\\u202ec\\x9b"


@given(text=HOSTILE)
def test_printed_and_in_tables(text: str) -> None:
    out = terminal.console()
    out.file = io.StringIO()
    out.print(escape(text))
    terminal.say(out, escape(text))
    table = Table("column", title=escape(text))
    table.add_row(escape(text))
    out.print(table)
    assert not ORDERS & set(out.file.getvalue())


@given(text=HOSTILE)
def test_logs(text: str) -> None:
    assert not ORDERS & set(_harmless(text.encode()).decode())


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    errors.say_error("source \x1b]0;title\x07")
    main(["logs", "\x1b[2J"])
    assert not ORDERS & set(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (26 * 10**9, "26.0 GB"),
        (3_500 * 10**12, "3,500 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert terminal.size(count) == text


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(1, 40))
def test_a_sparkline_has_its_width_and_shows_the_lowest_and_the_highest(values: list[float], width: int) -> None:
    drawn = sparkline([[n, value] for n, value in enumerate(values)], width)
    assert 1 <= len(drawn) <= width
    if len(values) <= width:
        assert len(drawn) == len(values)
        assert drawn[values.index(min(values))] == BARS[0]
        assert max(values) == min(values) or drawn[values.index(max(values))] == BARS[-1]
    assert sparkline([], width) == ""


CELLS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="[]\\ "), min_size=1)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_a_row_of_a_table_is_a_line_for_programs(rows: list[tuple[str, str]]) -> None:
    """However wide it is, and without frames."""
    out = terminal.console()
    out.file = io.StringIO()
    table = Table("one", "other")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    lines = [tuple(line.split()) for line in out.file.getvalue().splitlines()]
    assert lines == [("one", "other"), *rows, ()]
