"""Whatever data holds, what is shown of it gives a terminal no orders."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape
from rich.table import Table

from sft_sweeps import errors, terminal
from sft_sweeps.commands.logs import _harmless
from sft_sweeps.commands.main import main

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
