"""Charts that W&B has no panel for, as Vega-Lite with its placeholders, over the report run's table TABLE.

W&B replaces `${field:NAME}` with a column and `${string:NAME}` with a text of the panel, and puts the table's rows in
the place of the data `wandb`. A chart is kept at W&B under a name that its text is in, so that a newer one is another.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.identity import digest

TABLE = "verdict"
COLUMNS = (
    *("benchmark", "label", "model", "arm", "k", "line", "fraction", "examples"),
    *("value", "low", "high", "difference", "difference_low", "difference_high", "beyond"),
)
VERDICT, TRADE_OFF = "verdict", "trade_off"
TITLES = {VERDICT: "Scores over the fraction of data, with intervals", TRADE_OFF: "One benchmark against another, by k"}


@lru_cache
def text(chart: str) -> str:
    """The chart as JSON."""
    return Path(__file__).with_name(f"{chart}.vega.json").read_text(encoding="utf-8")


def preset(chart: str) -> str:
    """The name of a chart at W&B, below the entity's."""
    return f"sft-sweeps-{chart.replace('_', '-')}-{digest(json.loads(text(chart)))[:6]}"


def filled(chart: str, rows: list[dict[str, Any]], **texts: str) -> dict[str, Any]:
    """The chart with its data and the texts of a panel, as W&B fills it in: for files and tests without W&B."""
    found = text(chart)
    for column in COLUMNS:
        found = found.replace(f"${{field:{column}}}", column)
    for name, value in texts.items():
        found = found.replace(f"${{string:{name}}}", json.dumps(value)[1:-1])
    spec: dict[str, Any] = json.loads(found)
    return spec | {"data": {"values": rows}}
