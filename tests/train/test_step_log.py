"""What a stage's log says of its steps."""

import logging
import re
import statistics

from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.terminal import duration
from sft_sweeps.tracking.metrics import RECENT
from sft_sweeps.train import step_log
from sft_sweeps.train.meter import StepMetrics
from sft_sweeps.train.step_log import PARTS, StepLog


class Lines(logging.Handler):
    """Keeps the text of what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def metrics(step: int, steps: int, seconds: float) -> StepMetrics:
    return StepMetrics(step, steps, 1.25, 2e-5, 0.5, 300, 100, seconds, 300 / seconds, None, 2048, {}, {}, {})


@given(st.integers(1, 3000), st.data())
def test_the_first_the_last_and_few_between(steps: int, data: st.DataObject) -> None:
    """Of an attempt that begins anywhere: few lines however many steps, each with the loss and the time left as the
    last steps tell it.
    """
    begin = data.draw(st.integers(1, steps))
    seconds = [0.1 + (step % 7) / 10 for step in range(begin, steps + 1)]
    said, lines = StepLog(), Lines()
    step_log.log.addHandler(lines)
    step_log.log.setLevel(logging.INFO)
    try:
        for step, took in enumerate(seconds, begin):
            said(metrics(step, steps, took))
    finally:
        step_log.log.removeHandler(lines)
    at = [int(re.findall(r"step ([\d,]+) of", text)[0].replace(",", "")) for text in lines.texts]
    assert (at[0], at[-1]) == (begin, steps)
    assert len(at) <= PARTS + 3
    for step, text in zip(at, lines.texts, strict=True):
        assert "loss 1.2500" in text
        recent = seconds[: step - begin + 1][-RECENT:]
        left = duration(statistics.median(recent) * (steps - step))
        assert text.endswith(f"about {left} left" if step < steps else "the last one")


def test_lengths_of_time() -> None:
    assert [duration(s) for s in (0.4, 89, 90, 3600, 90 * 60, 47 * 3600, 60 * 3600)] == [
        *("0 s", "89 s", "2 min", "60 min", "1.5 h", "47.0 h", "2.5 days")
    ]
