"""The saved views and the report at W&B: whole, against files; what they draw is what runs have; charts are drawn."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import goldens
import pytest
from common import ROOT

from sft_sweeps.tracking import layout
from sft_sweeps.tracking.base import Table
from sft_sweeps.tracking.dashboard import article, charts, files, panels, views
from sft_sweeps.tracking.dashboard.board import Asked, Board, Words

pytest.importorskip("wandb_workspaces")

FIXTURES = ROOT / "tests" / "fixtures" / "dashboard"
GSM8K = Asked("gsm8k", "GSM8K", "math", "%", specialized=True)
LOSS = Asked("heldout_loss:code", "held-out loss, code", "code", "nats", specialized=True)
MT_BENCH = Asked("mt_bench", "MT-Bench", "general", "rating")
WORDS = Words(
    headline="DMT keeps more than sequential training: +5.0 points [+1.0, +9.0] on GSM8K (n=1,319, 1 seed, p=0.01).",
    basis="1 claim named in advance: 1 confirmed.",
    claims=[("confirmed", "DMT keeps more | than sequential training")],
    notes=["13b is better than 7b"],
    costs=[("model", "GPU-hours planned"), ("7b", "12.5")],
    missing=["mt_bench of 7b"],
    commands=["python launch.py -m study=table1"],
)
BOARD = Board(
    entity="somebody",
    project="table1",
    sweep="20261129-010101-table1-abcdef",
    title="table1",
    question="What is kept?",
    asked=(GSM8K, MT_BENCH),
    abilities=("math", "general"),
    words=WORDS,
    reference="score-0123456789ab",
)
BOARDS = [
    BOARD,
    replace(BOARD, entity="", asked=(GSM8K,), reference="", words=Words("Nothing is scored yet.", "Launch again.")),
    replace(BOARD, asked=(GSM8K, LOSS, MT_BENCH)),
    replace(BOARD, asked=()),
]


def everything(board: Board) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in files.texts(board, Table(charts.COLUMNS, ())).items()}


@pytest.mark.parametrize("name", ["review.json", "live.json", "report.json"])
def test_whole(name: str) -> None:
    goldens.compare(FIXTURES / name, files.texts(BOARD, Table(charts.COLUMNS, ()))[name])


def names(of: Any) -> Iterator[str]:
    """Every text of a specification that is no placeholder's."""
    if isinstance(of, dict):
        for value in of.values():
            yield from names(value)
    elif isinstance(of, list):
        for value in of:
            yield from names(value)
    elif isinstance(of, str):
        yield of


