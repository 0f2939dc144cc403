"""Claims live while their work goes on, whatever it waits for; who loses one is told, and publishes nothing more."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_sweeps.errors import Superseded
from sft_sweeps.files import fence
from sft_sweeps.store import claims
from sft_sweeps.store.heartbeats import Heartbeats, working


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)


def until(happens: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_claim_lives_while_the_work_waits_and_is_given_back_whatever_it_raises(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "sweep")
    assert claim
    (file,) = claims.files(tmp_path)

    def work() -> None:
        with working(tmp_path, claim):
            os.utime(file, (1, 1))
            until(lambda: file.stat().st_mtime > 1)
            raise OSError("No space")

    with pytest.raises(OSError, match="No space"):
        work()
    assert claims.files(tmp_path) == []
    fence.check()


def test_who_was_superseded_publishes_nothing_and_gives_nothing_back(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "sweep")
    assert claim
    prepared = tmp_path / ".record"
    prepared.touch()
    with working(tmp_path, claim):
        other = claims.renew(tmp_path, claim, 1)
        with pytest.raises(Superseded):
            fence.publish(prepared, tmp_path / "record.json")
    assert claims.holder(tmp_path) == other
    assert not (tmp_path / "record.json").exists()


def test_only_a_claim_that_is_held_can_be_lost(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("superseded", "held", "given back")]
    heartbeats = Heartbeats()
    for folder in folders:
        folder.mkdir()
        claim = claims.take(folder, "sweep")
        assert claim
        heartbeats.hold(folder, claim)
        if folder.name == "given back":
            heartbeats.drop(folder)
            claims.release(folder, claim)
        elif folder.name == "superseded":
            claims.renew(folder, claim, 1)
    until(lambda: heartbeats.lost(folders[0]))
    os.utime(claims.files(folders[1])[0], (1, 1))
    until(lambda: claims.files(folders[1])[0].stat().st_mtime > 1)
    assert [heartbeats.lost(folder) for folder in folders] == [True, False, False]
    heartbeats.drop(folders[0])
    assert not heartbeats.lost(folders[0])
    heartbeats.end()
