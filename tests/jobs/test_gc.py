"""What can go of a store: nothing that a sweep asks for or a living job needs, whoever dies or launches meanwhile."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from common import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import finish
from values import component, mixed, request

from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Executions
from sft_sweeps.files.encoded import ENCODED
from sft_sweeps.jobs import encoding, gc, retention
from sft_sweeps.jobs.disposable import KINDS, Disposable, disposable
from sft_sweeps.jobs.job import missing
from sft_sweeps.jobs.needs import read_needs
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims, freeing
from sft_sweeps.store.store import FREED, FREEING, Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import PLAN, Sweep, freeze

CHAIN: dict[str, Any] = {"strategy": "sequential", "every_stage": True}
LAW = component("law", role="general")


def plan_of(**changes: Any) -> Plan:
    return build([("x", request(**{**CHAIN, **changes}))])


PLANS = {
    "long": plan_of(components=(*mixed(), LAW)),
    "short": plan_of(components=(component("code"),), strategy="multi_task"),
    "two": plan_of(strategy="mixed_sequential"),
    "law": plan_of(components=(LAW, component("code"))),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def everything(plan: Plan) -> tuple[Any, ...]:
    return (*plan.subjects, *plan.generations, *plan.scores)


def launched(store: Store, name: str, policy: str = "all", done: Callable[[Any], bool] = lambda _: True) -> Sweep:
    """A sweep of one of PLANS, some of which is done."""
    sweep = freeze(PLANS[name], Store(store.root), name, "", ["x"])
    retention.declare(sweep, policy)
    for item in everything(PLANS[name]):
        if done(item):
            made = finish(Store(store.root), item)
            if isinstance(item, Stage):
                (made / "identity.json").write_text(json.dumps(item.payload))
    return sweep


def can_go(store: Store, *only: str, policy: str = "") -> list[Disposable]:
    return disposable(read_needs(Store(store.root)), only, policy)[0]


def collect(store: Store, *only: str, policy: str = "") -> list[gc.Freed]:
    return gc.free(Store(store.root), can_go(store, *only, policy=policy), policy)


def old(path: Path) -> Path:
    """As if nobody had touched it for long."""
    for one in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.utime(one, (0, 0), follow_symlinks=False)
    return path


def folder(path: Path) -> Path:
    """A folder with something in it."""
    path.mkdir(parents=True)
    (path / "file").write_text("x")
    return path


def work(sweep: Sweep, store: Store) -> list[str]:
    """What a launch would do now."""
    return [job.id for job in missing(survey(sweep.plan(), Store(store.root)), Executions())]


def states(sweep: Sweep, store: Store) -> dict[str, str]:
    surveyed = survey(sweep.plan(), Store(store.root))
    return {item.id: surveyed.states[item.id].state for item in everything(sweep.plan())}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_all_sweeps_say_the_same_of_done_work(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """However far they are, whatever was deleted, killed or is at work; and a second time there is nothing left."""
    store = Store(tmp_path_factory.mktemp("gc") / "store")
    policies, chance = st.sampled_from(["all", "final", "scores"]), st.booleans()
    names = data.draw(st.lists(st.sampled_from(sorted(PLANS)), min_size=1, unique=True))
    sweeps = {
        name: launched(store, name, data.draw(policies), lambda item: isinstance(item, Stage) or data.draw(chance))
        for name in names
    }
    stages = {stage.id: stage for name in names for stage in PLANS[name].stages}
    working = [stage for stage in stages.values() if data.draw(st.integers(0, 3)) == 0]
    for stage in stages.values():
        if data.draw(chance):
            folder(store.folder(stage) / "resume" / "step-00000001")
        if data.draw(chance):
            old(folder(store.folder(stage) / ".model.1"))
    for stage in working:
        assert claims.take(store.folder(stage), "mine")
    for name in names:
        if data.draw(chance):
            shutil.rmtree(sweeps.pop(name).folder)
    before = {name: (work(sweep, store), states(sweep, store)) for name, sweep in sweeps.items()}
    results = collect(store, policy=data.draw(st.sampled_from(["", "final", "scores"])))
    assert [result for result in results if result.problem or result.kept] == []
    for name, sweep in sweeps.items():
        jobs, known = before[name]
        assert work(sweep, store) == jobs
        now = states(sweep, store)
        models = {stage.id for stage in PLANS[name].stages}
        assert [key for key in known if now[key] != known[key] and key not in models] == []
        changed = {(known[key], now[key]) for key in models if now[key] != known[key]}
        assert changed <= {("done", "weights gone")}
    for stage in working:
        one = stage
        while isinstance(one, Stage):
            assert (store.folder(one) / "model" / "weights").is_file()
            one = one.parent
        claims.release(store.folder(stage), claims.Claim("", "", 0, "", number=1))


@pytest.mark.parametrize("policy", ["", "scores"])
def test_a_second_time_there_is_nothing(policy: str, store: Store) -> None:
    sweep = launched(store, "long", "final")
    gone = launched(store, "law")
    shutil.rmtree(gone.folder)
    folder(store.folder(PLANS["long"].stages[0]) / "resume" / "step-00000001")
    old(folder(store.root / "stages" / ".left"))
    found = can_go(store, policy=policy)
    assert {item.kind for item in found} == {"models", "orphans", "resume", "unfinished"}
    ends = {} if policy else {stage.id for stage in PLANS["long"].stages[-1:]}
    models = {item.stage.id for item in found if item.stage}
    assert models == {stage.id for stage in PLANS["long"].stages} - set(ends)
    orphans = {item.path.name[-12:] for item in found if item.kind == "orphans"}
    assert orphans == {stage.id for stage in PLANS["law"].stages} - {stage.id for stage in PLANS["long"].stages}
    assert not any(result.problem or result.kept for result in collect(store, policy=policy))
    assert can_go(store, policy=policy) == []
    assert work(sweep, store) == []
    assert not list(store.root.rglob(".*"))
    assert "sft-sweeps gc" in survey(sweep.plan(), store).states[PLANS["long"].stages[0].id].why


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_asked_for(kind: str, store: Store) -> None:
    launched(store, "long", "scores")
    shutil.rmtree(launched(store, "law").folder)
    folder(store.folder(PLANS["long"].stages[0]) / "resume" / "step-00000001")
    old(folder(store.root / "stages" / ".left"))
    old(folder(store.root / ENCODED / "law-0123456789ab"))
    code = next(store.root.glob("sweeps/*")) / "code"
    for number in range(3):
        os.utime(folder(code / f"{number}"), (number, number))
    found = can_go(store, kind)
    assert {item.kind for item in found} <= {kind}
    assert found
    if kind == "code":
        assert [item.path.name for item in found] == ["0", "1"]


def test_encoded_sources_that_no_plan_needs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = launched(store, "law")
    needed, other = (folder(store.root / ENCODED / f"law-{digit * 12}") for digit in "ab")
    monkeypatch.setattr(encoding, "keys", lambda *_: {"a" * 12})
    assert [item.path for item in can_go(store, "encoded")] == [other]
    claim = claims.take(store.folder(PLANS["law"].stages[0]), "mine")
    assert claim
    assert can_go(store, "encoded") == []
    claims.release(store.folder(PLANS["law"].stages[0]), claim)
    collect(store, "encoded")
    assert (needed.exists(), other.exists()) == (True, False)
    monkeypatch.setattr(encoding, "keys", lambda *_: {""})  # a tokenizer that is not here
    assert [item.path for item in can_go(store, "encoded")] == [needed]  # its sweep is done
    (store.folder(PLANS["law"].stages[0]) / "record.json").unlink()
    assert disposable(read_needs(Store(sweep.folder.parent.parent)), ["encoded"])[0] == []


@pytest.mark.parametrize("text", ["", "{", '{"runs": []}', None, b"\xff"])
def test_a_plan_that_cannot_be_read_keeps_everything(text: str | bytes | None, store: Store) -> None:
    """Its stages may be those that nobody else names."""
    sweep = launched(store, "law")
    launched(store, "long", "scores")
    before = can_go(store)
    (sweep.folder / "jobs").mkdir()
    (sweep.folder / PLAN).unlink()
    if text is not None:
        (sweep.folder / PLAN).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RequestError, match=r"nothing can go.*delete .*law"):
        can_go(store)
    with pytest.raises(RequestError, match="nothing can go"):
        gc.free(Store(store.root), before)
    assert all(item.path.exists() for item in before)


def test_a_job_of_a_deleted_sweep_keeps_what_it_is_made_from(store: Store) -> None:
    sweep = launched(store, "law", done=lambda item: item.id != PLANS["law"].stages[1].id)
    first, second = PLANS["law"].stages
    shutil.rmtree(sweep.folder)
    shutil.rmtree(store.folder(second), ignore_errors=True)
    store.folder(second).mkdir()
    assert claims.take(store.folder(second), "law")
    found, notes = disposable(read_needs(Store(store.root)))
    assert found == []
    assert notes[0].startswith("orphans stay while a job of a deleted sweep has not begun")
    (store.folder(second) / "identity.json").write_text(json.dumps(second.payload))
    found, notes = disposable(read_needs(Store(store.root)))
    assert [item.path.name[-12:] for item in found if item.kind == "orphans"] == []
    assert store.record(first)


def test_what_is_young_and_hidden_is_somebody_s(store: Store) -> None:
    sweep = launched(store, "law")
    stage = store.folder(PLANS["law"].stages[0])
    places = [stage / ".data.json.1", stage / "resume" / ".writing-1", stage / "generate" / ".x", sweep.folder / ".p"]
    for place in places:
        folder(place)
    assert can_go(store, "unfinished") == []
    for place in places:
        old(place)
    assert {item.path for item in can_go(store, "unfinished")} == set(places)
    claim = claims.take(stage / "generate", "mine")
    assert claim
    assert {item.path for item in can_go(store, "unfinished")} == {places[-1]}
    claims.release(stage / "generate", claim)
    assert not any(result.problem for result in collect(store, "unfinished"))
    assert not any(place.exists() for place in places)


class KilledError(BaseException):
    """The process ends here."""


@contextmanager
def killed(after: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Every change of the file system counts; the one after so many does not happen, nor does any later one."""
    left = [after]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for name in ("rename", "replace", "unlink", "rmdir", "link"):
            patched.setattr(os, name, dying(getattr(os, name)))
        yield left


