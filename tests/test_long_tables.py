"""Tables of many rows are plain lines: all of them for a program, the first and the count for a person."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_status import stage, whole
from rich.console import Console
from values import mixed, request

from sft_sweeps import terminal
from sft_sweeps.commands.status import tables as status_tables
from sft_sweeps.plan.build import State, build
from sft_sweeps.plan.show import show_plan
from sft_sweeps.terminal import FIRST, LONG, show_long

WORDS = st.text("abc\x1b[]", min_size=1, max_size=8)


def printed(terminal_: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal_, width=100, color_system=None, highlight=False)


def text(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@given(cells=st.lists(WORDS, min_size=1, max_size=4), tty=st.booleans(), over=st.integers(-1, 3))
def test_every_row_is_a_line_of_a_file_and_the_first_ones_of_a_terminal(cells: list[str], tty: bool, over: int) -> None:
    rows, out = [[*cells, str(n)] for n in range(LONG + over)], printed(tty)
    shown = show_long(out, "title", [*("c" for _ in cells), "n"], rows, "see there")
    assert shown == (over > 0)
    lines = text(out).splitlines()
    assert terminal.LONG == LONG
    if not shown:
        assert lines == []
        return
    assert "\x1b" not in text(out)
    kept = FIRST if tty else len(rows)
    assert [line.split()[-1] for line in lines[2 : 2 + kept]] == [str(n) for n in range(kept)]
    assert lines[2 + kept :] == ([f"... and {len(rows) - FIRST} more; see there"] if tty else [])


@pytest.mark.parametrize("tty", [False, True])
def test_a_large_plan_and_its_status_are_plain_and_have_their_counts(
    tty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LONG", 4)
    monkeypatch.setattr(terminal, "FIRST", 2)
    bases = [replace(request().model, seed=n, name=f"m{n}") for n in range(5)]
    plan = build([(base.name, request(mixed(), "sequential", base=base)) for base in bases])
    out = printed(tty)
    show_plan(plan, {plan.stages[0].id: State("done")}, out)
    assert not set("┏┃│") & set(text(out))
    assert "15 stages" in text(out)
    assert "1 done, 14 to run" in " ".join(text(out).split())
    assert (plan.stages[-1].id in text(out)) == (not tty)
    told = printed(tty)
    rows = [stage(n, "missing") for n in range(7)]
    status_tables.show(whole([stage(7, "done"), *rows, stage(8, "failed", why="it broke")]), told)
    assert not set("┏┃│") & set(text(told))
    assert "1 of 9 stages" in text(told)
    assert "the other stages: 7 missing, 1 failed" in text(told) or "1 failed, 7 missing" in text(told)
    assert "it broke" in text(told), "what failed comes first"
