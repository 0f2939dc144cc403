"""`action=plan`: what is printed, the JSON that scripts read, and nothing else left behind."""

import json
from pathlib import Path

from common import Launch


def test_k_for_a_strategy_without_k_is_a_note(launch: Launch) -> None:
    done = launch("model=mini", "data=mini", "train=mini", "strategy.k=1/4,1/16", "evaluate=none", "action=plan")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "strategy.k means nothing to strategy=multi_task and is ignored (2 points)" in done.stdout
    assert "2 points are the same run, mini multi_task: " in done.stdout
    assert "2 rows, 1 distinct run; " in done.stdout


TOTALS = {
    "runs",
    "distinct_runs",
    "stages_naive",
    "stages",
    "stages_done",
    "stages_to_run",
    "merges",
    "merges_done",
    "gpu_hours_naive",
    "gpu_hours",
    "disk_gb",
}
STAGE = {"id", "label", "parent", "mixture", "model", "gpus", "gpu_hours", "state", "why", "runs"}


def test_a_plan_needs_no_data_and_writes_its_json_alone(launch: Launch, tmp_path: Path) -> None:
    """`study=table1 model=llama7b` keeps 7B's seven rows."""
    arguments = ["study=table1", "model=llama7b", "action=plan"]
    done = launch(*arguments, "plan.output=plan.json", f"output_dir={tmp_path}/store/deep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert [path.name for path in tmp_path.rglob("*")] == ["plan.json"]
    data = json.loads((tmp_path / "plan.json").read_text())
    assert {"runs", "stages", "generations", "scores", "totals"} <= set(data)
    assert set(data["totals"]) == TOTALS
    assert [len(data["runs"]), len(data["stages"]), data["totals"]["stages_naive"]] == [7, 9, 11]
    assert all(set(stage) >= STAGE for stage in data["stages"])
    entries = [entry for stage in data["stages"] for entry in stage["mixture"]]
    assert all(set(entry) == {"ability", "source", "fraction", "examples"} for entry in entries)
    assert {"ability": "math", "source": "gsm8k_rft", "fraction": "1/256", "examples": 430} in entries
    ids = {stage["id"] for stage in data["stages"]}
    assert all(set(run["stages"]) <= ids for run in data["runs"])
    assert {run["model"] for run in data["runs"]} == {"llama7b"}