def test_killed_at_any_point_the_next_one_repairs_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.root.with_name("made")
    sweep = launched(Store(made), "two", "final")
    shutil.rmtree(launched(Store(made), "law").folder)
    folder(Store(made).folder(PLANS["two"].stages[0]) / "resume" / "step-00000001")
    old(folder(made / "stages" / ".left"))
    expected: list[str] = []
    points = 0
    for after in range(1_000_000):
        shutil.rmtree(store.root, ignore_errors=True)
        shutil.copytree(made, store.root)
        mine = Sweep(store.root / "sweeps" / sweep.name)
        with killed(10**9 if after == 0 else after - 1, monkeypatch) as left:
            try:
                collect(store)
                whole = True
            except KilledError:
                whole = False
        for claim in store.root.rglob("claim-*.json"):  # of this process, which is to be dead
            claim.write_text(
                claim.read_text().replace(f'"started": "{claims.process_started(os.getpid())}"', '"started": "0"')
            )
        collect(store)
        found = sorted(
            str(path.relative_to(store.root))
            for path in store.root.rglob("[!.]*")
            if not path.name.startswith(("claim-", freeing.MARK))
        )
        expected = expected or found
        assert found == expected, after
        assert can_go(store) == []
        assert work(mine, store) == []
        assert not list(store.root.rglob(f"{FREEING}*")) + list(store.root.rglob(f"{freeing.ASIDE}*"))
        for path in store.root.rglob(".*"):  # what a write that is killed leaves behind may be another's, for minutes
            old(path)
        collect(store)
        assert not list(store.root.rglob(".*"))
        points += not whole
        if whole and after:
            break
    assert points > 15
    assert left[0] >= 0


