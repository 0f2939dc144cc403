"""Tables that survive whatever their texts hold, in LaTeX, Markdown and CSV."""

import csv
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from latex import compiles

from sft_sweeps.report.sheets import Entry, Sheet, escaped, lines, markdown, write
from sft_sweeps.report.sheets import latex as tex

HOSTILE = [
    r"a & b % c _ d # e ~ f ^ g $ h { i } \frac",
    "<script>alert(1)</script> | `x` *y*",
    "=1+1",
    "[3] optional",
    "* star",
    "naïve 🦙 漢字 Ð",
    "two\nlines\ttab",
    '"quoted", \\',
]


def sheet(texts: list[str], rows: int = 1) -> Sheet:
    block = tuple(tuple(Entry(text, "best") for text in texts) for _ in range(rows))
    records = tuple({f"c{n}": text for n, text in enumerate(texts)} for _ in range(rows))
    groups = (("", 1), ("A & B", len(texts) - 1)) if len(texts) > 1 else (("", 1),)
    return Sheet("x", "50 % of\nall", groups, tuple(texts), (block, block), records)


@given(st.text())
def test_escaped_text_holds_no_command_that_was_not_meant(text: str) -> None:
    found = escaped(text)
    known = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textdagger|dots)\{\}"
    rest = re.sub(rf"{known}|\$\\(pm|times)\$|\\[&%$#_{{}}]|\{{[\[\]*]\}}", "", found)
    assert not set(rest) & set("\\&%$#_{}~^<>|[]*\n\r")


def test_csv_runs_nothing_and_keeps_everything(tmp_path: Path) -> None:
    with write(sheet(HOSTILE), tmp_path)[2].open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert len(header) == len(HOSTILE)
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert [cell.removeprefix("'") for cell in rows[0]] == HOSTILE


def test_csv_numbers_stay_numbers() -> None:
    one = Sheet("x", "", (("", 1),), ("a",), (((Entry("-0.5"),),),), ({"a": -0.5, "b": None},))
    assert lines(one) == [["a", "b"], [-0.5, None]]


def test_markdown_has_one_row_a_line_and_no_html() -> None:
    table, _, _ = markdown(sheet(HOSTILE)).partition("\n\n")
    rows = table.split("\n")
    assert len(rows) == 2 + 2
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(HOSTILE) + 1}
    assert "<script" not in table


def test_a_long_table_is_cut_into_pages() -> None:
    text = tex(sheet(["a", "b"], rows=60))
    assert text.count(r"\begin{tabular}") == 4  # two blocks of 60, 50 rows a page
    assert text.count(r"\textbf{a} & \textbf{b} \\") == 120


def test_latex_compiles(tmp_path: Path) -> None:
    table = tmp_path / "table.tex"
    table.write_text(tex(sheet(HOSTILE)), encoding="utf-8")
    compiles(tmp_path, table)
