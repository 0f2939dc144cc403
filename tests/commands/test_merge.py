"""`sft-sweeps merge` on a store: which stages it means, what it refuses, what it launches; and what its job does."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from common import Points
from hypothesis import given
from hypothesis import strategies as st
from made_sweeps import made
from safetensors.torch import load_file, save_file

from sft_sweeps.commands import merge as command
from sft_sweeps.commands.main import main
from sft_sweeps.commands.publish.chosen import choose as publish
from sft_sweeps.commands.show.known import Catalogue
from sft_sweeps.config.grid import Point
from sft_sweeps.errors import Interrupted, RequestError, RunError
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch import launch as launching
from sft_sweeps.launch.outcome import Outcome
from sft_sweeps.launch.points import planned
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.merge import Merge, merged
from sft_sweeps.store.clearing import clear_unrecorded
from sft_sweeps.store.store import RECORD, Store, damaged_files
from sft_sweeps.store.sweeps import freeze
from sft_sweeps.train import records
from sft_sweeps.worker import dispatch

GRID = ("model=mini", "train=mini", "cluster=local", "tracking=none", "evaluate=mini")


@dataclass(frozen=True)
class Launched:
    """What was given to a launch."""

    plan: Plan
    points: list[Point]


@pytest.fixture
def plan(points: Points) -> Plan:
    return planned(points(*GRID, "data=mini_math,mini_code,mini_general", "strategy=multi_task"))


@pytest.fixture
def store(tmp_path: Path, plan: Plan) -> Store:
    made(tmp_path, plan, lambda score: [True] * score.generation.benchmark.examples)
    return Store(tmp_path)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Launched]:
    found: list[Launched] = []

    def launch(plan: Plan, points: list[Point]) -> Outcome:
        found.append(Launched(plan, points))
        return Outcome(0, "a sweep")

    monkeypatch.setattr(launching, "launch", launch)
    return found


def typed(store: Store, *words: str) -> int:
    return main(["merge", *words, "--output-dir", str(store.root)])


def test_a_launch_of_its_own_asks_what_the_stages_are_asked(
    plan: Plan, store: Store, launched: list[Launched], capsys: pytest.CaptureFixture[str]
) -> None:
    math, code, _ = plan.stages
    assert typed(store, "mini--math", code.id, "--weights", "3,1", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    (one,) = launched
    expected = merged([math, code], [Fraction(3, 4), Fraction(1, 4)])
    assert [merge.id for merge in one.plan.merges] == [expected.id] == [said["id"]]
    assert {part["label"]: part["weight"] for part in said["parents"]} == {"mini--math": "3/4", "mini--code": "1/4"}
    assert {g.benchmark.name for g in one.plan.generations} == {g.benchmark.name for g in plan.generations}
    assert {g.subject.id for g in one.plan.generations} == {expected.id}
    config = one.points[0].config
    assert (config.cluster.name, config.output_dir, config.name) == ("local", str(store.root), "merge")
    freeze(one.plan, store, "merge", "", [])  # a newer sweep that has the stages, and asks nothing of them
    assert typed(store, "mini--math", code.id, "--weights", "3,1") == 0
    assert launched[1].plan == one.plan


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mini--math"], "one stage alone is no merge"),
        (["mini--math", "mini--math"], "named twice"),
        (["mini--math", "mini--co", "--weights", "1"], "1 weights for 2 stages"),
        (["mini--math", "mini--code", "--weights", "1,nan"], "nan is no weight"),
        (["mini--math", "mini--code", "--weights", "1,1e9999999999"], "1e9999999999 is no weight"),
        (["mini--math", "mini--code", "--weights", "1,"], "nothing is no weight"),
        (["mini--math", "mini--code", "--weights=-1,2"], "negative"),
        (["mini--math", "mini--code", "--weights", "0,0"], "all weights are 0"),
        (["mini--math", "nobody"], "no stage or run 'nobody'"),
    ],
)
def test_refusals_are_one_message(
    words: list[str], said: str, store: Store, launched: list[Launched], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(store, *words) == 2
    assert said in capsys.readouterr().err
    assert launched == []


def test_unfinished_stages_and_lost_weights_are_refused(plan: Plan, store: Store, launched: list[Launched]) -> None:
    math, code, _ = plan.stages
    (store.folder(code) / "model" / "weights").unlink()
    with pytest.raises(RequestError, match=r"mini--code is weights gone .*only the weights of finished stages average"):
        command.choose(store.root, [math.id, code.id])
    (store.folder(code) / RECORD).unlink()
    with pytest.raises(RequestError, match="mini--code is missing"):
        command.choose(store.root, [math.id, code.id])
    with pytest.raises(RequestError, match="is a base model"):
        command.choose(store.root, [math.id, plan.models[0].id])
    assert launched == []


def test_a_merge_is_known_by_its_name_and_not_published(plan: Plan, store: Store) -> None:
    one = merged(plan.stages)
    asked = command.plan_of(one, command.choose(store.root, [stage.id for stage in plan.stages]))
    freeze(asked, store, "merge", "", [])
    known = Catalogue(store).find(one.id[:8])
    assert (known.kind, known.label) == ("merge", one.label)
    assert [link.id for link in Catalogue(store).chain(known)][-1] == one.id
    assert {link.id for link in Catalogue(store).chain(known)} == {
        one.id,
        plan.models[0].id,
        *(s.id for s in plan.stages),
    }
    with pytest.raises(RequestError, match="is an average of stages"):
        publish(store.root, one.id)
    with pytest.raises(RequestError, match="is a merge"):
        command.choose(store.root, [one.id, plan.stages[0].id])


@given(st.lists(st.fractions(0, 10**8, max_denominator=10**6), min_size=1, max_size=4))
def test_weights_are_read_exactly(weights: list[Fraction]) -> None:
    assert command.parse_weights(",".join(map(str, weights))) == tuple(weights)


@given(st.text(alphabet="0123456789.,/-+eE_ naif", max_size=12))
def test_whatever_is_typed_is_numbers_or_a_message(text: str) -> None:
    said = ""
    try:
        command.parse_weights(text)
    except RequestError as error:
        said = str(error)
    assert not said or "is no weight" in said


@pytest.fixture
def real(tmp_path: Path, plan: Plan) -> tuple[Store, Merge]:
    """Three stages with weights that can be read."""
    store, merge = Store(tmp_path / "real"), merged(plan.stages)
    for number, stage in enumerate(plan.stages):
        model = store.folder(stage) / "model"
        model.mkdir(parents=True)
        save_file({"w": torch.full((4, 3), float(number))}, model / "model.safetensors")
        for name in ("config.json", "generation_config.json", "tokenizer.json"):
            (model / name).write_text("{}")
        records.record_model(store.folder(stage), stage, {})
    return store, merge


def job_of(store: Store, merge: Merge) -> Job:
    store.folder(merge).mkdir(parents=True, exist_ok=True)
    return Job("merge", str(store.root), merge)


def test_its_job_writes_the_average_and_its_record(real: tuple[Store, Merge]) -> None:
    store, merge = real
    dispatch.do(job_of(store, merge), stop=lambda: False)
    record = Store(store.root).record(merge)
    assert record is not None
    assert record["made_of"].keys() == {stage.id for stage in merge.parents}
    assert torch.equal(load_file(store.folder(merge) / "model" / "model.safetensors")["w"], torch.ones(4, 3))
    assert damaged_files(store.folder(merge), record) == []


def test_stages_in_another_order_give_the_same_bytes(real: tuple[Store, Merge]) -> None:
    store, merge = real
    dispatch.do(job_of(store, merge), stop=lambda: False)
    other = merged(merge.parents[::-1])
    file = store.folder(other) / "model" / "model.safetensors"
    before = file.read_bytes()
    clear_unrecorded(store.folder(merge))
    dispatch.do(job_of(store, other), stop=lambda: False)
    assert file.read_bytes() == before


def test_one_that_is_stopped_or_lacks_a_stage_leaves_nothing(real: tuple[Store, Merge]) -> None:
    store, merge = real
    with pytest.raises(Interrupted, match="begun anew"):
        dispatch.do(job_of(store, merge), stop=lambda: True)
    assert list(store.folder(merge).iterdir()) == []
    (store.folder(merge.parents[1]) / RECORD).unlink()
    with pytest.raises(RunError, match="is not finished; launch the sweep again"):
        dispatch.do(job_of(store, merge), stop=lambda: False)
    assert list(store.folder(merge).iterdir()) == []


def test_a_stage_of_an_earlier_version_is_told(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job would take it for another one."""
    from sft_sweeps import identity

    monkeypatch.setitem(identity.VERSIONS, "batches", identity.VERSIONS["batches"] + 1)
    with pytest.raises(RequestError, match="earlier version"):
        command.choose(store.root, [stage.id for stage in plan.stages])
