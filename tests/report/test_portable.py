"""A report is read elsewhere and published: no file of it names a folder of the machine that made it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sweeps import made
from values import benchmark, component, request

from sft_sweeps.plan.build import build
from sft_sweeps.report.page import evidence
from sft_sweeps.report.write import write
from sft_sweeps.store.store import RECORD, Store
from sft_sweeps.store.sweeps import portable


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("study=paper output_dir=/scratch/me/out train.seed=1", "study=paper train.seed=1"),
        ("data.path=/home/me/rows.jsonl", "data.path=.../rows.jsonl"),
        ("data.paths=[/home/me/a.jsonl,~/b/c.jsonl]", "data.paths=[.../a.jsonl,.../c.jsonl]"),
        (
            "data.fraction=1/4 model=llama7b model.path=here/llama",
            "data.fraction=1/4 model=llama7b model.path=here/llama",
        ),
    ],
)
def test_a_point_is_said_without_folders_of_the_machine(typed: str, shown: str) -> None:
    assert portable(typed) == shown


@given(st.lists(st.sampled_from(["study=paper", "strategy.k=1/4,1/16", "data.fraction=1", "+a.b=c/d"])))
def test_what_names_no_folder_is_said_as_it_was_typed(words: list[str]) -> None:
    assert portable(" ".join(words)) == " ".join(words)


def test_no_file_of_a_report_names_where_the_store_lies(tmp_path: Path) -> None:
    root = tmp_path / "the_store"
    asked = request((component("math"),), benchmarks=(benchmark(ability="math"), benchmark("other", ability="math")))
    plan = build([(f"data=math output_dir={root} data.path={root}/rows.jsonl", asked)])

    sweep = made(root, plan, lambda _: [True, False] * 10)
    record = Store(root).score(plan.scores[-1]) / RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"score": {"metric": "accuracy"}}))
    written = write([evidence.read(sweep, root)], tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > len(written) > 3
    assert [path.name for path in files if str(tmp_path).encode() in path.read_bytes()] == []
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["runs"][0]["points"] == ["data=math data.path=.../rows.jsonl"]
    assert "remove stages/" in told["missing"][0], "what to remove is still said"
