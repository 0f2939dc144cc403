"""Puts a study's views, its charts and its report up at W&B, with the key of the environment or of `wandb login`.

What was put up before is replaced: views and report have names made of the sweep's.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.tracking import problems
from sft_sweeps.tracking.dashboard import article, charts, views
from sft_sweeps.tracking.dashboard.board import Board
from sft_sweeps.tracking.wandb_key import NO_KEY, find_key, has_key

SECONDS = 15  # that an answer is waited for
VIEW, REPORT = "project-view", "runs"  # W&B's types of what it calls views
KNOWN = """
query Views($entity: String!, $project: String!, $type: String!) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: $type, first: 1000) { edges { node { id name } } }
  }
}
"""


@dataclass(frozen=True)
class PutUp:
    """The addresses of both views and of the report, and what the server did not take."""

    addresses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def push(board: Board) -> PutUp:
    """Replaces what is there; RequestError without a key, RunError where the server refuses or does not answer."""
    if not has_key():
        raise RequestError(f"{NO_KEY}, or leave out --push")
    with _said(board):
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        api = wandb.Api(timeout=SECONDS)
        board = replace(board, entity=board.entity or api.default_entity)
        api.create_project(board.project, board.entity)
        notes = tuple(_charts(api, board))
        return PutUp((*_views(api, board), _report(api, board)), notes)


@contextmanager
def _said(board: Board) -> Iterator[None]:
    """Whatever goes wrong is one line, without the key."""
    try:
        yield
    except Exception as error:  # of the library, its transport and the server: each has classes of its own
        where = "/".join(filter(None, (board.entity, board.project)))
        raise RunError(
            f"Weights & Biases did not take the views of {where} ({_line(error)}); the files are written, "
            "and --push can be typed again"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(problems.text(error, find_key()[0]).split())


def _charts(api: Any, board: Board) -> Iterator[str]:
    """Each once: its name says its text. A server does not say whether it has one of the name already."""
    for chart, title in charts.TITLES.items():
        name = charts.preset(chart)
        try:
            api.create_custom_chart(board.entity, name, title, "vega2", "private", charts.text(chart))
        except Exception as error:  # as above
            yield f"the chart {board.entity}/{name} was not taken ({_line(error)}); it is there if it was put up before"


def _views(api: Any, board: Board) -> Iterator[str]:
    """Review, then Live."""
    known = _known(api, board, VIEW)
    for found in (views.review(board), views.live(board)):
        _put(api, found, VIEW, known.get(found.name, ""))
        yield f"{_app(api)}/{board.entity}/{board.project}?nw={found.name.removeprefix('nw-').removesuffix('-v')}"


def _report(api: Any, board: Board) -> str:
    found = article.article(board, known=True)
    found.name = board.mark("report")
    key = _put(api, found, REPORT, _known(api, board, REPORT).get(found.name, ""))
    title = quote(found.display_name.replace(" ", "-"), safe="")
    return f"{_app(api)}/{board.entity}/{board.project}/reports/{title}--{key}"


def _known(api: Any, board: Board, kind: str) -> dict[str, str]:
    """The server's ids of what the project has, by name."""
    from wandb_workspaces._graphql import execute_graphql

    told = {"entity": board.entity, "project": board.project, "type": kind}
    project = execute_graphql(api, KNOWN, told)["project"] or {"allViews": {"edges": []}}
    return {edge["node"]["name"]: edge["node"]["id"] for edge in project["allViews"]["edges"]}


def _put(api: Any, found: Any, kind: str, known: str) -> str:
    """Make it, or replace the one of that id; returns the id."""
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2 import gql

    entity, project = (found.entity, found.project) if kind == VIEW else (found.project.entity_name, found.project.name)
    told = {
        "id": known or None,
        "name": found.name,
        "entityName": entity,
        "projectName": project,
        "type": kind,
        "displayName": found.display_name,
        "description": getattr(found, "description", ""),
        "spec": found.spec.model_dump_json(by_alias=True, exclude_none=True),
    }
    return str(execute_graphql(api, gql.upsert_view, told)["upsertView"]["view"]["id"])


def _app(api: Any) -> str:
    from wandb_workspaces._graphql import get_app_url

    return str(get_app_url(api)).rstrip("/")
