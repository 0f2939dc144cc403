"""The index of what was seen: it answers as the store does, whatever happened behind its back, and reads one file."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_growth import MINI, file_operations, finished, swept
from values import mixed, request

from sft_sweeps.commands.status.look import Look
from sft_sweeps.jobs import attempts, retention
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store import seen
from sft_sweeps.store.claims import release, take
from sft_sweeps.store.clearing import clear_unrecorded
from sft_sweeps.store.seen import FILE, Seen
from sft_sweeps.store.store import FREED, Store, write_record
from sft_sweeps.store.survey import Survey, survey
from sft_sweeps.store.sweeps import Sweep, freeze

TICK = 0.02  # longer than one of this machine's file systems
PLAN = build([("", request(mixed(), "mixed_sequential", benchmarks=MINI[:1], every_stage=True))])
STAGES = len(PLAN.stages)


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "SETTLED_SECONDS", TICK)


def look(store: Store, sweep: Sweep, plan: Plan = PLAN) -> Survey:
    """Through the index, which keeps what was found."""
    time.sleep(TICK * 1.5)
    found = survey(plan, Store(store.root), thorough=False, seen=Seen(sweep.folder))
    found.seen.save()
    return found


def same(indexed: Survey, plan: Plan = PLAN) -> bool:
    """Whether it says what a look without an index says."""
    plain = survey(plan, Store(indexed.store.root), thorough=False)
    return (dict(indexed.states), indexed.records, indexed.held) == (dict(plain.states), plain.records, plain.held)


def _folders(store: Store) -> list[Path]:
    return [Store(store.root).write_folder(item) for item in (*PLAN.stages, *PLAN.scores)]


def _finish(store: Store, n: int) -> None:
    items = (*PLAN.stages, *PLAN.scores)
    item, folder = items[n], _folders(store)[n]
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for name in ("model/a", "model/b", "rows.jsonl"):
        (folder / name).write_text(f"{time.time()}\n")
    write_record(folder, item.payload, ["model/a", "model/b", "rows.jsonl"], {"last": {"step": n, "loss": time.time()}})


def _free(store: Store, n: int) -> None:
    retention.put_away([PLAN.stages[n % STAGES]], Store(store.root), {"sweep": "s"}, "scores")


def _arrive(store: Store, n: int) -> None:
    """As an import leaves it: without weights, and saying so."""
    folder = _folders(store)[n % STAGES]
    shutil.rmtree(folder / "model", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FREED).write_text(json.dumps({"how": "imported", "time": str(n)}))


def _redo(store: Store, n: int) -> None:
    folder = _folders(store)[n % STAGES]
    folder.mkdir(parents=True, exist_ok=True)
    if claim := take(folder, "other"):
        clear_unrecorded(folder)
        _finish(store, n % STAGES)
        release(folder, claim)


def _damage(store: Store, n: int) -> None:
    """As many bytes, others, in place."""
    path = _folders(store)[n] / "record.json"
    if path.exists():
        with path.open("r+b") as file:
            file.seek(10)
            file.write(b"\0\0\0\0")


def _cut(store: Store, n: int) -> None:
    path = _folders(store)[n] / "record.json"
    if path.exists():
        os.truncate(path, 5)


def _remove(name: str) -> Callable[[Store, int], None]:
    def remove(store: Store, n: int) -> None:
        path = _folders(store)[n] / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return remove


def _claim(store: Store, n: int) -> None:
    folder = _folders(store)[n % STAGES]
    folder.mkdir(parents=True, exist_ok=True)
    take(folder, "other")


def _spoil(store: Store, n: int) -> None:
    """The index itself: cut, or with another content."""
    for path in store.root.glob(f"sweeps/*/{FILE}"):
        path.write_bytes(path.read_bytes()[: 100 * n] if n % 2 else path.read_bytes().replace(b"done", b"gone"))


REMOVED = ("", "record.json", "model", "model/a", "scores", FREED)
DOINGS = (_finish, _free, _arrive, _redo, _damage, _cut, _claim, _spoil, *map(_remove, REMOVED))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=st.lists(st.tuples(st.sampled_from(DOINGS), st.integers(0, 3)), min_size=1, max_size=8))
def test_whatever_happens_the_index_says_what_the_store_says(
    doings: list[tuple[Callable[[Store, int], None], int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = finished(tmp_path_factory.mktemp("store"), PLAN)
    sweep = freeze(PLAN, store, "mine", "", [])
    assert same(look(store, sweep))
    for do, n in doings:
        do(store, n)
        assert same(look(store, sweep)), do


def test_the_next_look_at_what_is_finished_reads_one_file(tmp_path: Path) -> None:
    """And asks of each stage, and of the base model, three questions, and one of each score."""
    plan = swept(6, benchmarks=MINI, every_stage=True)
    store = finished(tmp_path, plan)
    sweep = freeze(plan, store, "mine", "", [])
    first = look(store, sweep, plan)
    with file_operations() as asked:
        again = survey(plan, Store(tmp_path), thorough=False, seen=Seen(sweep.folder))
    assert [one.partition(" ")[0] for one in asked].count("open") == 1
    assert len(asked) == 18 * 6 + 3 + 3
    assert (dict(again.states), again.records, again.held) == (dict(first.states), first.records, first.held)


def test_what_was_just_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be written once more within the same tick of the clock."""
    monkeypatch.setattr(seen, "SETTLED_SECONDS", 60.0)
    store = finished(tmp_path, PLAN)
    sweep = freeze(PLAN, store, "mine", "", [])
    look(store, sweep)
    assert not any(stage.id in Seen(sweep.folder) for stage in PLAN.stages)


