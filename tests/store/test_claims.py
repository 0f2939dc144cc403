"""Claims: exactly one of many wins, the dead are superseded, the living are not."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from common import ROOT

from sft_sweeps.files import json_files
from sft_sweeps.slurm.queue import Entry
from sft_sweeps.store import claims

ROUNDS, RACERS = 120, 3
CHILD = """
import sys, time
from pathlib import Path
from sft_sweeps.store import claims
from sft_sweeps.slurm.queue import Entry
claim = claims.take(Path(sys.argv[1]), "theirs")
if claim and sys.argv[2]:
    claims.confirm(Path(sys.argv[1]), claim, sys.argv[2])
print("taken" if claim else "refused", flush=True)
time.sleep(60)
"""


def holder_process(folder: Path, job: str = "") -> "subprocess.Popen[str]":
    """A process that took the folder and lives."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, str(folder), job]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "taken"
    child.stdout.close()
    return child


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_phases(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "sweep-1")
    assert claim is not None
    assert (claim.sweep, claim.job, claim.pid, claim.host) == ("sweep-1", "", os.getpid(), socket.gethostname())
    assert claims.holder(tmp_path) == claim
    confirmed = claims.confirm(tmp_path, claim, "job-7")
    assert claims.holder(tmp_path) == confirmed
    assert confirmed.job == "job-7"
    assert claims.take(tmp_path, "sweep-2") is None
    assert names(tmp_path) == ["claim-0001.json"]
    claims.release(tmp_path, confirmed)
    assert names(tmp_path) == []
    assert claims.take(tmp_path, "sweep-2") is not None


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert claims.holder(tmp_path / "absent") is None
    assert claims.files(tmp_path / "absent") == []
    assert names(tmp_path) == []


def race(folder: str, stale: dict[str, Any] | None, barrier: Barrier, results: "Queue[tuple[int, bool]]") -> None:
    for n in range(ROUNDS):
        place = Path(folder) / str(n)
        if stale and not barrier.wait():
            json_files.write_json(place / "claim-0004.json", stale)
        barrier.wait()
        results.put((n, claims.take(place, "s") is not None))
        barrier.wait()


@pytest.mark.parametrize("stale", [False, True], ids=["free", "dead claim"])
def test_of_many_processes_exactly_one_wins(stale: bool, tmp_path: Path) -> None:
    dead = vars(claims.Claim("old", socket.gethostname(), 2**22 + 1, "1", number=4)) if stale else None
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=race, args=(str(tmp_path), dead, barrier, results)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    won = [0] * ROUNDS
    for _ in range(ROUNDS * RACERS):
        n, yes = results.get(timeout=60)
        won[n] += yes
    for racer in racers:
        racer.join(timeout=60)
    assert won == [1] * ROUNDS
    assert all(names(tmp_path / str(n)) == [f"claim-{5 if stale else 1:04d}.json"] for n in range(ROUNDS))


def test_a_claim_made_between_looking_and_taking_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, rivals = claims.files, []

    def slow(folder: Path) -> list[Path]:
        found = real(folder)
        if not rivals:
            rivals.append(None)
            rivals[0] = claims.take(folder, "rival")
        return found

    monkeypatch.setattr(claims, "files", slow)
    assert claims.take(tmp_path, "late") is None
    assert rivals[0] is not None
    held = claims.holder(tmp_path)
    assert held is not None
    assert held.sweep == "rival"
    assert len(names(tmp_path)) == 1


