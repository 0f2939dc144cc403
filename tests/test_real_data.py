"""The same command on real data: GSM8K's golds and Code Alpaca. Skipped, loudly, where they are not at hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT

DATA = ROOT.parent / "shared" / "data" / "train"
FILES = {"math": DATA / "gsm8k_train.jsonl.gz", "code": DATA / "code_alpaca_20k.jsonl.gz"}


@pytest.mark.slow
@pytest.mark.long  # real rows are encoded and read in quick tests too; that training learns: test_pipeline.py
@pytest.mark.skipif(
    not all(path.exists() for path in FILES.values()),
    reason="REAL DATA NOT TESTED: no shared/data/train beside the project (GSM8K golds, Code Alpaca)",
)
def test_held_out_loss_falls_for_every_source_and_more_with_more_data(tmp_path: Path) -> None:
    command = [
        *(
            sys.executable,
            "launch.py",
            "-m",
            "model=mini",
            "train=mini",
            "tracking=none",
            "data=mixed",
            "~data.sources.general",
        ),
        "cluster=local",
        *(f"data.sources.{slot}.path={path}" for slot, path in FILES.items()),
        *(
            "strategy=base,multi_task",
            "data.fraction=1/64,1/256",
            "evaluate=heldout_loss",
            "evaluate.examples=32",
            f"output_dir={tmp_path}",
        ),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(next(tmp_path.glob("sweeps/*/report/results.json")).read_text())
    assert results["missing"] == []
    losses = {run["label"]: {name: s["value"] for name, s in run["scores"].items()} for run in results["runs"]}
    assert set(losses) == {"mini base", "mini multi_task (1/64)", "mini multi_task (1/256)"}
    for source in ("heldout_loss:gsm8k_train", "heldout_loss:code_alpaca_20k"):
        few, more = losses["mini multi_task (1/256)"][source], losses["mini multi_task (1/64)"][source]
        assert more < few < losses["mini base"][source]
    counts = {}
    for path in tmp_path.glob("stages/*/data.json"):
        sources = json.loads(path.read_text())["sources"]
        counts[path.parent.name.partition("_")[2][:2]] = {name: entry["examples"] for name, entry in sources.items()}
    # Six empty outputs of Code Alpaca are dropped before the fraction is taken.
    assert counts == {
        "64": {"gsm8k_train": 7473 // 64, "code_alpaca_20k": 20016 // 64},
        "25": {"gsm8k_train": 7473 // 256, "code_alpaca_20k": 20016 // 256},
    }
