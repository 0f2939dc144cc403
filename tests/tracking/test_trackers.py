"""Trackers by name: this package's, one of another distribution, and what goes wrong in one."""

import logging
from pathlib import Path

import pytest

from sft_sweeps.errors import Interrupted, RequestError
from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import trackers
from sft_sweeps.tracking.base import Attempt, Outcome
from sft_sweeps.tracking.trackers import FINISH_SECONDS, INTERRUPTED_SECONDS, TRACKERS, mirrored

THEIRS = """
from sft_sweeps.tracking.base import Tracker

class Lines:
    def __init__(self, attempt):
        self.path = attempt.folder / "theirs.txt"
        self.path.write_text(f"{attempt.identity} {attempt.label} {attempt.config['epochs']}\\n")

    def close(self, seconds, ending):
        with self.path.open("a") as file:
            file.write(f"closed within {seconds:.0f} s: {ending.how}{ending.why}\\n")

class Fails:
    def close(self, seconds, ending):
        raise KeyError("what it had in mind")

def refuses(attempt):
    raise OSError("no such server")

def problems(tracking):
    if not tracking.project:
        yield "tracking.project= is empty; name a file"

TRACKER, REFUSES = Tracker("lines", Lines, problems), Tracker("refuses", refuses)
FAILS = Tracker("fails", lambda attempt: Fails())
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with trackers, as an installer would leave it."""
    info = tmp_path / "site" / "theirs-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    entries = "lines = their_tracker:TRACKER\nrefuses = their_tracker:REFUSES\nfails = their_tracker:FAILS\n"
    (info / "entry_points.txt").write_text(f"[{TRACKERS.group}]\n{entries}")
    (tmp_path / "site" / "their_tracker.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    fresh = type(TRACKERS)(TRACKERS.kind, TRACKERS.group, TRACKERS.own)
    monkeypatch.setattr(trackers, "TRACKERS", fresh)


def attempt(folder: Path, name: str) -> Attempt:
    return Attempt(folder, Tracking(name), "0123456789ab", "mini--math", {"epochs": 3})


def test_an_unknown_name_is_answered_with_them() -> None:
    assert set(TRACKERS.names) >= {"none", "tensorboard", "trackio", "wandb"}
    with pytest.raises(
        RequestError, match=r"wandbee is unknown; valid: none, tensorboard, trackio, wandb; did you mean wandb\?"
    ):
        TRACKERS.get("wandbee")


def test_each_tracker_is_known_by_its_own_name() -> None:
    assert {name: tracker.name for name, tracker in TRACKERS.all.items()} == {name: name for name in TRACKERS.names}


def test_what_a_tracker_refuses_is_its_own_business() -> None:
    (problem,) = TRACKERS.get("wandb").problems(Tracking("wandb", "a/b"))
    assert "tracking.project=a/b" in problem
    assert not list(TRACKERS.get("none").problems(Tracking("none", "a/b")))


@pytest.mark.usefixtures("theirs")
def test_another_distribution_adds_a_tracker(tmp_path: Path) -> None:
    with mirrored(attempt(tmp_path, "lines")):
        assert (tmp_path / "theirs.txt").read_text() == "0123456789ab mini--math 3\n"
    assert (tmp_path / "theirs.txt").read_text().endswith(f"closed within {FINISH_SECONDS:.0f} s: done\n")
    assert list(trackers.TRACKERS.get("lines").problems(Tracking("lines"))) == [
        "tracking.project= is empty; name a file"
    ]


@pytest.mark.usefixtures("theirs")
def test_a_stage_that_is_stopped_waits_less_and_its_error_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), mirrored(attempt(tmp_path, "lines")):
        raise ZeroDivisionError("by nothing")
    told = f"closed within {INTERRUPTED_SECONDS:.0f} s: failedZeroDivisionError: by nothing\n"
    assert (tmp_path / "theirs.txt").read_text().endswith(told)
    with pytest.raises(Interrupted), mirrored(attempt(tmp_path, "lines")):
        raise Interrupted("by a signal")
    assert (tmp_path / "theirs.txt").read_text().endswith(f"closed within {INTERRUPTED_SECONDS:.0f} s: interrupted\n")


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refuses", "no mirror at refuses: OSError: no such server"),
        ("fails", "the mirror at fails failed at its end: KeyError: 'what it had in mind'"),
        ("gone", "no mirror at gone: RequestError: tracker gone is unknown"),
    ],
)
def test_no_tracker_costs_a_training(name: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = []
    with caplog.at_level(logging.WARNING), mirrored(attempt(tmp_path, name)):
        steps.append(1)
    assert steps == [1]
    assert said in caplog.text


def told(*hows: str) -> list[str]:
    return trackers.summary("wandb", [Outcome(f"id{n}", how, "no room") for n, how in enumerate(hows)])  # type: ignore[arg-type]


def test_what_became_of_finished_runs_is_a_line_and_a_second_one_says_why_not() -> None:
    assert told() == ["wandb: no run is finished yet"]
    assert told("kept") == ["wandb: 1 run kept as files"]
    assert told("shown", "there", "shown") == ["wandb: 3 runs: 2 shown, 1 there already"]
    assert told("shown", "failed", "failed") == [
        "wandb: 3 runs: 1 shown, 2 not shown",
        "not shown at wandb: id1, ...: no room",
    ]


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize(("name", "how"), [("lines", "shown"), ("refuses", "failed")])
def test_finished_runs_are_shown_by_any_tracker(name: str, how: str, tmp_path: Path) -> None:
    run = attempt(tmp_path, name)
    assert [(one.id, one.how) for one in trackers.publish([run])] == [(run.identity, how)]
    assert list(trackers.publish([])) == []