def test_a_number_that_was_free_long_ago_does_not_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked when nothing was there; since then a first claim died and was superseded."""
    living = claims.Claim("living", socket.gethostname(), os.getpid(), claims.process_started(os.getpid()), number=2)
    json_files.write_json(tmp_path / "claim-0002.json", vars(living))
    real, looks = claims.files, []

    def outdated(folder: Path) -> list[Path]:
        looks.append(folder)
        return [] if len(looks) == 1 else real(folder)

    monkeypatch.setattr(claims, "files", outdated)
    assert claims.take(tmp_path, "late") is None
    assert claims.holder(tmp_path) == living
    assert names(tmp_path) == ["claim-0002.json"]


@pytest.mark.parametrize("job", ["", "job-1"], ids=["first phase", "second phase"])
def test_a_killed_claimant_is_superseded_a_living_one_is_not(job: str, tmp_path: Path) -> None:
    child = holder_process(tmp_path, job)
    try:
        held = claims.holder(tmp_path)
        assert held is not None
        assert (held.pid, held.job) == (child.pid, job)
        assert claims.take(tmp_path, "ours") is None
        child.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while claims.holder(tmp_path) and time.monotonic() < deadline:  # not waited for: a zombie is dead, too
            time.sleep(0.01)
        ours = claims.take(tmp_path, "ours")
        assert ours is not None
        assert ours.number == 2
        assert names(tmp_path) == ["claim-0002.json"]
    finally:
        child.kill()
        child.wait()


def test_a_reused_process_number_is_dead(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "old")
    assert claim is not None
    file = tmp_path / "claim-0001.json"
    earlier = json.loads(file.read_text()) | {"started": str(int(claim.started) - 1)}
    file.write_text(json.dumps(earlier))
    assert claims.holder(tmp_path) is None
    new = claims.take(tmp_path, "new")
    assert new is not None
    assert new.number == 2


def test_another_host_lives_by_its_heartbeat(tmp_path: Path) -> None:
    claim = claims.Claim("theirs", "another-host", 1, "1", number=1)
    file = tmp_path / "claim-0001.json"
    json_files.write_json(file, vars(claim))
    assert claims.holder(tmp_path) == claim
    old = time.time() - claims.SILENT_SECONDS - 1
    os.utime(file, (old, old))
    assert claims.holder(tmp_path) is None
    claims.heartbeat(tmp_path, claim)
    assert claims.holder(tmp_path) == claim


WHOLE = '{"sweep": "s", "host": "h", "pid": 1, "started": "1", "call": "c", "job": "7"}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sweep": 1}', "null", f'{WHOLE[:-1]}, "owner": 3}}'])
def test_a_claim_that_cannot_be_read_is_superseded_when_nobody_touches_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "claim-0001.json").write_text(text)
    held = claims.holder(tmp_path)
    assert held is not None
    assert held.who == "somebody whose claim-0001.json cannot be read"
    assert claims.take(tmp_path, "new") is None
    for wrong in (claims.SILENT_SECONDS + 1, -3600):  # too long ago; a clock that was ahead
        moment = time.time() - wrong
        os.utime(tmp_path / "claim-0001.json", (moment, moment))
        assert claims.holder(tmp_path) is None
    taken = claims.take(tmp_path, "new")
    assert taken is not None
    assert taken.number == 2


@pytest.mark.parametrize("left", [0, 40, -1])
def test_a_heartbeat_fills_a_claim_that_was_cut_short_and_brings_none_back(left: int, tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "ours")
    assert claim is not None
    claim = claims.confirm(tmp_path, claim, "train-1", [os.getpid()])
    file = tmp_path / "claim-0001.json"
    os.truncate(file, left % file.stat().st_size)
    assert claims.holder(tmp_path) != claim
    assert claims.heartbeat(tmp_path, claim)
    assert claims.holder(tmp_path) == claim
    file.unlink()
    assert not claims.heartbeat(tmp_path, claim)
    assert names(tmp_path) == []


def test_a_dead_host_whose_clock_was_ahead_is_found_by_its_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_files.write_json(tmp_path / "claim-0001.json", vars(claims.Claim("theirs", "another-host", 1, "1", number=1)))
    file, began = tmp_path / "claim-0001.json", time.monotonic()

    def touched(ahead: float, later: float) -> bool:
        """Whether it lives, so many seconds later, touched at an hour ahead of this clock and so much more."""
        os.utime(file, (began + 3600 + ahead, began + 3600 + ahead))
        monkeypatch.setattr(time, "monotonic", lambda: began + later)
        return claims.holder(tmp_path) is not None

    monkeypatch.setattr(time, "time", lambda: began)
    assert touched(0, 0)
    assert touched(100, 100)
    assert touched(200, 200)  # it lives: it is touched again and again
    assert touched(200, 200 + claims.SILENT_SECONDS - 1)
    assert not touched(200, 200 + claims.SILENT_SECONDS)


def test_processes_are_told_apart_by_their_start() -> None:
    assert claims.process_started(os.getpid()) == claims.process_started(os.getpid()) != ""
    assert claims.process_started(2**22 + 1) == ""


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "a.json"
    json_files.write_json(path, {"a": 1})
    assert json_files.read_json(path) == {"a": 1}
    with pytest.raises(TypeError):
        json_files.write_json(path, {"a": object()})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(claims.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        json_files.write_json(path, {"a": 2})
    assert json_files.read_json(path) == {"a": 1}
    assert names(path.parent) == ["a.json"]
    assert json_files.read_json(tmp_path / "absent.json") is None


def test_a_living_worker_holds_its_folder_when_the_launcher_is_dead(tmp_path: Path) -> None:
    """Until its next step boundary it trains on; a second one beside it would spoil the stage."""
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        claim = claims.take(tmp_path, "first")
        assert claim is not None
        gone = replace(claims.confirm(tmp_path, claim, "train-1", [worker.pid]), pid=2**22 + 1, started="0")
        json_files.write_json(next(tmp_path.glob("claim-*.json")), asdict(gone))
        assert claims.take(tmp_path, "second") is None
    finally:
        worker.kill()
        worker.wait()
    assert claims.take(tmp_path, "second") is not None


class Answers:
    """Slurm's answers."""

    def __init__(self, *entries: Entry, reachable: bool = True) -> None:
        self.entries, self.answers = entries, reachable

    def reachable(self, _owner: str) -> bool:
        return self.answers

    def entry(self, job: str, owner: str) -> Entry | None:
        return next((e for e in self.entries if (e.job, e.owner) == (job, owner)), None)

    def forget(self, _owner: str, _since: float) -> bool:
        return False

    def named(self, name: str, owner: str) -> dict[str, Entry]:
        return {e.job: e for e in self.entries if (e.name, e.owner) == (name, owner)}


