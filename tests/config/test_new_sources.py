"""A source that keys alone make: what is planned, what is said, and where the keys are those of one that is there."""

import json
from pathlib import Path

import pytest
from common import ROOT
from fuzzing import answer
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.config.new_sources import with_files

FOLDERS = [ROOT / "conf"]
MINI = ("model=mini", "train=mini", "data=mini")
WORDS = st.sampled_from(["data=mini", "data=math", "+data.sources.law.path=a", "+data.sources.law.ability=b", "-m",
                         "data.sources.law.path=c", "+data.sources.math.path=d", "train.seed=1"])  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "contracts.jsonl"
    path.write_text("".join(json.dumps({"question": f"Clause {n}?", "answer": "Void."}) + "\n" for n in range(40)))
    return path


def planned(folder: Path, *overrides: str) -> tuple[dict, str]:
    """The JSON plan, and what is said beside it."""
    given = answer([*MINI, *overrides, "--json"], folder)
    assert given.status == 0, given.error
    return json.loads(given.out)["plan"], given.error


def mixture(plan: dict) -> dict[str, tuple]:
    """Of the last stage: each source's ability, fraction and examples."""
    return {one["source"]: (one["ability"], one["fraction"], one["examples"]) for one in plan["stages"][-1]["mixture"]}


@pytest.mark.parametrize("typed", ["+data.sources.law.path={}", "+data.sources.law={{path:{}}}",
                                   "+source@data.sources.law=file data.sources.law.path={}"])  # fmt: skip
def test_by_its_file_alone(typed: str, file: Path, tmp_path: Path) -> None:
    plan, said = planned(tmp_path / "out", *typed.format(file).split())
    assert mixture(plan)["law"] == ("law", "1", 40)
    assert mixture(plan).keys() == {"law", "mini_math", "mini_code", "mini_general"}
    assert "data.sources.law: a specialized source of ability law" in said


def test_with_all_that_can_be_said_of_it(file: Path, tmp_path: Path) -> None:
    keys = ("role=general", "ability=contracts", "name=house", "clean.min_characters=3", "rows=40")
    line = [f"+data.sources.law.{key}" for key in (f"path={file}", *keys)]
    plan, _ = planned(tmp_path / "out", *line, "+data.fractions.law=1/4", "strategy=mixed_sequential")
    assert mixture(plan)["house"] == ("contracts", "1/4", 10)
    assert set(mixture(plan)) == {"house", "mini_general"}, "the sources of the general role are the last stage's"


def test_a_line_of_a_study_may_name_it(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = f"model=mini train=mini data=mini_math,mini_code +data.sources.law.path={file}"
    (tmp_path / "conf" / "study").mkdir(parents=True)
    study = f"# @package _global_\nstudy:\n  name: law\n  grid:\n    - {grid}\n"
    (tmp_path / "conf" / "study" / "law.yaml").write_text(study)
    given = answer(["study=law", "--json"], tmp_path / "out")
    assert given.status == 0, given.error
    stages = json.loads(given.out)["plan"]["stages"]
    assert [{one["source"] for one in stage["mixture"]} for stage in stages] == [
        {"mini_math", "law"},
        {"mini_code", "law"},
    ]


def test_it_joins_every_row_of_a_study(file: Path, tmp_path: Path) -> None:
    given = answer(["study=quickstart", f"+data.sources.law.path={file}", "--json"], tmp_path / "out")
    plan = json.loads(given.out)["plan"]
    assert len(plan["runs"]) == 8
    trained = {run["id"]: [stage for stage in plan["stages"] if stage["id"] in run["stages"]] for run in plan["runs"]}
    assert all(any(p["source"] == "law" for s in stages for p in s["mixture"]) for stages in trained.values())


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("+data.sources.law.path=absent.jsonl", "there is no file absent.jsonl"),
        ("+data.sources.law.ability=x", "data.sources.law has no file; type data.sources.law.path=FILE"),
        ("+data.sources.law=FILE", "type +source@data.sources.law=file data.sources.law.path=FILE"),
        ("data.sources.law.path=a.jsonl", "type +source@data.sources.law=file data.sources.law.path=a.jsonl"),
        ("+data.sources.law.pth=a.jsonl", "unknown key data.sources.law.pth; did you mean"),
        ("+data.sources.law.role=judge +data.sources.law.path=a", "data.sources.law.role=judge is unknown; valid: "),
    ],
)
def test_what_it_lacks_is_told(typed: str, says: str, tmp_path: Path) -> None:
    given = answer([*MINI, *typed.split()], tmp_path / "out")
    assert (given.status, given.out) == (2, "")
    assert says in given.error
    assert given.error.startswith("error ")


def test_a_slot_that_the_data_lack_is_new_whatever_other_data_have(file: Path, tmp_path: Path) -> None:
    given = answer(
        ["model=mini", "train=mini", "data=mini_math", f"+data.sources.code.path={file}", "--json"], tmp_path
    )
    assert mixture(json.loads(given.out)["plan"]).keys() == {"mini_math", "code"}


@given(st.lists(WORDS, max_size=6))
def test_nothing_but_new_sources_is_rewritten(words: list[str]) -> None:
    made = with_files(words, FOLDERS)
    assert [word.removeprefix("+") for word in made if not word.startswith("+source@")] == [
        word.removeprefix("+") for word in words
    ]
    added = [word for word in made if word.startswith("+source@")]
    assert len(added) == len(set(added))
    assert set(added) <= {"+source@data.sources.law=file"}
    assert bool(added) == any(word.startswith("+data.sources.law.") for word in words)
