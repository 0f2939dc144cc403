"""What the starts of a stage cost, and when another one makes no sense."""

import json
import time
from pathlib import Path

import pytest

from sft_sweeps.errors import RunError
from sft_sweeps.jobs import attempts


def metrics(folder: Path, steps: int, seconds: float) -> None:
    lines = [json.dumps({"step": step, "seconds": seconds}) + "\n" for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")


def clock(monkeypatch: pytest.MonkeyPatch, at: float) -> None:
    monkeypatch.setattr(time, "time", lambda: at)


def test_hours_are_counted_to_the_end_and_lost_steps_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 1000.0)
    attempts.begin(tmp_path, "7_1", step=0, gpus=8)
    metrics(tmp_path, steps=10, seconds=30.0)
    clock(monkeypatch, 4600.0)
    attempts.end(tmp_path, "stopped")
    clock(monkeypatch, 9000.0)
    attempts.begin(tmp_path, "7_1", step=6, gpus=8)  # four steps of 30 s are done again
    clock(monkeypatch, 9000.0 + 1800.0)
    attempts.end(tmp_path, "done")
    found = attempts.usage(tmp_path, running=False)
    assert found.starts == 2
    assert found.gpu_hours == pytest.approx(8 * 1.5)
    assert found.gpu_hours_lost == pytest.approx(8 * 120 / 3600)


def test_a_killed_attempt_ends_with_its_last_step(tmp_path: Path) -> None:
    attempts.begin(tmp_path, "7", step=0, gpus=1)
    metrics(tmp_path, steps=2, seconds=1.0)
    before = attempts.usage(tmp_path, running=False)
    attempts.begin(tmp_path, "8", step=2, gpus=1)
    assert 0 <= before.gpu_hours < 1 / 3600
    assert attempts.usage(tmp_path, running=False).starts == 2
    assert attempts.usage(tmp_path, running=True).gpu_hours >= before.gpu_hours


def test_no_progress_is_given_up_with_the_reason(tmp_path: Path) -> None:
    for _ in range(attempts.STUCK_STARTS):
        attempts.begin(tmp_path, "7_1", step=40, gpus=8)
    with pytest.raises(RunError, match=r"7_1 was started 3 times from step 40 .* cluster.time"):
        attempts.begin(tmp_path, "7_1", step=40, gpus=8)
    attempts.begin(tmp_path, "7_1", step=41, gpus=8)
    attempts.begin(tmp_path, "9_1", step=41, gpus=8)


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    attempts.begin(tmp_path, "7", step=0, gpus=1)
    with (tmp_path / attempts.ATTEMPTS).open("a") as file:
        file.write('{"event": "end"}\n{"event": "start", "job": "7"}\n{"event": []}\n3\n{"event": "start", "jo')
    assert attempts.usage(tmp_path, running=False).starts == 1
    attempts.begin(tmp_path, "8", step=0, gpus=1)
    assert attempts.usage(tmp_path, running=False).starts == 2
    assert attempts.usage(tmp_path / "absent", running=False) == attempts.Usage()


def test_what_lies_in_the_place_of_the_file_is_no_attempt(tmp_path: Path) -> None:
    path = tmp_path / attempts.ATTEMPTS
    path.mkdir()
    assert attempts.usage(tmp_path, running=False) == attempts.Usage()
    path.rmdir()
    path.symlink_to(path)
    assert attempts.usage(tmp_path, running=False) == attempts.Usage()