def test_the_clock_of_this_machine_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be ahead of the file server's by an hour."""
    store = finished(tmp_path, PLAN)
    sweep, real = freeze(PLAN, store, "mine", "", []), time.time
    monkeypatch.setattr(seen, "SETTLED_SECONDS", 60.0)
    monkeypatch.setattr(seen.time, "time", lambda: real() + 3600)
    look(store, sweep)
    assert not any(stage.id in Seen(sweep.folder) for stage in PLAN.stages)


def test_who_may_not_write_looks_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = finished(tmp_path, PLAN)
    sweep = freeze(PLAN, store, "mine", "", [])

    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(seen, "_now", refused)
    assert same(look(store, sweep))
    assert not (sweep.folder / FILE).exists()


def test_what_a_stage_cost_is_read_once_until_it_is_trained_again(tmp_path: Path) -> None:
    store = finished(tmp_path, PLAN)
    sweep, folder = freeze(PLAN, store, "mine", "", []), store.folder(PLAN.stages[0])
    attempts.begin(folder, "1", 0, 8)
    attempts.end(folder, "done")

    def starts() -> tuple[int, int]:
        """As status says, and how often it read of them."""
        time.sleep(TICK * 1.5)
        with file_operations() as asked:
            found = Look(sweep, tmp_path)()
        return found["stages"][0]["starts"], sum(attempts.ATTEMPTS in one for one in asked)

    assert [starts(), starts()] == [(1, 1), (1, 0)]
    claim = take(folder, "other")
    assert claim
    attempts.begin(folder, "2", 1, 8)
    release(folder, claim)
    assert [starts(), starts()] == [(2, 1), (2, 0)]


def test_what_another_store_says_is_not_kept_as_this_ones(tmp_path: Path) -> None:
    """A model that was freed here is read there; afterwards the other store is gone."""
    stage, store, other = PLAN.stages[0], finished(tmp_path / "mine", PLAN), finished(tmp_path / "other", PLAN)
    folder = other.folder(stage)
    write_record(folder, stage.payload, [f"model/{path.name}" for path in (folder / "model").iterdir()], {"last": {}})
    sweep = freeze(PLAN, store, "mine", "", [])
    _free(store, 0)
    time.sleep(TICK * 1.5)
    found = survey(PLAN, Store(store.root, [other.root]), thorough=False, seen=Seen(sweep.folder))
    assert found.states[stage.id].why == f"in {other.root}"
    found.seen.save()
    assert stage.id in Seen(sweep.folder)
    assert same(look(store, sweep))


def test_a_launch_keeps_the_one_of_many_that_was_not_kept_yet(tmp_path: Path) -> None:
    """Which is too little for whoever only looks."""
    plan = swept(seen.WORTH + 2)
    store = finished(tmp_path, plan)
    sweep, folder = freeze(plan, store, "mine", "", []), store.folder(plan.stages[0])
    look(store, sweep, plan)
    os.utime(folder)
    for anything in (False, True):
        time.sleep(TICK * 1.5)
        found = survey(plan, Store(tmp_path), thorough=False, seen=Seen(sweep.folder))
        found.seen.save(anything=anything)
        assert bool(Seen(sweep.folder).entry(plan.stages[0].id, folder)) == anything


def test_answers_that_are_asked_about_before_the_index_is_written_are_not_in_it(tmp_path: Path) -> None:
    """Those of a score are looked at late: what they rest on was not signed with the rest."""
    store, generation = finished(tmp_path, PLAN), PLAN.generations[0]
    folder = store.write_folder(generation)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, generation.payload, [], {})
    sweep = freeze(PLAN, store, "mine", "", [])
    time.sleep(TICK * 1.5)
    found = survey(PLAN, Store(tmp_path), thorough=False, seen=Seen(sweep.folder))
    assert found.states[generation.id].state == "done"
    found.seen.save()
    (folder / "record.json").unlink()
    assert same(look(store, sweep))
