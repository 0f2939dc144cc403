"""Published benchmarks from configuration to items: pinned, limited, of the user's own, and refused when changed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from common import Points
from values import generation

from sft_sweeps.benchmarks.registry import BENCHMARKS, definition_of, items_of
from sft_sweeps.config.checks import problems
from sft_sweeps.config.resolve import request
from sft_sweeps.errors import RequestError
from sft_sweeps.identity import plain, revive
from sft_sweeps.plan.build import build, score_of
from sft_sweeps.spec.evaluation import Benchmark


def benchmarks(points: Points, *line: str) -> dict[str, Benchmark]:
    (point,) = points("model=llama7b", "strategy=base", "evaluate=paper", *line)
    return {benchmark.name: benchmark for benchmark in request(point.config).benchmarks}


def test_the_papers_benchmarks_are_pinned_and_whole(points: Points) -> None:
    found = benchmarks(points)
    assert {name: (b.examples, b.total, b.ability) for name, b in found.items()} == {
        "gsm8k": (1319, 1319, "math"),
        "humaneval": (164, 164, "code"),
        "mt_bench": (80, 80, "general"),
    }
    assert all(b.content.startswith("sha256:") for b in found.values())
    assert found["mt_bench"].judge is not None
    assert found["mt_bench"].judge.model == "gpt-4-0613"


def test_a_limit_is_another_generation_of_the_same_benchmark(points: Points) -> None:
    whole, limited = benchmarks(points)["gsm8k"], benchmarks(points, "evaluate.examples=32")["gsm8k"]
    assert (limited.examples, limited.total, limited.content) == (32, 1319, whole.content)
    assert generation(name="x").id != generation(name="x", examples=9).id


def test_another_judge_changes_scores_alone(points: Points) -> None:
    made = []
    for judge in ("gpt-4-0613", "other"):
        line = ("evaluate.benchmarks=[mt_bench]", f"evaluate.mt_bench.judge.model={judge}")
        (point,) = points("model=llama7b", "strategy=base", "evaluate=paper", *line)
        made.append(build([("x", request(point.config))]).generations[0])
    assert made[0].id == made[1].id
    assert score_of(made[0]).id != score_of(made[1]).id


def test_a_file_of_ones_own_is_known_by_its_content(points: Points, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"#### {n}"}) + "\n" for n in range(5)))
    found = benchmarks(points, f"evaluate.gsm8k.path={path}", "evaluate.benchmarks=[gsm8k]")["gsm8k"]
    assert (found.examples, found.content) == (5, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    assert [(item.turns, item.gold) for item in items_of(found)][4] == (("4?",), {"answer": "4"})
    path.write_text(path.read_text().replace("4?", "5?"))
    with pytest.raises(RequestError, match=r"evaluate\.gsm8k: .* is not the planned sha256"):
        items_of(found)
    path.unlink()
    with pytest.raises(RequestError, match=r"Place the file there, or set evaluate\.gsm8k\.path=FILE"):
        items_of(found)


def test_humaneval_needs_no_file_and_asks_in_styles(points: Points) -> None:
    line = ("evaluate.benchmarks=[humaneval]", "evaluate.humaneval.style=prefill", "evaluate.examples=2")
    items = items_of(benchmarks(points, *line)["humaneval"])
    assert [item.id for item in items] == ["HumanEval/0", "HumanEval/1"]
    assert items[0].opening.startswith("```python\nfrom typing import List")


def test_temperatures_are_the_categories(points: Points, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    categories = ("writing", "math", "stem", "poetry")
    rows = [{"question_id": n, "category": name, "turns": ["a", "b"]} for n, name in enumerate(categories)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = benchmarks(points, "evaluate.benchmarks=[mt_bench]", f"evaluate.mt_bench.path={path}")["mt_bench"]
    assert [item.temperature for item in items_of(found)] == [0.7, 0.0, 0.1, 0.7]


@pytest.mark.parametrize("text", ["{}\n", '{"question": 1, "answer": "#### 2"}\n', "[]\n", "{\n"])
def test_files_in_another_layout_are_refused(text: str, points: Points, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(RequestError, match=r"row 1 of|line 1 of|gsm8k asks nothing: it has no items"):
        items_of(benchmarks(points, "evaluate.benchmarks=[gsm8k]", f"evaluate.gsm8k.path={path}")["gsm8k"])


def test_a_new_scorer_scores_kept_answers_again() -> None:
    """Its version is in the score's identity and in no other; a plan without it is one of version 1."""
    first, second = generation(name="gsm8k"), generation(name="gsm8k", scorer_version=2)
    assert first.id == second.id
    assert score_of(first).id != score_of(second).id
    assert plain(second.benchmark) == plain(first.benchmark) | {"scorer_version": 2}
    assert [revive(Benchmark, plain(one.benchmark)) for one in (first, second)] == [first.benchmark, second.benchmark]


def test_every_benchmark_is_planned_with_its_own_version(points: Points) -> None:
    (point,) = points("model=mini", "data=mini", "train=mini", "evaluate=mini")
    planned = list(request(point.config).benchmarks)
    assert len(planned) == 3
    assert all(one.scorer_version == definition_of(one).version for one in planned)


def test_an_unknown_benchmark_is_named_with_the_nearest(points: Points) -> None:
    (point,) = points("model=mini", "data=mini", "train=mini", "evaluate=mini", "evaluate.benchmarks=[mini_maths]")
    (text,) = problems(point.config)
    assert text.startswith("evaluate.benchmarks=mini_maths is unknown; valid: gsm8k, ")
    assert text.endswith("did you mean evaluate.benchmarks=mini_math?")
    with pytest.raises(RequestError, match="benchmark mini_maths is unknown"):
        definition_of("mini_maths")


@pytest.mark.parametrize(
    ("resolved", "problem"),
    [
        ((), "evaluate.benchmarks=mini_math asks nothing: it has no items here"),
        (("mini_math", 0), "evaluate.benchmarks=mini_math asks nothing"),
        (("mini_maths", 5), "evaluate.benchmarks=mini_math resolves to mini_maths"),
    ],
)
def test_a_benchmark_that_asks_nothing_or_anothers_items_is_an_error(
    resolved: tuple[str, int], problem: str, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a sweep would end as scored with nothing of it."""
    line = ("model=mini", "data=mini", "train=mini", "evaluate=mini", "evaluate.benchmarks=[mini_math]")
    (point,) = points(*line)
    (benchmark,) = request(point.config).benchmarks
    asked = (replace(benchmark, name=resolved[0], examples=resolved[1]),) if resolved else ()
    broken = replace(definition_of("mini_math"), resolve=lambda *_: asked)
    monkeypatch.setitem(BENCHMARKS.all, "mini_math", broken)
    with pytest.raises(RequestError) as caught:
        request(point.config)
    assert problem in str(caught.value)
