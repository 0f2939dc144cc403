"""The topic `data`: what is wrong with one source is said of that one alone."""

import json
from pathlib import Path

from common import Points

from sft_sweeps.commands.doctor import data
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.config.cluster_schema import ClusterConfig

GRID = ("model=mini", "data=mini", "train=mini", "evaluate=none", "cluster=local", "strategy=multi_task")


def said(points: Points, tmp_path: Path, *overrides: str) -> list[tuple[str, str]]:
    output_dir = f"output_dir={tmp_path / 'store'}"
    request = DoctorRequest(
        tmp_path / "store", ClusterConfig(), tuple(points(*GRID, output_dir, *overrides)), overrides
    )
    return [(one.level, one.about) for one in data.asked(request)]


def test_a_source_is_well_whatever_is_wrong_with_one_whose_name_goes_on(points: Points, tmp_path: Path) -> None:
    file = tmp_path / "extra.jsonl"
    extra = ("+source@data.sources.math2=file", f"data.sources.math2.path={file}", "data.sources.math2.rows=50")
    found = said(points, tmp_path, *extra)
    assert [level for level, about in found if level != "ok"] == ["problem"]
    assert [level for level, about in found if about == "mini_math"] == ["ok"]


def test_rows_that_cannot_be_used_are_no_source_that_is_well(points: Points, tmp_path: Path) -> None:
    file = tmp_path / "extra.jsonl"
    rows = [{"question": "How much is 1 + 1?", "answer": "2" * (n % 2)} for n in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = said(points, tmp_path, "+source@data.sources.extra=file", f"data.sources.extra.path={file}")
    assert [level for level, about in found if level != "ok"] == ["problem"]
    assert ("ok", "extra") not in found
