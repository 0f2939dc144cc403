"""`--until-done`: what is submitted again, what is not, and when the launch leaves."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import values
from rich.console import Console

from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.evidence import JobStatus
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.status import SweepStatus
from sft_sweeps.launch.slurm import stay
from sft_sweeps.store.sweeps import Sweep

FIRST = values.stage()
CHAIN = [FIRST, values.stage(FIRST), values.stage(values.stage(FIRST))]
JOBS = [
    Job("train", "/s", stage, TrainExecution(), parent=f"train-{above.id}" if above else "")
    for stage, above in zip(CHAIN, [None, *CHAIN], strict=False)
]
NO_SURVEY: Any = None
A, B, C = (job.id for job in JOBS)


class Work:
    """What `until_done` reads of the missing work."""

    jobs = JOBS
    plan = store = None


def stays(monkeypatch: pytest.MonkeyPatch, rounds: list[dict[str, JobStatus]], waiting: Collection[str] = ()) -> Any:
    """The exit status and what was submitted in each round; as many jobs as `rounds` say go on waiting."""
    coming, asked = iter(rounds), []

    def submit(only: Collection[str], _: object) -> Collection[str]:
        asked.append(sorted(only))
        return ()

    monkeypatch.setattr(stay, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(stay, "status_of", lambda *_: SweepStatus({}, next(coming), NO_SURVEY))
    work: Any = Work()
    return stay.until_done(work, Sweep(Path("s")), waiting, submit, Console(quiet=True)), asked


def of(*states: JobStatus) -> dict[str, JobStatus]:
    return dict(zip((A, B, C), states, strict=True))


DONE, RUNNING, FAILED = JobStatus("done"), JobStatus("running"), JobStatus("failed", "out of memory")
PREEMPTED, CANCELLED = JobStatus("failed", reason="PREEMPTED"), JobStatus("cancelled")


def test_what_was_preempted_is_submitted_again_with_what_waited_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [
        of(RUNNING, RUNNING, RUNNING),
        of(DONE, PREEMPTED, CANCELLED),
        of(DONE, RUNNING, RUNNING),
        of(*[DONE] * 3),
    ]
    assert stays(monkeypatch, rounds) == (0, [sorted([B, C])])


def test_what_failed_or_was_cancelled_by_its_user_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stays(monkeypatch, [of(DONE, FAILED, CANCELLED)]) == (1, [])
    assert stays(monkeypatch, [of(DONE, CANCELLED, CANCELLED)]) == (1, [])


def test_what_had_no_room_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [of(RUNNING, JobStatus("missing"), JobStatus("missing")), of(DONE, RUNNING, RUNNING), of(*[DONE] * 3)]
    assert stays(monkeypatch, rounds, (B, C)) == (0, [sorted([B, C])])