def test_a_launch_that_asks_again_for_a_model_whose_freeing_was_broken_off(store: Store) -> None:
    launched(store, "short", "scores")
    stage = PLANS["short"].stages[0]
    assert retention._mark(store.folder(stage), {"sweep": "", "how": gc.BY})
    assert [item.why for item in can_go(store)] == ["its removal was broken off"]
    found = can_go(store)
    longer = launched(store, "long", done=lambda item: not isinstance(item, Stage) or item == stage)
    results = gc.free(Store(store.root), found)
    assert [(result.kept, result.problem) for result in results] == [(True, "")]
    assert not (store.folder(stage) / FREED).exists()
    assert f"train-{stage.id}" not in work(longer, store)


def test_on_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes without a line being written makes the room for the rest."""
    launched(store, "two", "scores")
    shutil.rmtree(launched(store, "law").folder)
    folder(store.folder(PLANS["two"].stages[0]) / "resume" / "step-00000001")
    freeing.leave_mark(store.root, "x")
    orphan = next(item.path for item in can_go(store, "orphans"))
    real = Path.open

    def full(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if orphan.exists() and set("wa") & set(mode):
            raise OSError(28, "No space left on device")
        return real(path, mode, *arguments, **named)

    monkeypatch.setattr(Path, "open", full)
    before = freeing.last_mark(store.root)
    results = collect(store)
    assert {result.item.kind for result in results} == {"orphans", "models", "resume"}
    assert [result for result in results if result.problem or result.kept] == []
    assert freeing.last_mark(store.root) != before


GC = "import sys; from sft_sweeps.commands.main import main; sys.exit(main(sys.argv[1:]))"


def test_a_launch_while_another_process_frees(store: Store) -> None:
    """What a launch found done once its plan was frozen is there when all is over; what was freed it had found missing.

    Real processes of the command, one after the other, while here one sweep after the other is launched as
    launch/launch.py does it: look, freeze, look again where something was freed in between.
    """
    command = [sys.executable, "-c", GC, "gc", "--yes", "--older-than", "0", "--output-dir", str(store.root), "--json"]
    launched(store, "two")
    for name in ("long", "law"):
        shutil.rmtree(launched(store, name).folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    frees = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    kept = looks = 0
    while frees.poll() is None:
        looks += 1
        for name in ("long", "law"):
            mark, sought = freeing.settled_mark(store.root), PLANS[name]
            seen = survey(sought, Store(store.root)).states
            sweep = freeze(sought, Store(store.root), name, "", ["x"])
            if freeing.last_mark(store.root) != mark:
                seen = survey(sought, Store(store.root)).states
            there = [item for item in everything(sought) if seen[item.id].state == "done"]
            if looks % 3:  # a sweep that is given up again
                shutil.rmtree(sweep.folder)
                continue
            lasting = survey(sought, Store(store.root)).states
            assert [item for item in there if lasting[item.id].state != "done"] == []
            kept += len(there)
            shutil.rmtree(sweep.folder)
    said = json.loads(frees.communicate()[0])
    assert frees.returncode == 0
    assert said["freed"]
    assert work(next(iter([Sweep(path) for path in store.root.glob("sweeps/*two*")])), store) == []
    assert looks > 3


def test_the_mark_before_a_look_is_of_no_moment_of_freeing(store: Store) -> None:
    """One that was read in the midst of it would be the same afterwards, and what was found gone."""
    launched(store, "two")
    shutil.rmtree(launched(store, "law").folder)
    hold = (
        "import sys, time; from pathlib import Path; from sft_sweeps.store import freeing as f; r = Path(sys.argv[1])\n"
    )
    hold += (
        "with f.alone(r):\n f.leave_mark(r, 'x'); print('in', flush=True); time.sleep(0.5); f.leave_mark(r, 'end')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", hold, str(store.root)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "in\n"
        assert b'"x"' in freeing.last_mark(store.root)
        assert b'"end"' in freeing.settled_mark(store.root)
    assert freeing.settled_mark(store.root.with_name("none")) == b""
