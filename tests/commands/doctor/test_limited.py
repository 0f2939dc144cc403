"""What hangs, dies or breaks ends its own topic and no other, and says so."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.commands.doctor import limited
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.errors import RequestError

TEXT = st.text(max_size=60)
FINDINGS = st.lists(st.builds(Finding, st.sampled_from(["ok", "warning", "problem"]), TEXT, TEXT, TEXT), max_size=6)
GOOD = Finding("ok", "a", "well")


@settings(max_examples=20, deadline=None)
@given(FINDINGS)
def test_what_is_found_arrives_as_it_is(found: list[Finding]) -> None:
    assert list(limited.findings("topic", lambda: iter(found), 20)) == found


def hangs() -> Iterator[Finding]:
    yield GOOD
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def raises() -> Iterator[Finding]:
    yield GOOD
    raise ValueError("7 is no size")


def refuses() -> Iterator[Finding]:
    yield GOOD
    raise RequestError("train.batch_size=0 is too small")


def dies() -> Iterator[Finding]:
    yield GOOD
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (hangs, "no answer within 0 s"),
        (raises, "this check itself failed: ValueError: 7 is no size"),
        (refuses, "train.batch_size=0 is too small"),
        (dies, "this check itself was killed by SIGKILL"),
    ],
)
def test_what_was_found_before_is_kept(ask: limited.Callable[[], Iterator[Finding]], says: str) -> None:
    begun = time.monotonic()
    first, problem = limited.findings("topic", ask, 0.4 if ask is hangs else 20)
    assert first == GOOD
    assert (problem.level, problem.about, problem.text) == ("problem", "topic", says)
    assert time.monotonic() - begun < 15


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Of one that hangs, what it started ends with it."""

    def ask() -> Iterator[Finding]:
        child = os.fork()
        if child == 0:
            time.sleep(60)
        (tmp_path / "pid").write_text(str(child))
        yield GOOD
        time.sleep(60)

    list(limited.findings("topic", ask, 0.5))
    child = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 10
    while time.monotonic() < until and Path(f"/proc/{child}").exists() and "Z" not in _state(child):
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists() or "Z" in _state(child)


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
