"""`sft-sweeps score` on files whose rows hold anything: scored, or refused in one line; never a traceback."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from common import ROOT
from fast_chat import command, fast_chat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_sweeps.benchmarks import from_file, humaneval
from sft_sweeps.commands import main
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import parse
from sft_sweeps.sandbox.run import Outcome

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=5)
    | st.sampled_from(["81", "HumanEval/0", "m", "[[5]]", "#### 3", "1e999", "nan", "single"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "turns", "choices"]), inner),
    max_leaves=4,
)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of every value inside a value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


@st.composite
def changed(draw: st.DrawFn, row: dict) -> Any:
    """The row with one value of it, at any depth, replaced by anything, or gone."""
    row = json.loads(json.dumps(row))
    place = draw(st.sampled_from(places(row)))
    if not place:
        return draw(ANYTHING)
    inside = row
    for key in place[:-1]:
        inside = inside[key]
    if isinstance(inside, dict) and draw(st.integers(0, 5)) == 0:
        del inside[place[-1]]
    else:
        inside[place[-1]] = draw(ANYTHING)
    return row


def status(arguments: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        return main.main(arguments), err.getvalue()


def holds(arguments: list[str]) -> None:
    code, told = status(arguments)
    assert code in (0, 2), told
    assert code == 0 or (told.startswith("error ") and "Traceback" not in told)


GSM8K = {"id": "q", "completion": "#### 3", "gold": "3"}
LOGGED = {"doc_id": 0, "doc": {"answer": "#### 3"}, "target": "3", "resps": [["#### 3"]], "filter": "strict-match"}
HUMANEVAL = {"task_id": "HumanEval/0", "completion": "    return 1\n", "solution": "x = 1"}
TASK = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "test": "def check(f): pass"}
JUDGED = {"question_id": 81, "model": "m", "turn": 1, "score": 5, "judgment": "[[5]]", "judge": ["j", "p"]}


@FEW
@given(st.sampled_from([GSM8K, LOGGED]).flatmap(changed), st.booleans())
def test_gsm8k(tmp_path: Path, row: Any, array: bool) -> None:
    file = tmp_path / "in"
    file.write_text(json.dumps([row]) if array else json.dumps(row))
    holds(["score", "gsm8k", str(file), "--out", str(tmp_path / "o.json"), "--partial"])


@FEW
@given(st.tuples(changed(HUMANEVAL), st.just(TASK)) | st.tuples(st.just(HUMANEVAL), changed(TASK)), st.booleans())
def test_humaneval(tmp_path: Path, rows: tuple[Any, Any], extracted: bool) -> None:
    row, task = rows
    file, tasks = tmp_path / "in", tmp_path / "tasks"
    file.write_text(json.dumps(row))
    tasks.write_text(json.dumps(task))
    more = ["--tasks", str(tasks), *(["--extract"] if extracted else [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(humaneval, "run_programs", lambda pairs, *_: [Outcome(False, "not run")] * len(pairs))
        holds(["score", "humaneval", str(file), "--out", str(tmp_path / "o.json"), "--partial", *more])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fastchat")
    return {**fast_chat(folder), "judgments": folder / "judgments.jsonl"}


@pytest.mark.parametrize("name", ["answers", "questions", "prompts", "references", "judgments"])
@settings(FEW, max_examples=40)
@given(data=st.data())
def test_mt_bench(bench: dict[str, Path], tmp_path: Path, name: str, data: st.DataObject) -> None:
    bench["judgments"].write_text(json.dumps(JUDGED))
    before = bench[name].read_text()
    rows = [json.loads(line) for line in before.splitlines()][:80]
    rows[0] = data.draw(changed(rows[0]))
    bench[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        more = ["--judgments", str(bench["judgments"]), "--partial"]
        holds(command(bench, tmp_path / "o.json", *more))
    finally:
        bench[name].write_text(before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"id": 1, "id": 2}', "names 'id' twice"),
        ('{"id": {"a": 1, "a": 1}}', "names 'a' twice"),
        ('{"id": NaN}', "NaN is no number"),
        ('{"id": [-Infinity]}', "-Infinity is no number"),
        ('{"id": 1e999}', "1e999 is no number"),
        ('{"id": "\\ud800"}', "half a surrogate pair"),
        ('{"id": ' + "[" * 10**5 + "]" * 10**5 + "}", "nested too deeply"),
        ('{"a":' * 10**5, "nested too deeply"),
    ],
)
def test_what_readers_take_differently_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text, strict=True)
    for whole in (text, f'{{"id": 0}}\n{text}\n', f"[{text}]", f'\ufeff[{{"id": 0}},\n{text}]'):
        (tmp_path / "in").write_text(whole)
        with pytest.raises(RequestError) as refused:
            from_file.read(tmp_path / "in")
        assert "nested too deeply" in str(refused.value) or says in str(refused.value)


CONTAINERS: dict[str, Callable[[list[dict]], bytes]] = {
    "lines": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "BOM": lambda rows: b"\xef\xbb\xbf" + "\n".join(map(json.dumps, rows)).encode(),
    "CRLF": lambda rows: "\r\n".join(map(json.dumps, rows)).encode(),
    "array": lambda rows: json.dumps(rows).encode(),
    "pretty array with a BOM": lambda rows: b"\xef\xbb\xbf" + json.dumps(rows, indent=2).encode(),
    "line separators inside": lambda rows: "\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode(),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_is_read_whatever_holds_its_rows(container: str, tmp_path: Path) -> None:
    rows = [{"id": n, "completion": f"a\u2028b\nThe answer is {n}.", "gold": n} for n in range(5)]
    (tmp_path / "in").write_bytes(CONTAINERS[container](rows))
    assert from_file.read(tmp_path / "in") == rows


@pytest.mark.parametrize("gold", ["3", 3, 3.0, "$3.00", " 3 ", "so\n#### 3", "1,003"])
def test_layouts_of_gsm8k(gold: str | float, tmp_path: Path) -> None:
    """Ours, lm-eval's (a row for each filter), an answer in a list, and completions alone with the test file."""
    right = str(gold)[-4:].strip(" $#") if gold != "1,003" else "1003"
    text = f"#### {right}"
    test = [{"question": "q?", "answer": f"#### {gold}"} for _ in range(3)] if isinstance(gold, str) else []
    (tmp_path / "test").write_text("".join(json.dumps(row) + "\n" for row in test))
    logged = {"doc_id": 2, "doc": {"answer": str(gold)}, "target": str(gold), "resps": [[text]]}
    files = [
        [{"id": 2, "completion": text, "gold": gold}],
        [{"id": 2, "completion": [text], "gold": gold}],
        [{**logged, "filter": name} for name in ("strict-match", "flexible-extract")],
        *([[{"id": id_, "completion": text}] for id_ in (2, "2", "gsm8k/test/2")] if test and "#" not in gold else []),
    ]
    for rows in files:
        (tmp_path / "in").write_text("".join(json.dumps(row) + "\n" for row in rows))
        more = ["--questions", str(tmp_path / "test")] if "gold" not in rows[0] and "doc" not in rows[0] else []
        out = tmp_path / "o.json"
        code, told = status(["score", "gsm8k", str(tmp_path / "in"), "--out", str(out), "--partial", *more])
        assert code == 0, told
        found = json.loads(out.read_text())
        assert [item["verdicts"]["hierarchical"] for item in found["items"]] == [True]


def test_an_answer_without_a_gold_says_how_it_gets_one(tmp_path: Path) -> None:
    (tmp_path / "in").write_text('{"id": 0, "completion": "3"}')
    code, told = status(["score", "gsm8k", str(tmp_path / "in"), "--out", str(tmp_path / "o.json"), "--partial"])
    assert code == 2
    assert "it has no gold, and --questions FILE, GSM8K's test.jsonl, adds it by id" in told


def test_the_cases_are_files_of_this_kind() -> None:
    folder = ROOT.parent / "shared" / "cases" / "22-score-files"
    if not folder.is_dir():
        pytest.skip("SCORE FILES THAT SHOWED A FAULT NOT TESTED: no shared/cases beside the project")
    for path in folder.iterdir():
        assert len(from_file.read(path)) == 5
