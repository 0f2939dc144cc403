"""What a stage or run is, and in what it differs: found by any of its names, field by field, with what to type."""

import json
import shlex
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import accuracy, finish
from values import RECIPE, component, mixed, request

from sft_sweeps.commands.main import main
from sft_sweeps.commands.show.changes import Change, changes
from sft_sweeps.commands.show.known import Catalogue, Known
from sft_sweeps.files.json_files import write_json
from sft_sweeps.identity import digest
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store.store import Store, check_identity
from sft_sweeps.store.sweeps import freeze

QUARTER = Fraction(1, 4)
MATH, DMT, SEQUENTIAL, SLOW = range(4)  # the runs of the plan


@pytest.fixture
def plan() -> Plan:
    """Math alone twice, at two learning rates; DMT and sequential training of all three."""
    points = {
        "data=math": request((component("math"),)),
        "strategy=dmt strategy.k=1/4": request(strategy="dmt", k=QUARTER),
        "strategy=sequential": request(strategy="sequential"),
        "data=math train.learning_rate=1e-5": request((component("math"),), recipe=replace(RECIPE, learning_rate=1e-5)),
    }
    return build(list(points.items()))


@pytest.fixture
def root(tmp_path: Path, plan: Plan) -> Path:
    """A store in which math alone was trained and scored, and nothing else."""
    store, stage = Store(tmp_path / "my store"), plan.runs[MATH].stages[0]
    freeze(plan, store, "mine", "", list("abcd"))
    folder = finish(store, stage, seconds=90.0, last={"step": 189, "steps": 189, "loss": 1.5})
    check_identity(folder, stage.payload)
    (folder / "model" / "config.json").write_text("{}")
    write_json(folder / "data.json", {"sources": {"math": {"examples": 990, "truncated": 7, "masked": {"x": 2}}}})
    accuracy(store, next(score for score in plan.scores if score.generation.subject == stage), 29, 164)
    return store.root


def shown(capsys: pytest.CaptureFixture[str], root: Path, *words: str, status: int = 0) -> str:
    assert main(["show", *words, "--output-dir", str(root)]) == status
    out, err = capsys.readouterr()
    return err if status else out


