"""What another distribution adds by entry points alone: nothing of this package names it, and a sweep runs with it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT

ENTRY_POINTS = """
[sft_sweeps.benchmarks]
sums = outside_benchmark:SUMS

[sft_sweeps.strategies]
backwards = outside_strategy:BACKWARDS

[sft_sweeps.trackers]
notes = outside_tracker:NOTES

[sft_sweeps.formats]
barred = outside_format:BARRED
"""
SUMS = [{"question": f"What is {n} + {n}?", "answer": 2 * n} for n in range(3)]


def announced(folder: Path, entry_points: str = ENTRY_POINTS) -> Path:
    """A distribution as an installer leaves it: modules, and a .dist-info folder with its entry points."""
    shutil.copytree(ROOT / "tests" / "outside", folder)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    return folder


def launch(distribution: Path, *overrides: str, status: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(distribution), str(ROOT)))}
    command = [sys.executable, str(ROOT / "launch.py"), "model=mini", "train=mini", "cluster=local", *overrides]
    done = subprocess.run(
        command, cwd=distribution.parent, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == status, text
    assert "Traceback" not in text
    return text


@pytest.mark.slow
@pytest.mark.long  # what it adds is registered and planned: the quick tests below, test_strategies.py
def test_a_sweep_runs_with_what_another_distribution_adds(tmp_path: Path) -> None:
    distribution = announced(tmp_path / "site")
    questions, examples = tmp_path / "sums.jsonl", tmp_path / "barred.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    examples.write_text("".join(json.dumps({"text": f"{n} + {n} | #### {2 * n}"}) + "\n" for n in range(32)))
    text = launch(
        distribution,
        *("data=mini_math", "data.sources.math.generated=false", "train.epochs=1"),
        *(f"data.sources.math.path={examples}", "data.sources.math.format=barred"),
        *("strategy.name=backwards", "tracking.name=notes", f"output_dir={tmp_path / 'out'}"),
        *("evaluate=mini", "evaluate.examples=2", "evaluate.benchmarks=[mini_math,sums]", "evaluate.max_new_tokens=4"),
        *(f"evaluate.sums.path={questions}", "evaluate.sums.max_new_tokens=4"),
    )
    assert "sums" in text
    results = json.loads(next(tmp_path.glob("out/sweeps/*/report/results.json")).read_text())
    (run,) = results["runs"]
    assert results["missing"] == []
    assert run["strategy"] == "backwards"
    scores = run["scores"]
    assert (scores["sums"]["metric"], scores["sums"]["n"], scores["sums"]["total"]) == ("accuracy", 2, 3)
    assert scores["mini_math"]["n"] == 2
    (notes,) = (tmp_path / "out").glob("stages/*/notes.txt")
    assert re.match(r"mini--math: \d+ lines, done", notes.read_text())
    assert (
        next(tmp_path.glob("out/sweeps/*/notes.txt")).read_text().endswith("what came out: 0 lines, done, 30 s left\n")
    )
    assert json.loads(notes.with_name("data.json").read_text())["examples"] == 32


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("evaluate.benchmarks=[sum]", "evaluate.benchmarks=sum is unknown; valid: gsm8k, "),
        ("evaluate.benchmarks=[sum]", "did you mean evaluate.benchmarks=sums?"),
        ("+evaluate.sums.pathh=x", "unknown key evaluate.sums.pathh; did you mean evaluate.sums.path?"),
        ("evaluate.sums.samples=0", "evaluate.sums.samples=0 must be a number of at least 1"),
        ("evaluate.sums.path=nowhere.jsonl", "there is no benchmark file nowhere.jsonl"),
    ],
)
def test_what_it_adds_is_checked_like_our_own(override: str, problem: str, tmp_path: Path) -> None:
    listed = () if "benchmarks=" in override else ("evaluate.benchmarks=[sums]",)
    text = launch(announced(tmp_path / "site"), "evaluate=none", "action=plan", *listed, override, status=2)
    assert problem in " ".join(text.split())


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("sums = outside_benchmark:ABSENT", "cannot be loaded"),
        ("sums = outside_benchmark:items", "is not a BenchmarkDefinition of that name"),
        ("other = outside_benchmark:SUMS", "is not a BenchmarkDefinition of that name"),
        ("gsm8k = outside_benchmark:SUMS", "has the name of another benchmark"),
    ],
)
def test_a_distribution_that_is_wrong_is_named(entry: str, problem: str, tmp_path: Path) -> None:
    distribution = announced(tmp_path / "site", f"[sft_sweeps.benchmarks]\n{entry}\n")
    text = launch(distribution, "action=plan", status=2)
    assert problem in text
    assert len(text.splitlines()) == 1
