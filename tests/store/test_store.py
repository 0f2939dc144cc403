"""Folders and records: done is proven, doubt is named, looking leaves no trace."""

import json
import multiprocessing
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from common import Points
from values import component, generation, mixed, model, request, stage

from sft_sweeps.config.checks import problems
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import write_json
from sft_sweeps.identity import differences
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import sharing
from sft_sweeps.store.claims import release, take
from sft_sweeps.store.clearing import clear_unrecorded
from sft_sweeps.store.store import (
    RecordError,
    Store,
    check_identity,
    lost_files,
    read_record,
    write_record,
)
from sft_sweeps.store.survey import made_again, survey
from sft_sweeps.tracking.metrics import last_step

PAYLOAD = {"kind": "stage", "recipe": {"seed": 0}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Finished work: two files and a record."""
    made = tmp_path / "work"
    (made / "model").mkdir(parents=True)
    (made / "model" / "model.safetensors").write_bytes(b"weights")
    (made / "data.json").write_text("{}")
    write_record(made, PAYLOAD, ["model/model.safetensors", "data.json"], {"steps": 3})
    return made


def test_a_record_names_its_files_and_leaves_nothing_else(folder: Path) -> None:
    record = read_record(folder, PAYLOAD)
    assert record is not None
    assert record["files"] == {"model/model.safetensors": 7, "data.json": 2}
    assert record["steps"] == 3
    assert lost_files(folder, record) == []
    assert sorted(p.name for p in folder.iterdir()) == ["data.json", "model", "record.json"]


def test_a_record_of_files_that_are_not_there_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        write_record(tmp_path, PAYLOAD, ["absent"], {})
    assert list(tmp_path.iterdir()) == []


def test_no_record_is_no_error(tmp_path: Path) -> None:
    assert read_record(tmp_path / "absent", PAYLOAD) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ('{"payload": {"kind"', "cannot be read"),
        ("\x00\x01", "cannot be read"),
        ("[]", "is not a record"),
        ("3", "is not a record"),
        ('{"payload": {}}', "is not a record"),
        ('{"files": {}}', "is not a record"),
        ('{"files": [], "payload": {}}', "is not a record"),
        ('{"files": {}, "payload": {}, "checksums": 0.5}', "is not a record"),
        ('{"files": {}, "payload": {"kind": "stage", "recipe": {"seed": 1}}}', "recipe.seed 1 -> 0"),
        ('{"files": {}, "payload": {"kind": "stage", "recipe": null}}', 'recipe null -> {"seed": 0}'),
        ('{"files": {}, "payload": {"kind": "stage", "recipe": {"seed": 0}, "new": null}}', "new null -> absent"),
    ],
)
def test_a_record_that_cannot_be_trusted_says_why(text: str, says: str, folder: Path) -> None:
    (folder / "record.json").write_text(text)
    with pytest.raises(RecordError) as error:
        read_record(folder, PAYLOAD)
    assert says in str(error.value)
    assert str(folder / "record.json") in str(error.value)


def test_bytes_that_are_no_text_are_corrupted_too(folder: Path) -> None:
    (folder / "record.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RecordError, match="cannot be read"):
        read_record(folder, PAYLOAD)


def test_lost_and_cut_files_are_named(folder: Path) -> None:
    record = read_record(folder, PAYLOAD)
    assert record is not None
    (folder / "data.json").write_text("{")
    assert lost_files(folder, record) == ["data.json"]
    (folder / "model" / "model.safetensors").unlink()
    assert lost_files(folder, record) == ["model/model.safetensors", "data.json"]


def test_differences_name_fields() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": None}
    new = {"a": 1, "b": {"c": [1, 3], "d": "x"}, "come": [1]}
    assert differences(old, new) == ["b.c[1] 2 -> 3", "gone null -> absent", "come absent -> [1]"]
    assert differences(old, old) == []
    assert differences([1], [1, 2]) == ["[1] -> [1, 2]"]


def test_an_identity_is_stored_once_and_compared(tmp_path: Path) -> None:
    check_identity(tmp_path / "s", PAYLOAD)
    check_identity(tmp_path / "s", PAYLOAD)
    assert json.loads((tmp_path / "s" / "identity.json").read_text()) == PAYLOAD
    with pytest.raises(RequestError, match=r"recipe\.seed 0 -> 1"):
        check_identity(tmp_path / "s", {"kind": "stage", "recipe": {"seed": 1}})
    (tmp_path / "s" / "identity.json").write_text("{")
    with pytest.raises(RequestError, match="cannot be read"):
        check_identity(tmp_path / "s", PAYLOAD)


@pytest.fixture
def plan() -> Plan:
    return build([("dmt", request(strategy="dmt", k=Fraction(1, 4), every_stage=True))])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs")


def finish(store: Store, item: Any) -> Path:
    place = store.read_folder(item)
    place.mkdir(parents=True, exist_ok=True)
    (place / "weights").write_text("w")
    write_record(place, item.payload, ["weights"], {})
    return place


def begin(store: Store, item: Stage) -> Path:
    check_identity(store.folder(item), item.payload)
    return store.folder(item)


def test_a_survey_of_nothing_creates_nothing(plan: Plan, store: Store, tmp_path: Path) -> None:
    states = survey(plan, store).states
    assert {s.state for s in states.values()} == {"missing"}
    assert len(states) == 1 + 2 + 2 + 2
    assert states[plan.stages[0].id].why == "new"
    assert states[plan.stages[1].id].why == "new, after its parent"
    assert list(tmp_path.iterdir()) == []


def everything(root: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(root.rglob("*")):
        yield str(path), path.stat().st_mtime_ns, path.stat().st_size


def test_a_survey_changes_nothing(plan: Plan, store: Store) -> None:
    finish(store, plan.stages[0])
    (begin(store, plan.stages[1]) / "record.json").write_text("{")
    before = list(everything(store.root))
    assert len(before) == 7
    survey(plan, Store(store.root))
    assert list(everything(store.root)) == before


def test_states_of_a_stage(plan: Plan, store: Store) -> None:
    first = plan.stages[0]

    def state() -> tuple[str, str, int]:
        found = survey(plan, Store(store.root)).states[first.id]
        return found.state, found.why, found.step

    assert state() == ("missing", "new", 0)
    folder = begin(store, first)
    assert state()[0] == "missing"
    claim = take(folder, "sweep-7")
    assert claim is not None
    (folder / "metrics.jsonl").write_text('{"step": 4}\n{"step": 5}\n{"step"')
    assert state()[0] == "running"
    assert "sweep-7" in state()[1]
    assert state()[2] == last_step(folder) == 5
    release(folder, claim)
    assert state()[:2] == ("missing", "started before, nothing saved")
    for name in ("step-3", "step-12", "step-20.tmp", "other"):
        (folder / "resume" / name).mkdir(parents=True)
    assert state() == ("interrupted", "resume state at step 12", 12)
    write_json(folder / "failure.json", {"reason": "loss is nan"})
    assert state() == ("failed", "loss is nan", 5)
    finish(store, first)
    assert state()[0] == "done"
    (folder / "weights").unlink()
    assert state()[0] == "weights gone"
    assert "weights gone from" in state()[1]
    (folder / "record.json").write_text("[]")
    assert state()[0] == "corrupted"


@pytest.mark.parametrize("text", ["", "{", '{"payload": {"kind": "st', "\0\0\0"])
def test_a_record_that_is_broken_off_counts_as_none(text: str, plan: Plan, store: Store) -> None:
    """It proves nothing: the work is done once more, unless somebody works on it already."""
    first, score = plan.stages[0], plan.scores[0]
    for item in (first, score):
        (finish(store, item) / "record.json").write_text(text)
        assert store.record(item) is None
    surveyed = survey(plan, store)
    assert {surveyed.states[item.id].state for item in (first, score)} == {"missing"}
    assert all("record.json cannot be read" in text for text in made_again(surveyed))
    assert len(list(made_again(surveyed))) == 2
    claim = take(store.folder(first), "sweep-7")
    assert claim is not None
    assert survey(plan, store).states[first.id].state == "running"
    release(store.folder(first), claim)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", "null"])
def test_a_failure_file_of_any_content_stops_no_survey(text: str, plan: Plan, store: Store) -> None:
    (begin(store, plan.stages[0]) / "failure.json").write_text(text)
    expected = "missing" if text in ("[]", "{}", "null") else "failed"
    assert survey(plan, store).states[plan.stages[0].id].state == expected


@pytest.mark.parametrize("text", ["", "\n", "[]\n", '{"step": "x"}\n', "x" * 20_000 + "\n", '{"loss": 1}\n'])
def test_metrics_of_any_content_stop_no_survey(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    assert last_step(tmp_path) == 0


def test_why_names_the_changed_field(store: Store) -> None:
    begin(store, stage())
    changed = build([("x", request((component("math"),), recipe=replace(stage().recipe, learning_rate=1e-4)))])
    why = survey(changed, Store(store.root)).states[changed.stages[0].id].why
    assert why == f"new: recipe.learning_rate 2e-05 -> 0.0001 (against {stage().id})"
    other = build([("x", request((component("math"),), base=model(weights="init:other")))])
    assert (
        survey(other, Store(store.root)).states[other.stages[0].id].why
        == f"new: its parent differs (against {stage().id})"
    )


def test_generations_and_scores_have_states_of_their_own(plan: Plan, store: Store) -> None:
    finish(store, plan.generations[0])
    finish(store, plan.scores[1])
    states = survey(plan, store).states
    assert [states[g.id].state for g in plan.generations] == ["done", "missing"]
    assert [states[s.id].state for s in plan.scores] == ["missing", "done"]


def test_another_payload_under_the_same_name_is_not_done(store: Store) -> None:
    made = generation()
    folder = finish(store, made)
    write_record(folder, {**made.payload, "engine": "another"}, ["weights"], {})
    with pytest.raises(RecordError, match="engine"):
        store.record(made)


def test_a_folder_is_found_by_its_id_whatever_its_label(store: Store) -> None:
    renamed = store.root / "stages" / f"an older label-{stage().id}"
    renamed.mkdir(parents=True)
    assert Store(store.root).folder(stage()) == renamed
    assert store.folder(model()).parent == store.root / "models"


def test_long_chains_have_folder_names_that_file_systems_take(store: Store) -> None:
    parts = [component(f"ability_number_{n}", fraction=Fraction(12345, 67890)) for n in range(12)]
    last: Any = model("m" * 40)
    for part in (*parts, *mixed()):
        last = stage(last, [part])
    assert len(last.label) > 255
    folder = begin(store, last)
    assert folder.is_dir()
    assert len(folder.name.encode()) <= 255
    assert Store(store.root).folder(last) == folder
    again = replace(last, recipe=replace(last.recipe, seed=9))
    built = build([("x", request())])
    states = survey(replace(built, stages=(again,), generations=(), scores=(), runs=()), Store(store.root)).states
    assert "recipe.seed 0 -> 9" in states[again.id].why


def test_folders_of_generations_and_scores_lie_in_their_subjects(store: Store) -> None:
    made = generation(name="heldout_loss:math")
    inside = store.folder(made.subject)
    assert store.read_folder(made) == inside / "generations" / f"heldout_loss-math-{made.id}"
    score = Score(made, "heldout_loss", 1)
    assert store.read_folder(score) == inside / "scores" / f"heldout_loss-math-{score.id}"


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Somebody else's store."""
    return Store(tmp_path / "anna")


@pytest.fixture
def both(store: Store, other: Store, tmp_path: Path) -> Store:
    """The own store, which reads from a folder that is not there and from somebody else's."""
    return Store(store.root, [tmp_path / "absent", str(other.root)])


def items_of(plan: Plan) -> list[Any]:
    return [*plan.subjects, *plan.generations, *plan.scores]


def states_of(plan: Plan, store: Store) -> list[tuple[str, str]]:
    found = survey(plan, Store(store.root, [s.root for s in store.others])).states
    return [(found[item.id].state, found[item.id].why) for item in items_of(plan)]


def test_what_is_done_elsewhere_is_done(plan: Plan, both: Store, other: Store) -> None:
    for item in items_of(plan):
        finish(other, item)
    before = list(everything(other.root))
    assert states_of(plan, both) == [("done", f"in {other.root}")] * 7
    assert [both.read_folder(item) for item in items_of(plan)] == [other.read_folder(item) for item in items_of(plan)]
    assert all(both.record(item) == other.record(item) is not None for item in items_of(plan))
    assert both.weights(plan.stages[0]) == other.folder(plan.stages[0]) / "model"
    assert both.tokenizer(plan.stages[0]) == other.folder(plan.stages[0]) / "model"
    assert all(str(both.write_folder(item)).startswith(str(both.root)) for item in items_of(plan))
    assert not both.root.exists()
    assert list(everything(other.root)) == before


def test_the_own_store_comes_first_and_then_the_order_that_is_given(plan: Plan, tmp_path: Path) -> None:
    first, second, own = (Store(tmp_path / name) for name in ("first", "second", "own"))
    store = Store(own.root, [first.root, second.root])
    finish(second, plan.stages[0])
    assert store.read_folder(plan.stages[0]) == second.folder(plan.stages[0])
    finish(first, plan.stages[0])
    fresh = Store(own.root, [first.root, second.root])
    assert fresh.read_folder(plan.stages[0]) == first.folder(plan.stages[0])
    finish(own, plan.stages[0])
    assert fresh.read_folder(plan.stages[0]) == own.folder(plan.stages[0])
    assert survey(plan, fresh).states[plan.stages[0].id].why == ""


def test_a_stage_of_another_store_is_scored_in_the_own_one(plan: Plan, both: Store, other: Store) -> None:
    finish(other, plan.models[0])
    finish(other, plan.stages[0])
    finish(other, plan.generations[0])
    before = list(everything(other.root))
    check_identity(both.folder(plan.stages[0]), plan.stages[0].payload)
    assert both.read_folder(plan.generations[0]) == other.generation(plan.generations[0])
    write = both.score(plan.scores[0])
    write.mkdir(parents=True)
    (write / "verdicts").write_text("")
    write_record(write, plan.scores[0].payload, ["verdicts"], {"score": 1})
    record = both.record(plan.scores[0])
    assert record is not None
    assert record["score"] == 1
    assert list(everything(other.root)) == before
    there = ("done", f"in {other.root}")
    missing = ("missing", "new")
    assert states_of(plan, both) == [there, there, missing, there, missing, ("done", ""), missing]


def test_what_is_doubtful_elsewhere_does_not_count(plan: Plan, both: Store, other: Store) -> None:
    first = plan.stages[0]
    folder = finish(other, first)
    assert survey(plan, both).states[first.id].state == "done"
    (folder / "freed.json").write_text('{"sweep": "s", "time": "t"}')
    assert both.record(first) is None
    (folder / "freed.json").unlink()
    (folder / "weights").unlink()
    assert both.record(first) is None
    (folder / "record.json").write_text("{")
    assert both.record(first) is None
    assert survey(plan, both).states[first.id].state == "missing"
    assert both.read_folder(first) == both.folder(first)


def test_a_broken_record_of_the_own_store_is_not_passed_over(plan: Plan, both: Store, other: Store) -> None:
    first = plan.stages[0]
    finish(other, first)
    folder = finish(both, first)
    (both.write_folder(first)).mkdir(parents=True, exist_ok=True)
    assert folder == other.read_folder(first)  # nothing was done here: `finish` writes where is read
    (both.write_folder(first) / "record.json").write_text("{}")
    assert survey(plan, both).states[first.id].state == "corrupted"
    with pytest.raises(RecordError):
        both.record(first)
    (both.write_folder(first) / "record.json").write_text("{")  # broken off, it says nothing that could contradict
    assert survey(plan, both).states[first.id].state == "done"
    assert both.record(first) == other.record(first)


def test_weights_that_are_gone_here_are_read_elsewhere(plan: Plan, store: Store, other: Store) -> None:
    first = plan.stages[0]
    (finish(store, first) / "weights").unlink()
    assert survey(plan, store).states[first.id].state == "weights gone"
    finish(other, first)
    assert survey(plan, Store(store.root, [other.root])).states[first.id].why == f"in {other.root}"


USERS = {"anna": 4001, "ben": 4002}  # and a group of their own each
LAB = 4000  # the group of both


def as_user(name: str, work: Callable[[Store, Plan], None], store: Store, plan: Plan) -> None:
    """A process of a user of the group, whose umask gives nobody anything."""

    def run() -> None:
        os.setgroups([LAB])
        os.setgid(USERS[name])
        os.setuid(USERS[name])
        os.umask(0o077)
        work(Store(store.root), plan)

    # Forked: another user may not be able to read this Python.
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def anna_shares(store: Store, _: Plan) -> None:
    sharing.share(store.root)


def anna_works(store: Store, plan: Plan) -> None:
    """Finishes the first stage, and dies in the second one."""
    sharing.join(store.root)
    finish(store, plan.stages[0])
    folder = begin(store, plan.stages[1])
    (folder / "resume" / "step-3" / "zero").mkdir(parents=True)
    (folder / "resume" / "step-3" / "zero" / "rank-0").write_text("state")
    (folder / "metrics.jsonl").write_text('{"step": 3}\n')
    (folder / ".metrics.jsonl.cut").write_text("half")
    assert take(folder, "annas-sweep")


def ben_works(store: Store, plan: Plan) -> None:
    """Scores the first stage, and finishes the second one."""
    sharing.join(store.root)
    states = survey(plan, store).states
    assert [states[stage.id].state for stage in plan.stages] == ["done", "interrupted"]
    finish(store, plan.generations[0])
    finish(store, plan.scores[0])
    folder = store.folder(plan.stages[1])
    claim = take(folder, "bens-sweep")
    assert claim is not None
    assert claim.number == 2
    (folder / ".metrics.jsonl.cut").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4}\n')
    shutil.rmtree(folder / "resume")
    clear_unrecorded(folder)
    finish(store, plan.stages[1])
    release(folder, claim)
    states = survey(plan, Store(store.root)).states
    assert [states[item.id].state for item in (*plan.stages, plan.scores[0])] == ["done"] * 3


