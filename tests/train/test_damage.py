"""A resume state that is not what was written is never continued from: the one before is, or the stage starts anew."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training import SHAPE, Job, Outcome, run

from sft_sweeps.files import checksum
from sft_sweeps.models.init import materialise
from sft_sweeps.store import resume_states
from sft_sweeps.store.resume_states import FOLDER, STATE

EXECUTION = {"token_budget": 100, "save_every_steps": 2, "keep": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str]:
    """A stage that stopped with the states of steps 2 and 4, and the digest that it would have had."""
    folder = tmp_path_factory.mktemp("damage")
    materialise(SHAPE, 0, [], folder / "base")
    job = Job(str(folder / "base"), str(folder / "saved"), EXECUTION, {"epochs": 2})
    whole = run(replace(job, folder=str(folder / "whole")))[0]
    assert not whole.error, whole.log
    stopped = run(replace(job, stop_at=4))[0]
    assert stopped.error == "Interrupted", stopped.log
    names = sorted(path.name for path in (Path(job.folder) / FOLDER).iterdir())
    assert names == ["step-00000002", "step-00000004"]
    return job, whole.digest


@pytest.fixture
def copied(saved: tuple[Job, str], tmp_path: Path) -> tuple[Job, str]:
    job, digest = saved
    shutil.copytree(job.folder, tmp_path / "stage")
    return replace(job, folder=str(tmp_path / "stage")), digest


def flip(path: Path, at: int, bits: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))


def files_of(state: Path) -> list[Path]:
    return sorted(path for path in state.rglob("*") if path.is_file())


def states(job: Job) -> list[Path]:
    """The newest first."""
    return resume_states.paths(Path(job.folder))


def starts(job: Job) -> list[dict[str, object]]:
    return [json.loads(line) for line in (Path(job.folder) / "starts.jsonl").read_text().splitlines()]


def assert_same(outcome: Outcome, digest: str, after: int) -> None:
    assert not outcome.error, outcome.log
    assert outcome.digest == digest
    assert outcome.metrics[0]["step"] == after + 1


def test_a_damaged_state_is_passed_over_for_the_one_before(copied: tuple[Job, str]) -> None:
    job, digest = copied
    (large,) = [path for path in files_of(states(job)[0]) if "optim" in path.name]
    flip(large, large.stat().st_size // 2)
    outcome = run(job)[0]
    assert_same(outcome, digest, after=2)
    assert "passing over resume states" in outcome.log
    (said,) = starts(job)[-1]["passed_over"]  # type: ignore[misc]
    assert said.startswith(f"step-00000004: zero/{large.name} changed since it was written")
    assert starts(job)[-1]["step"] == 2


def test_with_all_of_them_damaged_the_stage_starts_anew(copied: tuple[Job, str]) -> None:
    job, digest = copied
    for state in states(job):
        flip(files_of(state)[0], 100)
    outcome = run(job)[0]
    assert_same(outcome, digest, after=0)
    assert "none is left, the stage starts from its parent again" in outcome.log


def test_two_ranks_agree_on_what_is_damaged(saved: tuple[Job, str], tmp_path: Path) -> None:
    execution = EXECUTION | {"whole_parameters": 0, "zero_stage": 3}
    job = Job(saved[0].parent, str(tmp_path / "two"), execution, {"epochs": 2})
    assert run(replace(job, stop_at=4), 2)[0].error == "Interrupted"
    flip(files_of(states(job)[0])[-1], 500)
    outcomes = run(job, 2)
    assert [outcome.metrics[0]["step"] for outcome in outcomes] == [3, 3], outcomes[0].log


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_of_any_file(saved: tuple[Job, str], data: st.DataObject) -> None:
    """What chooses a state sees every change but one of the blanks that JSON may have anywhere."""
    newest = states(saved[0])[0]
    file = data.draw(st.sampled_from(files_of(newest)))
    at = data.draw(st.integers(0, file.stat().st_size - 1))
    bits = data.draw(st.integers(1, 255))
    before, whole = file.read_bytes(), resume_states.read(newest)
    flip(file, at, bits)
    try:
        state, _ = resume_states.read(newest)
        assert not state or resume_states.damaged(newest, state) or (file.name == STATE and state == whole[0])
    finally:
        file.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whatever_byte_of_the_newest_state_the_weights_are_the_same(copied: tuple[Job, str], seed: int) -> None:
    job, digest = copied
    stream = np.random.RandomState(seed)
    files = files_of(states(job)[0])
    file = files[seed % len(files)]
    flip(file, stream.randint(file.stat().st_size), 1 << stream.randint(8))
    outcome = run(job)[0]
    assert not outcome.error, outcome.log
    assert outcome.digest == digest
    assert outcome.metrics[0]["step"] in (3, 5)  # 5: a blank of state.json


def test_every_byte_of_state_json(saved: tuple[Job, str]) -> None:
    newest = states(saved[0])[0]
    before, whole = (newest / STATE).read_bytes(), resume_states.read(newest)[0]
    for at in range(len(before)):
        for bits in (1, 16, 32):
            flip(newest / STATE, at, bits)
            assert resume_states.read(newest)[0] in (None, whole), at
            flip(newest / STATE, at, bits)
    assert (newest / STATE).read_bytes() == before


def test_states_of_before_there_were_checksums_are_continued_from(copied: tuple[Job, str]) -> None:
    job, digest = copied
    for path in states(job):
        state, _ = resume_states.read(path)
        assert state
        content = asdict(state)
        del content["checksums"]
        (path / STATE).write_text(json.dumps(content))
    assert_same(run(job)[0], digest, after=4)


class Program:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_in_a_state_is_run(copied: tuple[Job, str], tmp_path: Path, processes: int) -> None:
    """Also where it is converted for another process count."""
    job, mark = copied[0], tmp_path / "was here"
    for path in states(job):
        for file in (path / "zero").iterdir():
            content = torch.load(file, weights_only=False)
            torch.save(content | {"program": Program(mark)}, file)
        content = json.loads((path / STATE).read_text())
        names = list(content["files"])
        content["files"] = {name: (path / name).stat().st_size for name in names}
        content["checksums"] = {name: checksum.of_file(path / name) for name in names}
        del content["checksum"]
        (path / STATE).write_text(json.dumps(checksum.sealed(content)))
        assert pickle.loads(pickle.dumps(Program(tmp_path / "works"))) is None
    outcome = run(replace(job, execution=job.execution | {"whole_parameters": 0}), processes)[0]
    assert outcome.error == "RunError", outcome.log
    assert not mark.exists()
    assert "delete" in outcome.message.lower()


def test_a_checksum_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = np.random.RandomState(0).bytes(3 * checksum.BLOCK + 7)
    with (tmp_path / "file").open("wb") as stream:
        summed = checksum.Summed(stream)
        for start in range(0, len(content), 1_000_003):
            summed.write(content[start : start + 1_000_003])
    assert summed.checksum == checksum.of_file(tmp_path / "file") == checksum.of_bytes(content)
    assert checksum.damaged(tmp_path, {"file": summed.checksum, "absent": "0" * 16}) == ["absent"]
