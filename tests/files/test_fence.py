"""Of two starts of one job, the earlier publishes nothing once the later has taken the folder over."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.errors import Superseded
from sft_sweeps.files import fence
from sft_sweeps.files.json_files import write_json
from sft_sweeps.store import claims
from sft_sweeps.store.answers import write_rows
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.clearing import clear_prepared
from sft_sweeps.tracking.metrics import METRICS, Metrics, read

CALL = "sweep.abc"


@pytest.fixture(autouse=True)
def free() -> Iterator[None]:
    yield
    fence.drop()


def first(folder: Path) -> Claim:
    """The claim of a first start, which this process holds."""
    claim = claims.take(folder, "sweep", CALL)
    assert claim
    hold(folder, claim)
    return claim


def hold(folder: Path, claim: Claim) -> None:
    fence.hold(lambda: claims.heartbeat(folder, claim), f"{claim.number:04d}")


def take_over(folder: Path, claim: Claim) -> Claim:
    """What a later start does before it reads anything."""
    later = claims.renew(folder, claim, claim.start + 1)
    assert later
    clear_prepared(folder)
    return later


def write_folder(folder: Path) -> None:
    """As a resume state and a model are written."""
    fence.check()
    prepared = folder / f".model.writing{fence.token()}"
    prepared.mkdir()
    (prepared / "weights").write_text("older")
    fence.publish(prepared, folder / "model")


WRITERS: list[Callable[[Path], None]] = [
    lambda folder: write_json(folder / "record.json", "older"),
    lambda folder: write_rows(folder / "items.jsonl", [{"by": "older"}]),
    lambda folder: Metrics(folder).write({"step": 1, "by": "older"}),
    write_folder,
]


@pytest.mark.parametrize("writer", WRITERS, ids=["record", "answers", "metrics", "folder"])
@pytest.mark.parametrize("moment", range(3))
def test_the_earlier_start_publishes_nothing_after_it_was_superseded(
    writer: Callable[[Path], None], moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over before it begins, before the look, and between the look and the rename."""
    claim, look = first(tmp_path), fence.check
    looks = itertools.count()

    def looked() -> None:
        last = next(looks) == (1 if writer is write_folder else 0)
        if moment == 1 and last:
            take_over(tmp_path, claim)
        look()
        if moment == 2 and last:
            take_over(tmp_path, claim)

    monkeypatch.setattr(fence, "check", looked)
    if moment == 0:
        take_over(tmp_path, claim)
    with pytest.raises(Superseded):
        writer(tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if not path.name.startswith((".", "claim"))]


@given(
    saved=st.integers(0, 5), before=st.integers(1, 6), order=st.lists(st.booleans(), max_size=12), late=st.booleans()
)
def test_metrics_lose_no_step_however_two_starts_interleave(
    saved: int, before: int, order: list[bool], late: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The later start continues from the step that is saved; the earlier one goes on writing unawares, or begins to."""
    folder = tmp_path_factory.mktemp("stage")
    claim = first(folder)
    older, at = Metrics(folder), 0
    for at in range(1, max(saved, before) + 1):
        older.write({"step": at, "by": 1})
    if late:  # it came up again from a state, and has not written since
        older.close()
        older, at = Metrics(folder), saved
    later, newer, done = take_over(folder, claim), Metrics(folder), saved
    for mine in [*order, True]:
        hold(folder, later if mine else claim)
        if mine:
            done += 1
            newer.write({"step": done, "by": 2})
        else:
            at += 1
            try:
                older.write({"step": at, "by": 1})
            except Superseded:
                at -= 1
    fence.drop()
    rows = read(folder)
    assert [row["step"] for row in rows] == list(range(1, done + 1))
    assert [row["by"] for row in rows] == [1] * saved + [2] * (done - saved)
    older.close()
    newer.close()


def test_clearing_leaves_claims_and_the_own_rendezvous(tmp_path: Path) -> None:
    for name in (".claim.1234", ".rendezvous-7-0", ".rendezvous-7-1", ".record.json.12345678", METRICS):
        (tmp_path / name).touch()
    for name in (".model.writing0001", "resume/.writing-0001step-00000004", "resume/step-00000002"):
        (tmp_path / name).mkdir(parents=True)
    clear_prepared(tmp_path, keep=".rendezvous-7-1")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == [".claim.1234", ".rendezvous-7-1", METRICS, "resume", "resume/step-00000002"]


def test_a_claim_says_which_start_holds_it(tmp_path: Path) -> None:
    """A first start's is written as before, so that jobs of an older version in one store understand it."""
    claim = first(tmp_path)
    fence.drop()
    assert "start" not in json.loads((tmp_path / "claim-0001.json").read_text())
    later = take_over(tmp_path, claim)
    assert claims.of_call(tmp_path, CALL, -1) == later
    assert later.start == 1
    assert [path.name for path in tmp_path.iterdir()] == ["claim-0002.json"]
    assert not claims.heartbeat(tmp_path, claim)
    assert claims.renew(tmp_path, claim, 1) is None
    claims.confirm(tmp_path, claim, "77")  # a launcher that comes late to write the number down
    assert [path.name for path in tmp_path.iterdir()] == ["claim-0002.json"]


def test_of_a_later_versions_claim_what_is_known_is_read(tmp_path: Path) -> None:
    claim = first(tmp_path)
    fence.drop()
    path = tmp_path / "claim-0001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new": 1}))
    assert claims.of_call(tmp_path, CALL, -1) == claim
