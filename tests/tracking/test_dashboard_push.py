"""Views and report put up at a server that speaks W&B's protocol: twice, and where it refuses."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from wandb_server import ENTITY, WandbServer

from sft_sweeps.errors import RunError
from sft_sweeps.tracking.dashboard import charts, push
from sft_sweeps.tracking.dashboard.board import Asked, Board, Words

pytest.importorskip("wandb_workspaces")

KEY = "0123456789abcdef0123456789abcdef01234567"
BOARD = Board(
    entity="",
    project="table1",
    sweep="20261129-010101-table1-abcdef",
    title="table1 a+b",
    question="What is kept?",
    asked=(Asked("gsm8k", "GSM8K", "math", "%", specialized=True), Asked("mt_bench", "MT-Bench", "general", "rating")),
    abilities=("math", "general"),
    words=Words("Nothing is scored yet.", "Launch again."),
    reference="score-0123456789ab",
)


class Views(WandbServer):
    """With projects, charts and views, which W&B calls reports too."""

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[str, dict[str, Any]] = {}
        self.charts: dict[str, str] = {}

    def on_create_project(self, given: dict[str, Any]) -> dict[str, Any]:
        told = given["input"]
        return {"createProject": {"model": {"id": "1", "name": told["name"], "entityName": told["entityName"]}}}

    def on_create_custom_chart(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["chartName"] in self.charts:
            return {"createCustomChart": None}
        self.charts[given["chartName"]] = given["spec"]
        return {"createCustomChart": {"chart": {"id": f"{given['entity']}/{given['chartName']}"}}}

    def on_views(self, given: dict[str, Any]) -> dict[str, Any]:
        found = [view for view in self.views.values() if view["type"] == given["type"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}

    def on_project_internal_id(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "1", "internalId": "UHJvamVjdA=="}}

    def on_upsert_view(self, given: dict[str, Any]) -> dict[str, Any]:
        key = given["id"] or f"V{len(self.views)}"
        self.views[key] = {**given, "id": key}
        return {"upsertView": {"view": {"id": key, "name": given["name"]}, "inserted": given["id"] is None}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Views]:
    with Views() as one:
        monkeypatch.setenv("WANDB_BASE_URL", one.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setattr(push, "SECONDS", 3)
        yield one


def test_twice_put_up_they_are_there_once(server: Views) -> None:
    first = push.push(BOARD)
    assert first.notes == ()
    assert [view["type"] for view in server.views.values()] == ["project-view", "project-view", "runs"]
    assert [view["displayName"] for view in server.views.values()] == [
        *("Review: table1 a-b", "Live", "table1 a+b: what came out")
    ]
    assert {view["entityName"] for view in server.views.values()} == {ENTITY}
    review, _, report = (json.loads(view["spec"]) for view in server.views.values())
    drawn = [panel["config"]["panelDefId"] for panel in review["section"]["panelBankConfig"]["sections"][0]["panels"]]
    assert drawn == [f"{ENTITY}/{charts.preset(charts.VERDICT)}"] * 2
    assert set(server.charts) == {charts.preset(chart) for chart in charts.TITLES}
    grids = [block["metadata"]["runSets"][0] for block in report["blocks"] if block["type"] == "panel-grid"]
    assert {one["project"]["name"] for one in grids} == {"table1"}
    again = push.push(replace(BOARD, words=Words("Something is scored.", "")))
    assert again.addresses == first.addresses
    assert len(server.views) == 3
    assert "Something is scored." in server.views["V2"]["spec"]
    assert all("it is there if it was put up before" in note for note in again.notes)


@pytest.mark.parametrize("status", [401, 403, 500, -1])
def test_a_server_that_refuses_or_hangs_is_one_line_without_the_key(server: Views, status: int) -> None:
    server.trouble = lambda _: status
    started = time.monotonic()
    with pytest.raises(RunError) as refused:
        push.push(BOARD)
    assert time.monotonic() - started < 20
    said = str(refused.value)
    assert said.startswith("Weights & Biases did not take the views of table1 (")
    assert "\n" not in said
    assert KEY not in said


def test_what_fails_in_the_middle_is_said_too(server: Views) -> None:
    server.trouble = lambda name: 403 if name == "upsertView" else 0
    with pytest.raises(RunError, match="the files are written"):
        push.push(BOARD)
