"""metrics.jsonl through crashes: every step once, a half-written line never."""

import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.tracking.metrics import (
    HELDOUT_LOSS,
    METRICS,
    RECENT,
    Metrics,
    cut,
    last,
    read,
    recent,
    seconds_left,
    whole,
)


def lines(*steps: int) -> str:
    return "".join(json.dumps({"step": step, "steps": 9, "loss": step / 2}) + "\n" for step in steps)


def steps(folder: Path) -> list[int]:
    return [row["step"] for row in read(folder)]


@pytest.mark.parametrize(
    ("text", "step", "kept"),
    [
        ("", 1, ""),
        (lines(1, 2, 3, 4), 3, lines(1, 2)),
        (lines(1, 2, 3, 4), 1, ""),
        (lines(1, 2, 3, 4), 5, lines(1, 2, 3, 4)),
        (lines(1, 2) + '{"step": 3, "lo', 9, lines(1, 2)),
        (lines(1, 2) + '{"step": 3}', 9, lines(1, 2)),  # whole, but its end of line is missing
        (lines(1, 2) + '{"step"', 2, lines(1)),
        (lines(1) + "\0\0\0\n[]\n3\nnull\n{}\n" + lines(2), 9, lines(1, 2)),
        (lines(9, 10, 11), 10, lines(9)),  # numbers, not texts, are compared
    ],
)
def test_cut(text: str, step: int, kept: str, tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text(text)
    cut(path, step)
    assert path.read_text() == kept
    assert [p.name for p in tmp_path.iterdir()] == [METRICS]


def test_cut_of_nothing_creates_nothing(tmp_path: Path) -> None:
    cut(tmp_path / METRICS, 3)
    assert list(tmp_path.iterdir()) == []


def test_every_line_is_there_when_write_returns(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for step in (1, 2, 3):
        metrics.write({"step": step, "loss": 0.5})
        assert (tmp_path / METRICS).read_text().count("\n") == step
        assert last(tmp_path) == {"step": step, "loss": 0.5}
    metrics.close()
    assert steps(tmp_path) == [1, 2, 3]


def test_metrics_that_were_never_written_leave_no_file(tmp_path: Path) -> None:
    Metrics(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(0, 40)), max_size=5))
def test_steps_stand_once_whatever_the_resumes(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[int, ...]]
) -> None:
    """Each attempt goes back some steps, writes some, and dies with some bytes of the next line on the disk."""
    folder = tmp_path_factory.mktemp("stage")
    at = 0
    for attempt, (back, count, torn) in enumerate(attempts):
        at = max(0, at - back)
        metrics = Metrics(folder)
        for step in range(at + 1, at + 1 + count):
            metrics.write({"step": step, "attempt": attempt})
        metrics.close()
        at += count
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps({"step": at + 1, "attempt": attempt})[:torn])
        whole = [row for row in read(folder) if row["step"] <= at]
        assert [row["step"] for row in whole] == list(range(1, at + 1))
        assert all(row["attempt"] == attempt for row in whole[-count:])
        assert last(folder)["step"] == at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("\n", None),
        ('{"step": 1', None),
        (lines(1) + '{"step": 2, "lo', 1),
        (lines(1, 2), 2),
        (lines(*range(1, 2000)), 1999),  # longer than what is read of its end
        ("[]\n", None),
        ("nan\n", None),
    ],
)
def test_the_last_step_of_a_growing_file(text: str, expected: int | None, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(text)
    assert last(tmp_path).get("step") == expected


@pytest.mark.parametrize("line", ["[" * 10_000, "[]", '{"step": 1e999}', '{"step": "x"}', "{}"])
def test_a_line_that_is_no_step_is_passed_over(line: str, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(f'{line}\n{{"step": 1}}\n')
    assert read(tmp_path) == [{"step": 1}]
    if line.startswith("["):
        (tmp_path / METRICS).write_text(f'{{"step": 1}}\n{line}\n')
        assert last(tmp_path) == {}


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert read(tmp_path / "absent") == []
    assert last(tmp_path / "absent") == {}


def timed(seconds: list[float], total: int) -> str:
    rows = [{"step": n, "steps": total, "seconds": took} for n, took in enumerate(seconds, start=1)]
    return "".join(json.dumps(row) + "\n" for row in rows)


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=60), st.integers(0, 1000), st.data())
def test_time_left_is_told_from_the_newest_steps(seconds: list[float], more: int, data: st.DataObject) -> None:
    """Their median: no single step, the first or one that waited for the disk, decides it."""
    total = len(seconds) + more
    with TemporaryDirectory() as name:
        (Path(name) / METRICS).write_text(timed(seconds, total))
        assert seconds_left(recent(Path(name))) == pytest.approx(statistics.median(seconds[-RECENT:]) * more)
        if len(seconds) > 2:
            usual = [1.0] * len(seconds)
            usual[data.draw(st.integers(0, len(seconds) - 1))] = 1000.0
            (Path(name) / METRICS).write_text(timed(usual, total))
            assert seconds_left(recent(Path(name))) == more


def test_nothing_is_told_of_a_stage_without_steps(tmp_path: Path) -> None:
    assert seconds_left(recent(tmp_path)) is None
    assert seconds_left([{"step": 12, "steps": 10, "seconds": 0.5}]) == 0.0


@pytest.mark.parametrize(
    "damaged", ["end", None, [], {}, {"step": "9"}, {"step": 9, "loss": {}}, {"step": 9, HELDOUT_LOSS: {"math": "low"}}]
)
def test_what_a_damaged_record_has_of_its_last_step_is_no_metrics(damaged: object) -> None:
    assert whole(damaged) == {}
    assert whole({"step": 9, "loss": 1.5, HELDOUT_LOSS: {"math": 2.0}})["step"] == 9
