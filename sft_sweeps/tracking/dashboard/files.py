"""Views, report and charts as files, which need no server: to look at, to compare, to keep with a sweep."""

import json
from typing import Any

from sft_sweeps.tracking.base import Table
from sft_sweeps.tracking.dashboard import article, charts, panels, views
from sft_sweeps.tracking.dashboard.board import Board


def texts(board: Board, verdict: Table) -> dict[str, str]:
    """The content of each file, by its name."""
    rows = [dict(zip(verdict.columns, row, strict=True)) for row in verdict.rows]
    found: dict[str, Any] = {
        "review.json": panels.spec(views.review(board)),
        "live.json": panels.spec(views.live(board)),
        "report.json": article.spec(article.article(board)),
        **{f"{chart}.vega.json": json.loads(charts.text(chart)) for chart in charts.TITLES},
        "verdict.json": rows,
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in found.items()}