def facts(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> Any:
    return json.loads(shown(capsys, root, *words, "--json"))


def test_it_is_found_by_any_of_its_names(capsys: pytest.CaptureFixture[str], root: Path, plan: Plan) -> None:
    dmt = plan.runs[DMT]
    names = (dmt.id, dmt.id[:5], dmt.label, "k=1/4", dmt.subject.label)
    assert {facts(capsys, root, name)["id"] for name in names} == {dmt.id}
    assert facts(capsys, root, "mini")["kind"] == "base model"  # the whole label, of which others only begin with it


def test_what_it_is_and_how_it_stands(capsys: pytest.CaptureFixture[str], root: Path, plan: Plan) -> None:
    done = facts(capsys, root, plan.runs[MATH].id)
    assert (done["state"], done["kind"], done["runs"]) == ("done", "stage", [plan.runs[MATH].label])
    assert done["mixture"] == [
        {"source": "math", "ability": "math", "fraction": "1", "examples": 990, "planned": False}
        | {"truncated": 7, "masked": {"x": 2}}
    ]
    assert done["scores"][0]["score"] == "17.7% (29/164) [12.6–24.2]"
    assert done["record"]["seconds"] == 90.0
    assert digest(done["identity"]) == done["id"]
    planned = facts(capsys, root, plan.runs[DMT].stages[0].id)
    assert (planned["state"], planned["record"], planned["needed_by"]) == ("missing", {}, [plan.runs[DMT].label])
    assert planned["why"] == "new"
    assert [(part["source"], part["examples"], part["planned"]) for part in planned["mixture"]] == [
        ("code", 1000, True),
        ("math", 1000, True),
    ]


def test_the_text_says_the_same(capsys: pytest.CaptureFixture[str], root: Path, plan: Plan) -> None:
    text = shown(capsys, root, plan.runs[MATH].id)
    for part in (
        "math all of math: 990 examples (7 cut at the end, 2 with nothing to learn)",
        "189 steps, loss 1.500; 2 min",
        "learning_rate 2e-05",
        "17.7% (29/164)",
        "stage 1.recipe.learning_rate  2e-05  |  1e-05",
    ):
        assert part in text
    assert "1,000 examples planned" in shown(capsys, root, plan.runs[DMT].stages[0].id)


def test_differences_to_another_are_of_the_whole_chain(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan
) -> None:
    dmt, sequential = plan.runs[DMT], plan.runs[SEQUENTIAL]
    (found,) = facts(capsys, root, dmt.id, sequential.id)["differences"]
    assert (found["id"], found["runs"]) == (sequential.id, [sequential.label])
    assert [tuple(change.values()) for change in found["fields"]] == [
        ("stage 1.mixture.math", "1", "-"),
        ("stage 2.mixture.code", "1/4", "-"),
        ("stage 2.mixture.general", "1", "-"),
        ("stage 2.mixture.math.fraction", "1/4", "1"),
        ("stage 3", "-", "general 1"),
    ]


def test_without_another_its_nearest_neighbours_come_first(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan
) -> None:
    """What differs in a learning rate is nearer than what was trained on other data."""
    found = facts(capsys, root, plan.runs[MATH].id)["differences"]
    assert found[0]["id"] == plan.runs[SLOW].id
    assert len(found) == 3


SETTINGS = st.fixed_dictionaries(
    {"learning_rate": st.sampled_from([1e-5, 2e-5]), "seed": st.integers(0, 1), "epochs": st.integers(1, 2)}
)


@given(this=SETTINGS, other=SETTINGS)
def test_changes_are_exactly_the_fields_that_differ(this: dict[str, Any], other: dict[str, Any]) -> None:
    """Of the first of two stages; the second, which only has another parent, differs in nothing of its own."""
    chains = [
        build([("x", request(mixed()[:2], "sequential", recipe=replace(RECIPE, **one)))]) for one in (this, other)
    ]
    catalogue = Catalogue(Store("/nowhere"))
    for subject in (subject for made in chains for subject in made.subjects):
        catalogue.known[subject.id] = Known(subject.id, subject.label, subject.payload)
    ends = [catalogue.known[made.runs[0].id] for made in chains]
    found = changes(catalogue, *ends)
    differing = {key for key in this if this[key] != other[key]}
    assert {change.field for change in found} == {f"stage {n}.recipe.{key}" for n in (1, 2) for key in differing}
    assert [Change(change.field, change.other, change.this) for change in found] == changes(catalogue, *ends[::-1])
    assert bool(found) == (ends[0].id != ends[1].id)


def test_commands_make_it_again_and_serve_it(capsys: pytest.CaptureFixture[str], root: Path, plan: Plan) -> None:
    """Whatever a folder is called; what has no model is not offered to be served."""
    typed = facts(capsys, root, plan.runs[MATH].id)["commands"]
    assert shlex.split(typed["reproduce"])[-2:] == ["data=math", f"output_dir={root}"]
    model = Store(root).weights(plan.runs[MATH].subject)
    assert shlex.split(typed["serve"]) == ["vllm", "serve", str(model), "--served-model-name", plan.runs[MATH].id]
    command, flag, script = shlex.split(typed["ask"])
    assert (command, flag) == ("python", "-c")
    assert f"pipeline('text-generation', {str(model)!r})" in script
    compile(script, "typed", "exec")
    shared = facts(capsys, root, plan.runs[DMT].stages[0].id)["commands"]
    assert "strategy=dmt" in shared["reproduce"]
    assert {"serve", "ask"}.isdisjoint(shared)


def test_what_is_unknown_or_means_several_is_said(capsys: pytest.CaptureFixture[str], root: Path, plan: Plan) -> None:
    several = shown(capsys, root, "math", status=2)
    assert "'math' means" in several
    assert "give the beginning of an id" in several
    for number in (MATH, SLOW):
        assert f"{plan.runs[number].id}  mini--math" in several
    assert "learning_rate=1e-05" in several or "lr=1e-05" in several  # what tells them apart
    unknown = shown(capsys, root, "nosuch", status=2)
    assert "no stage or run 'nosuch'" in unknown
    assert plan.runs[DMT].label in unknown
    assert "are the same" in shown(capsys, root, plan.runs[MATH].id, plan.runs[MATH].id[:6], status=2)
    assert "start a sweep with" in shown(capsys, root / "empty", "x", status=2)


def test_a_stage_whose_sweep_was_deleted_is_shown_by_its_folder(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan
) -> None:
    shutil.rmtree(root / "sweeps")
    found = facts(capsys, root, plan.runs[MATH].id)
    assert (found["state"], found["why"]) == ("done", "no sweep has it planned any more")
    assert (found["mixture"][0]["examples"], found["sweeps"], found["scores"]) == (990, [], [])
    assert "serve" in found["commands"]
    assert "reproduce" not in found["commands"]
    assert "nothing else of its kind" in shown(capsys, root, plan.runs[MATH].id)


@pytest.mark.parametrize("text", ["", "[]", '{"spec": {}}', '{"spec": {"payloads": {}, "models": 3}}', "null"])
def test_a_broken_plan_is_passed_over(text: str, capsys: pytest.CaptureFixture[str], root: Path, plan: Plan) -> None:
    broken = root / "sweeps" / "99990101-000000-broken-000000"
    broken.mkdir()
    (broken / "plan.json").write_text(text)
    assert facts(capsys, root, plan.runs[MATH].id)["state"] == "done"
