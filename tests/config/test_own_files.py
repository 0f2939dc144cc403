"""Whose value counts: the package's, conf/ here, --config-dir, conf/local, a study, conf/debug, what is typed."""

import json
from pathlib import Path

import pytest
from fuzzing import answer

STUDY = """# @package _global_
defaults:
  - override /model: mini
  - override /data: mini_math
  - override /train: mini
  - override /evaluate: none
study:
  name: mine
  grid:
    - data.fraction=1/4,1/16
train: {{batch_size: {size}}}
"""


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study, and one of the same name elsewhere."""
    monkeypatch.chdir(tmp_path)
    write("conf/study/mine.yaml", STUDY.format(size=4))
    write("elsewhere/study/mine.yaml", STUDY.format(size=8))
    return tmp_path


def recipes(folder: Path, *arguments: str) -> list[dict]:
    """Of the stages of a plan."""
    given = answer([*arguments, "--json"], folder / "out")
    assert given.status == 0, given.error
    return [stage["recipe"] for stage in json.loads(given.out)["plan"]["spec"]["stages"].values()]


def sizes(folder: Path, *arguments: str) -> list[int]:
    return [recipe["batch_size"] for recipe in recipes(folder, *arguments)]


@pytest.mark.parametrize("swept", [(), ("-m",)])
def test_config_dir_before_the_folder_and_with_sweeps(swept: tuple[str, ...], here: Path) -> None:
    assert sizes(here, *swept, "study=mine") == [4, 4]
    assert sizes(here, *swept, "--config-dir", "elsewhere", "study=mine") == [8, 8]
    assert sizes(here, *swept, "study=mine", "--config-dir=elsewhere", "train.seed=0,1") == [8] * 4
    assert sizes(here, *swept, "--config-dir", "elsewhere", "study=mine", "train.batch_size=2") == [2, 2]


def test_the_sites_settings_yield_to_a_study_and_to_what_is_typed(here: Path) -> None:
    write("conf/local/default.yaml", "# @package _global_\ntrain: {batch_size: 32, epochs: 2}\n")
    line = ("model=mini", "data=mini_math", "train=mini", "evaluate=none")
    assert sizes(here, *line) == [32]
    assert sizes(here, *line, "train.batch_size=2") == [2]
    found = recipes(here, "study=mine")
    assert [(one["batch_size"], one["epochs"]) for one in found] == [(4, 2)] * 2


def test_debug_wins_over_a_study_and_keeps_the_rows_apart_from_its_own(here: Path) -> None:
    plain, debugged = recipes(here, "study=mine"), recipes(here, "study=mine", "debug=few_steps")
    assert {one["epochs"] for one in debugged} == {1}
    assert {one["epochs"] for one in plain} != {1}


@pytest.mark.parametrize("arguments", [("--config-dir", "absent"), ("--config-dir", "conf/study/mine.yaml")])
def test_a_folder_that_is_none(arguments: tuple[str, ...], here: Path) -> None:
    given = answer([*arguments, "model=mini", "data=mini", "train=mini"], here / "out")
    assert given.status == 2, given
    assert arguments[1] in given.error
    assert "Traceback" not in given.error
