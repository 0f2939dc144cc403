"""Representations from end to end, by the real command on real processes: taken, drawn, and taken again where lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from common import ROOT

# `long`: what the job computes, draws and loses is generate/test_represent.py's, report/test_represented.py's
pytestmark = [pytest.mark.slow, pytest.mark.long]
QUERIES = 12
LINE = [
    "model=mini",
    "train=mini",
    "data=mini",
    "strategy=dmt",
    "strategy.k=1/4",
    "evaluate=none",
    "analysis=representations",
    f"analysis.representations.queries={QUERIES}",
    "tracking=none",
    "train.epochs=1",
    "data.sources.math.rows=96",
    "data.sources.code.rows=64",
    "data.sources.general.generated=false",
]


def run(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A base model and DMT from it; the general source is a file, which a job encodes before anything reads it."""
    folder = tmp_path_factory.mktemp("represented")
    rows = [
        {"conversations": [{"from": "human", "value": f"Say {n}."}, {"from": "gpt", "value": f"{n}"}]}
        for n in range(40)
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [*LINE, f"data.sources.general.path={folder}/chats.jsonl", f"output_dir={folder}/store"]


def launch(line: list[str]) -> str:
    return run(sys.executable, "launch.py", "cluster=local", *line)


def test_taken_drawn_and_taken_again_where_lost(line: list[str]) -> None:
    store = Path(line[-1].removeprefix("output_dir="))
    text = launch(line)
    assert "representations of 2 to take" in text
    records = sorted(store.glob("*/*/representations/*/record.json"))
    assert len(records) == 6
    assert {json.loads(record.read_text())["n"] for record in records} == {QUERIES}
    (report,) = store.glob("sweeps/*/report")
    (found,) = json.loads((report / "results.json").read_text())["representations"]
    assert [panel["label"] for panel in found["panels"]] == ["mini (base)", "mini dmt k=1/4"]
    assert {len(panel["points"]) for panel in found["panels"]} == {3 * QUERIES}
    assert {path.suffix for path in (report / "figures").glob("figure5.*")} == {".pdf", ".png", ".svg"}

    trained = {path: path.stat().st_mtime_ns for path in store.glob("stages/*/record.json")}
    records[-1].unlink()
    text = launch(line)
    assert "0 of 2 stages to train" in text
    assert "representations of 1 to take" in text
    assert {path: path.stat().st_mtime_ns for path in store.glob("stages/*/record.json")} == trained
    assert records[-1].is_file()
    again = json.loads((report / "results.json").read_text())["representations"]
    assert again == [found]  # to the last bit: one prompt at a time, on the same threads

    shown: Any = json.loads(command("show", "mini dmt k=1/4", store))
    assert [one["state"] for one in shown["analyses"]] == ["done"] * 3
    assert json.loads(command("status", "", store))["analyses"] == {"done": 6, "total": 6}


def command(name: str, what: str, store: Path) -> str:
    words = [what] if name == "show" else []
    return run(sys.executable, "-m", "sft_sweeps.commands.main", name, *words, "--output-dir", str(store), "--json")
