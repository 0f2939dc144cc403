"""Tables fit the terminal, and cells that are cut still tell their rows apart where they can."""

import io

from hypothesis import given
from hypothesis import strategies as st
from made_status import stage
from rich.cells import cell_len
from rich.console import Console

from sft_sweeps.commands import fit
from sft_sweeps.commands.fit import Column
from sft_sweeps.commands.status import tables as status_tables

WORDS = st.sampled_from(["mini", "llama13b", "code+math@1_64", "general", "seed=1", "seed=2", "lr=1e-05", "after x"])
LABELS = st.lists(WORDS, min_size=1, max_size=9).map("--".join)
STATES = st.sampled_from(["done", "running", "failed", "weights gone", "missing", "cancelled"])


@st.composite
def stages(draw: st.DrawFn) -> list[dict[str, object]]:
    labels = draw(st.lists(LABELS, min_size=1, max_size=8))
    return [
        stage(
            n,
            draw(STATES),
            label=label,
            step=draw(st.integers(0, 10**6)),
            steps=10**6,
            loss=draw(st.none() | st.floats(0, 99)),
            seconds_left=draw(st.none() | st.floats(0, 1e6)),
            runs=[""] * draw(st.integers(0, 300)),
            job=draw(st.sampled_from(["", "1234567_89"])),
            gpu_hours=draw(st.floats(0, 1e4)),
            why=draw(st.sampled_from(["", "new", "its parent was cancelled " * 9, "[/x] on n7"])),
        )
        for n, label in enumerate(labels)
    ]


@given(stages(), st.integers(60, 240))
def test_every_row_is_one_line_that_fits(rows: list[dict[str, object]], width: int) -> None:
    """Whatever the labels, reasons and numbers: no sliver, id, stage and state always, and what failed says why."""
    out = io.StringIO()
    console = Console(file=out, width=width)
    table = status_tables.stages_table(rows, "sweep", width)
    console.print(table)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(rows) + 5  # title, the head's three, the end
    assert all(cell_len(line) <= width for line in lines)
    names = [str(column.header) for column in table.columns]
    assert names[:3] == ["id", "stage", "state"]
    for row, line in zip(rows, lines[4:], strict=False):
        assert str(row["id"])[:5] in line
        assert str(row["state"]) in line
    said = "".join(status_tables.reason_lines(rows, table))
    for row in rows:
        if row["state"] == "cancelled" and "parent" in str(row["why"]):
            assert str(row["why"]) in said or str(row["why"]) in out.getvalue()
    if width >= 80:
        assert "step" in names
        assert min(len(str(cell)) for cell in table.columns[1].cells) >= 4


@given(st.lists(LABELS, min_size=1, max_size=8), st.integers(8, 60))
def test_cut_labels(labels: list[str], room: int) -> None:
    """None is longer than the room; labels that differ only at their ends stay apart, and short ones stay whole."""
    cut = fit.shortened(labels, room, ends=True)
    assert all(cell_len(text) <= room for text in cut)
    assert all(text == label for text, label in zip(cut, labels, strict=True) if len(label) <= room)
    long = "x" * 90
    for texts in ([f"{long} seed={n}" for n in (1, 2)], [f"seed={n} {long}" for n in (1, 2)]):
        assert len(set(fit.shortened(texts, room, ends=True))) == 2


def test_columns_go_in_order_of_need() -> None:
    columns = [Column("a", ["x" * 10]), Column("b", ["y" * 10], dropped=1), Column("c", ["z" * 10], dropped=2)]
    assert [[column.name for column in fit.fit(columns, width)] for width in (40, 39, 27, 26, 5)] == [
        *(["a", "b", "c"], ["a", "b"], ["a", "b"], ["a"], ["a"])
    ]
