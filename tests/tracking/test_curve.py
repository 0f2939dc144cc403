"""A stage's curve is told from few reads of its metrics, and tells what they say."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.tracking import metrics

LOSSES = st.lists(st.floats(0, 50), max_size=400)


def written(losses: list[float], folder: Path, pad: int = 0) -> None:
    lines = (json.dumps({"step": n, "loss": loss, "pad": "x" * pad}) + "\n" for n, loss in enumerate(losses, 1))
    (folder / metrics.METRICS).write_text("".join(lines))


@given(LOSSES, st.sampled_from([0, 300, 3000]))
def test_it_lies_within_the_losses_and_in_their_order(losses: list[float], pad: int) -> None:
    """Of files of some bytes and of megabytes."""
    with tempfile.TemporaryDirectory() as name:
        written(losses, Path(name), pad)
        found = metrics.curve(Path(name))
    steps = [step for step, _ in found]
    assert steps == sorted(set(steps))
    assert len(found) <= 2 * metrics.PLACES
    assert all(1 <= step <= len(losses) for step in steps)
    assert all(min(losses) - 1e-6 <= loss <= max(losses) + 1e-6 for _, loss in found)
    assert bool(found) == bool(losses)


def test_a_falling_loss_falls_and_reaches_to_the_end(tmp_path: Path) -> None:
    written([100 / (n + 10) for n in range(5000)], tmp_path, pad=400)
    found = metrics.curve(tmp_path)
    assert [loss for _, loss in found] == sorted((loss for _, loss in found), reverse=True)
    assert found[0][0] < 100
    assert found[-1][0] == 5000


@given(st.lists(st.lists(st.floats(0, 50), min_size=1, max_size=5), max_size=200))
def test_it_grows_with_new_steps_and_never_long(news: list[list[float]]) -> None:
    known, step = [[1, 3.0]], 1
    for losses in news:
        steps = [{"step": step + n, "loss": loss} for n, loss in enumerate(losses, 1)]
        known, step = metrics.extended(known, steps), step + len(losses)
        assert known[-1][0] == step
        assert len(known) < 2 * metrics.PLACES + 1
    assert [one[0] for one in known] == sorted({one[0] for one in known})


@pytest.mark.parametrize("text", ["", "nonsense\n", '{"step": 1}\n', '{"step": 1, "loss": NaN}\n', '{"step": 1, "lo'])
def test_what_is_no_loss_is_no_point(text: str, tmp_path: Path) -> None:
    assert metrics.curve(tmp_path) == []
    (tmp_path / metrics.METRICS).write_text(text)
    assert metrics.curve(tmp_path) == []
