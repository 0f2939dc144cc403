"""`sft-sweeps score` on files from anywhere: layouts, completeness, and everything that may be wrong with them."""

import gzip
import json
from pathlib import Path

import pytest
from common import ROOT

from sft_sweeps.benchmarks import humaneval
from sft_sweeps.benchmarks.gsm8k import RULES
from sft_sweeps.commands import main

ORACLES = ROOT.parent / "shared" / "data" / "oracles"
TASKS = [json.loads(line) for line in humaneval.packaged().decode().splitlines()]


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def math(count: int = 1319) -> list[dict]:
    return [{"id": f"q{n}", "completion": f"so\n#### {n}", "gold": str(n)} for n in range(count)]


def code(count: int = 164) -> list[dict]:
    return [{"task_id": row["task_id"], "completion": row["canonical_solution"]} for row in TASKS[:count]]


def scored(tmp_path: Path, benchmark: str, rows: list[dict], *more: str) -> dict:
    out = tmp_path / "out.json"
    file = written(tmp_path / "in.jsonl", rows)
    assert main.main(["score", benchmark, str(file), "--out", str(out), *more]) == 0
    return json.loads(out.read_text())


def test_gsm8k(tmp_path: Path) -> None:
    rows = math()
    rows[3]["completion"], rows[5]["completion"], rows[7]["completion"] = "The answer is $3.00.", "", "x" * 10**6
    found = scored(tmp_path, "gsm8k", rows)
    assert [item["id"] for item in found["items"]] == [row["id"] for row in rows]
    assert found["items"][3]["verdicts"] == {name: name == "hierarchical" for name in RULES}
    assert {name: found["scores"][name]["k"] for name in RULES} == {
        **dict.fromkeys(RULES, 1316),
        "hierarchical": 1317,
    }
    assert found["scores"]["format_rate"]["k"] == 1316
    assert (found["headline"], found["partial"]) == ("hierarchical", False)


def test_a_partial_set_is_refused_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path / "in.jsonl", math(165)), tmp_path / "out.json"
    assert main.main(["score", "gsm8k", str(file), "--out", str(out)]) == 2
    assert "answers 165 of the 1,319 GSM8K items; score what is there, named as partial, with --partial" in (
        capsys.readouterr().err
    )
    assert not out.exists()
    assert main.main(["score", "gsm8k", str(file), "--out", str(out), "--partial"]) == 0
    assert "this is not its score" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert (found["partial"], found["total"], found["scores"]["hierarchical"]["n"]) == (True, 1319, 165)


def without(key: str) -> list[dict]:
    rows = math(3)
    del rows[1][key]
    return rows


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no rows"),
        ("\n\n", "has no rows"),
        ("{not json}\n", "line 1 of"),
        ("[1]\n", "is not a JSON object"),
        (without("gold"), "row 2 of"),
        (without("completion"), "has no completion"),
        (without("id"), "has no id"),
        ([*math(3), math(1)[0]], "id q0 occurs 2 times"),
        ([{"id": "a", "completion": 5, "gold": "1"}], "completion must be text"),
        ([{"id": "a", "completion": "5", "gold": "many"}], "is not a number"),
        (math(1320), "answers 1,320 of the 1,319"),
    ],
)
def test_bad_files_are_one_clear_message(
    content: str | list, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    written(file, content) if isinstance(content, list) else file.write_text(content)
    assert main.main(["score", "gsm8k", str(file), "--out", str(tmp_path / "out.json"), "--partial"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error ")
    assert says in told


@pytest.mark.parametrize("how", ["absent", "folder", "binary", "no folder for the result"])
def test_files_that_cannot_be_read_or_written(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path / "in.jsonl", math(2)), tmp_path / "out.json"
    if how == "absent":
        file.unlink()
    elif how == "folder":
        file = tmp_path
    elif how == "binary":
        file.write_bytes(b"\xff\xfe\x00")
    else:
        out = tmp_path / "none" / "out.json"
    assert main.main(["score", "gsm8k", str(file), "--out", str(out), "--partial"]) == 2
    assert capsys.readouterr().err.startswith("error ")


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in math(4)).encode()))
    assert main.main(["score", "gsm8k", str(file), "--out", str(tmp_path / "o.json"), "--partial"]) == 0


def test_humaneval_runs_prompt_and_completion(tmp_path: Path) -> None:
    rows = code(4)
    rows[1]["completion"] = "    import os; os._exit(0)\n"
    rows[2]["completion"] = "    return 'passed'\n"
    rows.append({"task_id": rows[3]["task_id"], "completion": "    return None\n"})
    found = scored(tmp_path, "humaneval", rows, "--partial")
    assert [(item["task_id"], item["passed"]) for item in found["items"]] == [
        ("HumanEval/0", True),
        ("HumanEval/1", False),
        ("HumanEval/2", False),
        ("HumanEval/3", True),
        ("HumanEval/3", False),
    ]
    assert found["items"][1]["reason"] == "ended before the checks did"
    assert found["scores"]["pass@1"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert (found["samples"], found["partial"]) == ({"least": 1, "most": 2}, True)
    assert "limits" in found["sandbox"]


def test_humaneval_of_chat_answers(tmp_path: Path) -> None:
    rows = [{**row, "completion": f"Sure:\n```python\n{row['completion']}\n```"} for row in code(3)]
    assert scored(tmp_path, "humaneval", rows, "--partial", "--extract", "--strict")["scores"]["pass@1"] == 1.0
    assert scored(tmp_path, "humaneval", rows, "--partial")["scores"]["pass@1"] == 0.0


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        ([{"task_id": "HumanEval/999", "completion": ""}], ["--partial"], "its task_id is none of HumanEval's"),
        ([{"completion": ""}], ["--partial"], "it has no task_id"),
        ([{"task_id": "HumanEval/1"}], ["--partial"], "it has no completion"),
        (code(2), [], "answers 2 of the 164 tasks"),
        (code(2), ["--partial", "--isolation", "jail"], "--isolation jail is unknown"),
        (code(2), ["--partial", "--isolation", "none"], "--i-accept-running-untrusted-code"),
        (code(2), ["--partial", "--require", "forge"], "the sandbox has no forge"),
    ],
)
def test_humaneval_refuses(
    rows: list[dict], more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "in.jsonl", rows)
    status = main.main(["score", "humaneval", str(file), "--out", str(tmp_path / "o.json"), *more])
    assert status == (1 if "forge" in says else 2)
    assert says in capsys.readouterr().err


@pytest.mark.skipif(
    not ORACLES.is_dir(), reason="SCORE COMMAND NOT TESTED ON ORACLES: no shared/data beside the project"
)
def test_recorded_gsm8k_outputs(tmp_path: Path) -> None:
    with gzip.open(ORACLES / "gsm8k_scorer.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:660]
    given = [{"id": row["id"], "completion": row["output"], "gold": row["gold"]} for row in rows]
    found = scored(tmp_path, "gsm8k", given, "--partial")
    for item, row in zip(found["items"], rows, strict=True):
        assert item["verdicts"]["screl_strict"] == row["verdict"]["screl"]
        assert item["verdicts"]["lm_eval_flexible"] == row["verdict"]["lm_eval_flexible"]
