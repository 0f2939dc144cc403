"""`sft-sweeps du` and `list`: what they say of a store, and of one that is not there."""

import json
from pathlib import Path
from typing import Any

import pytest
from outcomes import accuracy, finish, launched

from sft_sweeps.commands.main import main
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import PLAN


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_sizes_by_sweep_add_up(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    plan, sweep = launched(store, "mine", "code", "math")
    _, other = launched(store, "other", "code")
    for item in plan.subjects:
        finish(store, item)
    found = asked(capsys, "du", "--output-dir", str(store.root))
    assert found["bytes"] == sum(part["bytes"] for part in found["what"])
    rows = {row["sweep"]: row for row in found["sweeps"]}
    by_id = {stage["id"]: stage for stage in found["stages"]}
    assert by_id.keys() == {one.id for one in plan.subjects}
    mine = rows[sweep.name]
    assert mine["bytes"] == mine["folder_bytes"] + sum(stage["bytes"] for stage in found["stages"])
    assert mine["alone_bytes"] == mine["folder_bytes"] + by_id[plan.stages[1].id]["bytes"]
    assert by_id[plan.stages[0].id]["sweeps"] == sorted([sweep.name, other.name])
    assert found["unasked"] == {"bytes": 0, "stages": 0}
    assert main(["du", "--output-dir", str(store.root)]) == 0
    said = capsys.readouterr().out
    assert all(
        word in said for word in ("stages' models", sweep.name, "all of it", "only its", "free on its file system")
    )


def test_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["du", "--output-dir", str(tmp_path / "none")]) == 2
    assert "--output-dir FOLDER" in capsys.readouterr().err
    assert main(["list", "--output-dir", str(tmp_path / "none")]) == 2
    assert "study=quickstart" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_how_far_each_sweep_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest last; one that cannot be read is listed and hides no other."""
    plan, sweep = launched(store, "20250101-000000-a", "code", "math")
    short, other = launched(store, "20250101-000000-b", "law")
    for item in (plan.models[0], plan.stages[0], *short.stages):
        finish(store, item)
    accuracy(store, short.scores[0], 3, 10)
    rows = asked(capsys, "list", "--size", "--output-dir", str(store.root))["sweeps"]
    assert [row["sweep"] for row in rows] == sorted([sweep.name, other.name])
    first, second = rows
    assert (first["runs"], first["stages"], first["states"]) == (1, 2, {"done": 1, "missing": 1})
    assert first["scores"] == {"done": 0, "total": 1}
    assert second["scores"] == {"done": 1, "total": 1}
    assert first["question"] == "why?"
    sizes = {row["sweep"]: row["bytes"] for row in asked(capsys, "du", "--output-dir", str(store.root))["sweeps"]}
    assert {row["sweep"]: row["bytes"] for row in rows} == sizes
    (sweep.folder / PLAN).write_text('{"runs": [')
    rows = asked(capsys, "list", "--output-dir", str(store.root))["sweeps"]
    assert [bool(row["problem"]) for row in rows] == [True, False]
    assert main(["list", "--output-dir", str(store.root)]) == 0
    said = capsys.readouterr().out
    assert "cannot be read" in said
    assert "1 of 1" in said
    assert "launch the sweep again" in said


def test_status_lists_the_newest_where_none_is_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _, sweep = launched(store, "a", "code")
    assert main(["status", "--output-dir", str(store.root)]) == 0
    assert "sweeps in" not in capsys.readouterr().out
    _, newest = launched(store, "b", "math")
    assert main(["status", "--output-dir", str(store.root)]) == 0
    said = capsys.readouterr().out
    assert sweep.name in said
    assert f"sweep {newest.name}" in said
    assert main(["status", newest.name, "--output-dir", str(store.root)]) == 0
    assert "sweeps in" not in capsys.readouterr().out
    assert asked(capsys, "status", "--output-dir", str(store.root))["sweep"] == newest.name
