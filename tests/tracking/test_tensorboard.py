"""TensorBoard's event files, read back record by record."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import layout, tensorboard
from sft_sweeps.tracking.base import Attempt, Ending
from sft_sweeps.tracking.metrics import Metrics
from sft_sweeps.tracking.process import log_file
from sft_sweeps.tracking.trackers import TRACKERS

pytest.importorskip("tensorboardX")

ID = "0123456789ab"


def take(folder: Path, first: int, last: int, loss: float) -> None:
    """One attempt at training, mirrored to its end."""
    attempt = Attempt(folder, Tracking("tensorboard", "table 1"), ID, "mini--math 1/4", {})
    mirror, metrics = TRACKERS.get("tensorboard").open(attempt), Metrics(folder)
    for step in range(first, last + 1):
        metrics.write({"step": step, "steps": 9, "loss": loss, "supervised_tokens": 10, "mfu": None})
    metrics.close()
    mirror.close(60, Ending())


def scalars(place: Path) -> Iterator[tuple[str, int, float]]:
    """TFRecords: length, its checksum, an Event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in place.glob("events.*"):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            event = Event.FromString(content[at + 12 : at + 12 + length])
            yield from ((one.tag, event.step, one.simple_value) for one in event.summary.value)
            at += length + 16


def test_a_resumed_stage_has_every_step_once_as_metrics_jsonl_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tensorboard.FOLDER, raising=False)
    folder = tmp_path / "stages" / f"mini--math-{ID}"
    folder.mkdir(parents=True)
    take(folder, 1, 6, loss=2.0)
    take(folder, 5, 9, loss=1.0)
    found = list(scalars(tmp_path / "tensorboard" / "table_1" / f"mini--math 1_4 {ID}"))
    losses = [(step, value) for tag, step, value in found if tag == "train/loss"]
    assert losses == [(n, 2.0 if n < 5 else 1.0) for n in range(1, 10)], log_file(folder, "tensorboard").read_text()
    assert (layout.SUPERVISED_SEEN, 9, 90.0) in found
    assert not [tag for tag, _, _ in found if "mfu" in tag]


def test_without_its_writer_it_is_said_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(tensorboard.problems(Tracking("tensorboard")))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (problem,) = tensorboard.problems(Tracking("tensorboard"))
    assert "pip install 'sft-sweeps[tensorboard]'" in problem
