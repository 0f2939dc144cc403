"""A line of a study's grid may name another study: its rows, as its own file makes them."""

import shutil
from dataclasses import replace

import pytest
from common import ROOT, Points, sweeper

from hydra_plugins.sft_sweeps_sweeper.sweeper import PointsSweeper
from sft_sweeps.errors import RequestError

TABLES = [f"table{n}" for n in range(1, 7)]


def test_the_paper_is_its_tables_one_after_the_other(points: Points) -> None:
    whole = points("study=paper")
    assert [point.name for point in whole] == [point.name for table in TABLES for point in points(f"study={table}")]
    assert {point.config.study.name for point in whole} == {"paper"}
    for point, alone in zip(whole, (p for table in TABLES for p in points(f"study={table}")), strict=True):
        assert all(claim in point.config.study.hypotheses for claim in alone.config.study.hypotheses)
        assert point.config == replace(alone.config, study=point.config.study)


def test_a_command_line_restricts_all_of_them(points: Points) -> None:
    assert {point.name.split()[0] for point in points("study=paper", "strategy.k=1/64")} == {"study=table5"}
    assert len(points("study=paper", "model=llama33b")) == 7 + 20
    assert {p.config.study.question for p in points("study=paper", "study.question=Why?", "model=llama33b")} == {"Why?"}
    with pytest.raises(SystemExit):
        points("study=paper", "strategy.k=1/2")


STUDIES = {
    "base": "['data.fraction=1,1/4', strategy=dmt]",
    "seeds": "['train.seed=1,2', 'study=base train.seed=3', study=small]",
    "small": "[study=base data.fraction=0.25]",
    "two": "['study=base,plain train.epochs=1']",
    "round": "[study=about]",
    "about": "[study=base, study=round]",
    "lost": "[study=bse]",
    "none": "[study=base data.fraction=1/2]",
    "plain": "[]",
    "claims": "[study=claims1]\n  hypotheses: [{claim: 0}]",
    "claims1": "[study=claims2, study=base]\n  hypotheses: [{claim: 1}]",
    "claims2": "[train.seed=1]\n  hypotheses: [{claim: 2}]",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> PointsSweeper:
    conf = tmp_path_factory.mktemp("include") / "conf"
    shutil.copytree(ROOT / "conf", conf, ignore=shutil.ignore_patterns("local"))
    for name, text in STUDIES.items():
        head = "defaults: [{override /model: mini}]\n" if name == "base" else ""
        (conf / "study" / f"{name}.yaml").write_text(
            f"# @package _global_\n{head}study:\n  name: {name}\n  grid: {text}\n"
        )
    return sweeper(conf)


def test_each_row_is_as_its_own_file_says(own: PointsSweeper) -> None:
    made = own.sweep(["study=seeds"])
    assert [point.name for point in made] == [
        "study=seeds train.seed=1",
        "study=seeds train.seed=2",
        "study=base data.fraction=1 train.seed=3",
        "study=base data.fraction=1/4 train.seed=3",
        "study=base strategy=dmt train.seed=3",
        "study=base data.fraction=1/4",
    ]
    assert [point.config.model.name for point in made] == ["llama7b"] * 2 + ["mini"] * 4
    assert {point.config.study.name for point in made} == {"seeds"}


def test_a_line_joins_every_row_of_the_studies_that_it_names(own: PointsSweeper) -> None:
    names = [point.name for point in own.sweep(["study=two"])]
    assert names == [
        "study=base data.fraction=1 train.epochs=1",
        "study=base data.fraction=1/4 train.epochs=1",
        "study=base strategy=dmt train.epochs=1",
        "study=plain train.epochs=1",
    ]
    assert [point.name for point in own.sweep(["study=two", "data.fraction=1/4"])] == names[1:2]


def test_what_the_named_studies_claim_is_claimed(own: PointsSweeper) -> None:
    for point in own.sweep(["study=claims"]):
        assert [one.claim for one in point.config.study.hypotheses] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("study", "says"),
    [
        ("round", "study=round has its own rows: round -> about -> round"),
        ("lost", "study=lost, in its grid: study=bse is unknown; valid: about, "),
        ("none", "study=none: study=base sweeps data.fraction over 1, 1/4; data.fraction=1/2 is not among them"),
    ],
)
def test_what_cannot_be_had_is_named(own: PointsSweeper, study: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        own.expand({"study": [study]})