def entry(job: str, name: str, state: str = "PENDING") -> Entry:
    return Entry(
        job=job, name=name, owner=claims.user(), state=state, reason="", nodes="", partition="", seconds_left=None
    )


def confirmed(folder: Path, job: str = "7_3") -> claims.Claim:
    claim = claims.take(folder, "sweep", "sweep.abc", 3)
    assert claim is not None
    return claims.confirm(folder, claim, job)


@pytest.mark.parametrize(
    ("answer", "lives"),
    [
        (Answers(entry("7_3", "sweep.abc")), True),
        (Answers(entry("7_3", "sweep.abc", "RUNNING")), True),
        (Answers(entry("7_3", "sweep.abc", "FAILED")), False),
        (Answers(entry("7_4", "sweep.abc")), False),
        (Answers(entry("7_3", "another.call")), False),  # the controller lost its state and gave the number away again
        (Answers(), False),
        (Answers(reachable=False), True),
    ],
    ids=["pending", "running", "failed", "another element", "number used again", "gone", "Slurm does not answer"],
)
def test_a_claim_of_a_slurm_job_lives_as_long_as_the_job(tmp_path: Path, answer: Any, lives: bool) -> None:
    claim = confirmed(tmp_path)
    held = claims.holder(tmp_path, answer)
    assert held == (claim if lives else None)
    assert (claims.take(tmp_path, "other", queue=answer) is None) == lives


@pytest.mark.parametrize("launcher_lives", [True, False])
@pytest.mark.parametrize(("index", "found"), [(3, "7_3"), (4, "")])
def test_a_launcher_that_died_before_it_knew_the_number_is_found_by_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher_lives: bool, index: int, found: str
) -> None:
    claim = claims.take(tmp_path, "sweep", "sweep.abc", index)
    assert claim is not None
    if not launcher_lives:
        json_files.write_json(next(tmp_path.glob("claim-*.json")), asdict(replace(claim, pid=2**22 + 1, started="0")))
    monkeypatch.setattr(
        claims, "Queue", lambda: Answers(entry("7_3", "sweep.abc", "RUNNING"), entry("7_30", "sweep.xyz"))
    )
    held = claims.holder(tmp_path)
    assert (held.job if held else None) == (found or ("" if launcher_lives else None))


def test_an_element_finds_its_own_claim_until_somebody_supersedes_it(tmp_path: Path) -> None:
    claim = confirmed(tmp_path)
    assert claims.of_call(tmp_path, "sweep.abc", 3) == claim
    assert claims.of_call(tmp_path, "sweep.abc", 4) is None
    assert claims.heartbeat(tmp_path, claim)
    other = claims.take(tmp_path, "other", queue=Answers())  # type: ignore[arg-type]
    assert other is not None
    assert claims.of_call(tmp_path, "sweep.abc", 3) is None
    assert not claims.heartbeat(tmp_path, claim)
