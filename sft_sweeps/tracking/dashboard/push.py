"""Puts a study's views, its charts and its report up at W&B, with the key of the environment or of `wandb login`.

What was put up before is replaced: views and report are found by their names again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.tracking.dashboard import article, charts, views
from sft_sweeps.tracking.dashboard.board import Board
from sft_sweeps.tracking.wandb import has_key

SECONDS = 15  # that an answer is waited for
LATER = "the files are written; type the same again when it answers"


def push(board: Board) -> list[str]:
    """The addresses of both views and of the report; RequestError without a key, RunError where the server refuses."""
    if not has_key():
        raise RequestError(
            "Weights & Biases has no key of yours here; type: wandb login, or set WANDB_API_KEY, or leave out --push"
        )
    with _said(board):
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        api = wandb.Api(timeout=SECONDS)
        board = replace(board, entity=board.entity or api.default_entity)
        api.create_project(board.project, board.entity)
        _charts(api, board)
        made = [views.review(board), views.live(board)]
        return [*(_view(api, view) for view in made), _report(api, board)]


@contextmanager
def _said(board: Board) -> Iterator[None]:
    """Whatever goes wrong is one line, without the key."""
    try:
        yield
    except Exception as error:  # of the library, its transport and the server: each has classes of its own
        text = f"{type(error).__name__}: {error}".replace(os.environ.get("WANDB_API_KEY") or "\0", "***")
        where = f"{board.entity or 'your own entity'}/{board.project}"
        raise RunError(
            f"Weights & Biases did not take the views of {where} ({' '.join(text.split())}); {LATER}"
        ) from error


def _charts(api: Any, board: Board) -> None:
    """Each once: its name says its text."""
    import wandb

    for chart, title in charts.TITLES.items():
        name = charts.preset(chart)
        try:
            api.create_custom_chart(board.entity, name, title, "vega2", "private", charts.text(chart))
        except wandb.Error as error:
            if not any(word in str(error).lower() for word in ("exist", "duplicate", "409")):
                raise


def _view(api: Any, view: Any) -> str:
    from wandb_workspaces.workspaces import internal

    found = views.model(view)
    known = internal._internal_name_to_url_query_str(found.name)
    try:
        found.id = internal.get_view_dict(found.entity, found.project, known)["id"]
    except ValueError:  # there is none yet
        found.id = ""
    internal.upsert_view2(found)
    return f"{_app(api)}/{found.entity}/{found.project}?nw={known}"


def _report(api: Any, board: Board) -> str:
    report = article.article(board, known=True)
    same = [one for one in api.reports(f"{board.entity}/{board.project}") if one.display_name == report.title]
    report.id = same[0].id if same else ""
    report.save()
    return str(report.url)


def _app(api: Any) -> str:
    from wandb_workspaces._graphql import get_app_url

    return str(get_app_url(api)).rstrip("/")
