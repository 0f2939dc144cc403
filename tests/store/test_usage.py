"""Where the disk went: the sum is what `du` says, each byte counts once, and a stage is its sweeps'."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import finished

from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import PLAN
from sft_sweeps.store.usage import LEFT, RESUMES, usage

PARTS = st.sampled_from(
    ["stages", "models", "encoded", "sweeps", "m--math-0123456789ab", "model", "resume", "logs", ".x"]
)
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)


def du(root: Path) -> int:
    """The system's own answer."""
    said = subprocess.run(["du", "-sB1", root], capture_output=True, text=True, check=True).stdout
    return int(said.split()[0])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@settings(max_examples=25, deadline=None)
@given(
    files=st.dictionaries(PATHS, st.integers(0, 20_000), max_size=8),
    linked=st.booleans(),
    outside=st.booleans(),
)
def test_the_sum_is_du_s(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, int], linked: bool, outside: bool
) -> None:
    root = tmp_path_factory.mktemp("store")
    for path, size in files.items():
        target = root / path / "file"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x" * size)
        if linked:
            os.link(target, root / f"again-{len(os.listdir(root))}")
        if outside:
            (target.parent / "away").symlink_to("/usr")
    found = usage(root)
    assert found.total.bytes == du(root)
    assert found.unread == []


def test_each_byte_once_and_each_stage_with_its_sweeps(store: Store) -> None:
    long, mine = finished(store, "long", "code", "math")
    short, theirs = finished(store, "short", "code")
    assert short.stages[0] == long.stages[0]
    found = usage(store.root)
    assert found.total.bytes == du(store.root)
    assert {taken.id for taken in found.of_sweep(mine.name)} == {one.id for one in long.subjects}
    assert {taken.id for taken in found.of_sweep(theirs.name)} == {one.id for one in short.subjects}
    assert [taken.id for taken in found.alone(mine.name)] == [long.stages[1].id]
    assert found.alone(theirs.name) == []
    assert found.unasked() == []
    shutil.rmtree(mine.folder)
    assert [taken.id for taken in usage(store.root).unasked()] == [long.stages[1].id]


def test_what_trackers_wrote_has_a_line_of_its_own(store: Store) -> None:
    plan, _ = finished(store, "mine", "math")
    for place in (store.root / "trackio", store.folder(plan.stages[0]) / "wandb"):
        place.mkdir()
        (place / "a file").write_bytes(b"x" * 50_000)
    found = usage(store.root)
    assert found.by_what["trackers' files"].files == 2
    assert found.by_what["trackers' files"].bytes >= 100_000
    assert found.total.bytes == du(store.root)


def test_what_is_half_written_is_told_apart(store: Store) -> None:
    plan, _ = finished(store, "mine", "math")
    folder = store.folder(plan.stages[0])
    before = usage(store.root)
    for path in (
        folder / "resume" / ".writing-step-00000002",
        folder / "resume" / "step-00000001",
        folder / ".model.1",
    ):
        path.mkdir(parents=True)
        (path / "weights").write_bytes(b"x" * 9000)
    found = usage(store.root)
    assert LEFT not in before.by_what
    assert found.by_what[LEFT].files == 2
    assert found.by_what[RESUMES].files == 1
    assert found.by_what[LEFT].bytes > 2 * 9000
    assert found.total.bytes == du(store.root)


def test_a_plan_that_cannot_be_read_is_no_empty_plan(store: Store) -> None:
    _, sweep = finished(store, "mine", "math")
    (sweep.folder / PLAN).write_bytes(b"\xff\xfe")
    assert usage(store.root).asked == {sweep.name: None}


def test_what_goes_away_meanwhile_is_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = finished(store, "mine", "math")
    gone, real = store.folder(plan.stages[0]) / "model", os.scandir

    def scandir(path: str) -> object:
        if str(path) == str(gone):
            shutil.rmtree(gone)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = usage(store.root)
    assert plan.stages[0].id in found.subjects
    assert found.unread == []