@pytest.fixture
def lab() -> Iterator[Store]:
    """A store of Anna's where both users get to, which is not shared yet."""
    if os.getuid() != 0:
        pytest.skip("TWO USERS IN ONE STORE IS NOT TESTED: only root can be two users")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        root = Path(name) / "store"
        root.mkdir(mode=0o700)
        os.chown(root, USERS["anna"], LAB)
        yield Store(root)


def test_two_users_work_in_one_store(lab: Store, plan: Plan) -> None:
    as_user("anna", anna_shares, lab, plan)
    as_user("anna", anna_works, lab, plan)
    as_user("ben", ben_works, lab, plan)
    folders = files = 0
    for path in (lab.root, *lab.root.rglob("*")):
        found = path.stat()
        assert found.st_gid == LAB, path
        names_kept = path.parent == lab.root and path.name == "sweeps"
        assert stat.S_IMODE(found.st_mode) == (0o2775 | names_kept << 9 if path.is_dir() else 0o664), path
        folders, files = folders + path.is_dir(), files + path.is_file()
    assert folders >= 8
    assert files >= 9
    assert {path.stat().st_uid for path in lab.root.rglob("*")} == set(USERS.values())


def test_a_private_store_is_opened_with_all_that_it_has(lab: Store, plan: Plan) -> None:
    as_user("anna", anna_works, lab, plan)
    closed = [path for path in lab.root.rglob("*") if not stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert len(closed) >= 10
    with pytest.raises(AssertionError):
        as_user("ben", ben_works, lab, plan)
    as_user("anna", anna_shares, lab, plan)
    as_user("ben", ben_works, lab, plan)


def test_only_its_owner_shares_a_store(lab: Store, plan: Plan) -> None:
    def ben_shares(store: Store, _: Plan) -> None:
        with pytest.raises(RequestError, match="cannot be shared"):
            sharing.share(store.root)

    lab.root.chmod(0o755)
    as_user("ben", ben_shares, lab, plan)


def test_a_store_is_private_unless_asked(tmp_path: Path) -> None:
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir(mode=0o755)
    before = os.umask(0o027)
    try:
        sharing.join(private)
        sharing.join(tmp_path / "absent")
        assert os.umask(0o027) == 0o027
        assert [sharing.is_shared(path) for path in (private, shared)] == [False, False]
        sharing.share(shared)
        assert sharing.is_shared(shared)
        sharing.join(shared)
        assert os.umask(0o027) == 0o002
    finally:
        os.umask(before)


def test_a_store_that_cannot_be_shared_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"/file/store cannot be shared \(Not a directory\)"):
        sharing.share(tmp_path / "file" / "store")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", []),
        ("store.retention=final store.shared=true store.read_from=[/a,b]", []),
        ("store.retention=scored", ["store.retention=scored is unknown; valid: all, final, scores"]),
        ("store.read_from=[./multirun_outputs]", ["store.read_from=./multirun_outputs must be another store than"]),
        ('store.read_from=[/a,""]', ["store.read_from= must be another store than output_dir="]),
    ],
)
def test_what_a_configuration_says_of_stores(words: str, says: list[str], points: Points) -> None:
    (point,) = points("data=mini", "model=mini", *words.split())
    found = problems(point.config)
    assert len(found) == len(says)
    assert all(text.startswith(start) for text, start in zip(found, says, strict=True)), found