def step_fields() -> set[str]:
    """What a line of metrics.jsonl has, without importing torch."""
    tree = ast.parse((ROOT / "sft_sweeps" / "train" / "meter.py").read_text())
    (made,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "StepMetrics"]
    return {
        node.target.id for node in made.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


@pytest.mark.parametrize("board", BOARDS, ids=["two", "one", "three", "none"])
def test_what_is_drawn_is_what_runs_have(board: Board) -> None:
    """No panel asks for a number that nobody logs, or for an axis that no run has."""
    axes = {"model", "strategy", "k", "examples", *(f"examples_{ability}" for ability in board.abilities)}
    summary = {layout.metric(one.name, measure) for one in board.asked for measure in layout.MEASURES}
    summary |= {layout.GPU_HOURS, layout.GPU_HOURS_PLANNED}
    history = {f"train/{name}" for name in step_fields()} | {layout.STEP, layout.SUPERVISED_SEEN}
    of = everything(board)
    texts = [text for name in ("review.json", "live.json", "report.json") for text in names(of[name])]
    read = {re.sub("^(summary:|summary_metrics.)", "", text) for text in texts}
    assert {text.removeprefix("summary:") for text in texts if text.startswith("summary:")} <= summary
    drawn = {text for text in read if text.startswith("train/")}
    assert {re.sub("/[.][*]$", "", text) for text in drawn} <= history
    found = {re.sub("^(config:)?study.value.", "", text) for text in texts if "study.value." in text}
    assert found <= axes
    if board is BOARD:
        assert found >= {"model", "strategy", "k", "examples_math"}
        assert drawn


@pytest.mark.parametrize("board", BOARDS, ids=["two", "one", "three", "none"])
def test_made_again_it_is_the_same_and_each_panel_has_an_id_of_its_own(board: Board) -> None:
    assert everything(board) == everything(board)
    for spec in (panels.spec(views.review(board)), panels.spec(views.live(board))):
        ids = re.findall(r'"__id__": "(\w+)"', json.dumps(spec))
        assert len(ids) == len(set(ids)) > 0
    again = replace(board, sweep="another")
    assert panels.spec(views.live(board))["name"] == panels.spec(views.live(again))["name"], "one of a project"
    assert panels.spec(views.review(board))["name"] != panels.spec(views.review(again))["name"]


def test_review_has_its_sections_and_the_runs_that_they_draw_from() -> None:
    section = everything(BOARD)["review.json"]["spec"]["section"]
    assert [one["name"] for one in section["panelBankConfig"]["sections"]] == [
        *("Verdict", "Scaling", "Trade-off", "Forgetting", "Health", "Cost", "Samples")
    ]
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["study.value.model", "study.value.strategy"]
    assert runs["baselineRunId"] in runs["pinnedRunIds"]
    (live,) = everything(BOARD)["live.json"]["spec"]["section"]["runSets"]
    assert [one["value"] for one in live["filters"]["filters"]] == ["running"]
    assert live["grouping"][0] == {"section": "run", "name": "group"}


@pytest.mark.parametrize("name", ["20260101-000000-a'b-123456", 'x="y"', "a=b", "a and b", "(c", "ü\\n"])
def test_whatever_a_sweep_is_called_its_runs_are_meant(name: str) -> None:
    of = everything(replace(BOARD, sweep=name, title=name))
    for part in ("review.json", "report.json"):
        assert set(values(of[part], "group")) == {name}


def values(of: Any, key: str) -> Iterator[Any]:
    """What filters ask of a key."""
    if isinstance(of, list):
        for one in of:
            yield from values(one, key)
    elif isinstance(of, dict):
        if isinstance(of.get("key"), dict) and of["key"].get("name") == key and "value" in of:
            yield of["value"]
        for one in of.values():
            yield from values(one, key)


def test_curves_are_drawn_one_by_one() -> None:
    sections = everything(BOARD)["review.json"]["spec"]["section"]["panelBankConfig"]["sections"]
    grouped = {one["name"]: one["localPanelSettings"]["useRunsTableGroupingInPanels"] for one in sections}
    assert [name for name, of in grouped.items() if not of] == ["Health"]


def test_the_report_says_what_was_found() -> None:
    text = json.dumps(everything(BOARD)["report.json"], ensure_ascii=False)
    for part in (WORDS.headline, WORDS.basis, "What is kept?", "mt_bench of 7b", "study=table1", "| 7b | 12.5 |"):
        assert part in text, part
    assert "confirmed: DMT keeps more | than" in text


ROWS = [
    {"benchmark": name, "label": f"{arm} {f}", "model": "7b", "arm": arm, "k": k, "line": arm, "fraction": f}
    | {"examples": 100, "value": value + f, "low": value, "high": value + 2, "beyond": "beyond noise"}
    | {"difference": 1.0, "difference_low": 0.5, "difference_high": 1.5}
    for arm, k in (("multi_task", "none"), ("dmt", "1/4"))
    for f in (1 / 256, 1 / 64, 1 / 4, 1.0)
    for name, value in (("gsm8k", 40), ("mt_bench", 5))
]
UNPLACED: dict[str, Any] = {**ROWS[0], "fraction": None}


def test_the_verdict_draws_a_point_with_its_interval_for_each_row_of_its_benchmark() -> None:
    texts = {"title": 'GSM8K "strict"', "subtitle": "", "benchmark": "gsm8k", "unit": "GSM8K, %"}
    spec = charts.filled(charts.VERDICT, [*ROWS, UNPLACED], **texts)
    assert "${" not in json.dumps(spec)
    assert spec["encoding"]["x"]["scale"]["base"] == 2
    drawn = svg(spec)
    assert marks(drawn, "point") == 8
    assert marks(drawn, "rule mark") == 8
    assert [tick for tick in ("1/256", "1/64", "1/16", "1/4") if f">{tick}<" not in drawn] == []


def test_the_trade_off_draws_a_point_for_each_run_with_both_scores() -> None:
    texts = {"title": "t", "x": "gsm8k", "y": "mt_bench", "x_title": "GSM8K", "y_title": "MT-Bench"}
    spec = charts.filled(charts.TRADE_OFF, ROWS[:-1], **texts)
    assert "${" not in json.dumps(spec)
    assert marks(svg(spec), "point") == 7


def svg(spec: dict[str, Any]) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec))


def marks(drawn: str, described: str) -> int:
    """Marks of a kind in the chart itself, not in its legends."""
    return len(re.findall(rf'aria-roledescription="{described}"', drawn))


def test_a_table_of_text_survives_markdown() -> None:

    assert panels.markdown([("a", "b"), ("x|y", "1")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"


def test_a_charts_name_at_the_server_says_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    before = charts.preset(charts.VERDICT)
    monkeypatch.setattr(charts, "text", lambda _: '{"mark": "bar"}')
    assert charts.preset(charts.VERDICT) != before
    assert len(article.spec(article.article(replace(BOARD, title="x" * 300)))["displayName"]) <= 128
