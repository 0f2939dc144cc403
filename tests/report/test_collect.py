"""What a frozen plan and a store say: every number with its evidence, every missing score by name."""

import json
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import accuracy, finish, loss
from rich.console import Console
from values import benchmark, component, mixed, model, request, source

from sft_sweeps import identity
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.benchmarks.scored import accuracy as accuracy_of
from sft_sweeps.commands.status import rows as status
from sft_sweeps.commands.status import tables as status_tables
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import write_json
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import tables
from sft_sweeps.report.collect import Results, collect, to_json
from sft_sweeps.stats import proportion
from sft_sweeps.store import sweeps
from sft_sweeps.store.claims import take
from sft_sweeps.store.store import Store, check_identity
from sft_sweeps.tracking import metrics

MATH, HELD = benchmark(), benchmark("heldout_loss:math", source=source("math"), examples=8)
CONFIDENT = "17.7% (29/164) [12.6–24.2]"


@pytest.fixture
def plan() -> Plan:
    """Math alone, and code, math, general in sequence; two benchmarks after every stage; math is held out of none."""
    shared: dict[str, Any] = {"every_stage": True, "benchmarks": (MATH, HELD)}
    return build(
        [
            ("a", request((component("math", fraction=Fraction(1, 4)),), **shared)),
            ("b", request(mixed(Fraction(1, 2)), "sequential", **shared)),
            ("c", request(strategy="base", **shared)),
        ]
    )


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    """Everything is scored but the middle stage's accuracy."""
    made = Store(tmp_path / "store")
    for number, score in enumerate(plan.scores):
        of = score.generation.benchmark.name
        if of == HELD.name:
            loss(made, score, 2.0 + number / 8, 8)
        elif score.generation.subject.id != plan.runs[1].stages[1].id:
            accuracy(made, score, *((29, 164) if score.generation.subject.id == plan.runs[0].id else (10 - number, 10)))
    return made


@pytest.fixture
def results(plan: Plan, store: Store) -> Results:
    assert len(plan.scores) == 2 * (1 + 3 + 1)
    return collect(plan, store, "sweep-1", "What is kept?")


def test_what_is_missing_is_named(results: Results, plan: Plan) -> None:
    assert results.missing == (f"mini_math of {plan.runs[1].stages[1].label}",)
    assert results.missing == ("mini_math of mini--code@1_2--math@1_2",)
    assert f"Missing: {results.missing[0]}" in tables.markdown(results)


def test_nothing_scored_is_all_missing(plan: Plan, tmp_path: Path) -> None:
    found = collect(plan, Store(tmp_path / "empty"), "s")
    assert len(found.missing) == 10
    assert all(row.scores == {} for row in found.rows)
    assert [cells[1:] for cells in tables.final(found)[1]] == [["-", "-"]] * 3
    assert list(tmp_path.iterdir()) == []


def test_the_final_table(results: Results) -> None:
    header, cells = tables.final(results)
    assert header == ["run", "mini_math", "held-out loss, math"]
    assert [row[0] for row in cells] == ["mini math only (1/4)", "mini sequential (1/2)", "mini base"]
    assert cells[0][1:] == [CONFIDENT, "2.125 (n=8) [1.875–2.375]"]
    assert cells[1][1:] == ["40.0% (4/10) [16.8–68.7]", "2.875 (n=8) [2.625–3.125]"]
    assert cells[2][1:] == ["20.0% (2/10) [5.7–51.0]", "3.125 (n=8) [2.875–3.375]"]


def test_the_stage_table_shows_every_stage_of_chains(results: Results) -> None:
    header, cells = tables.stages(results)
    assert header == ["run", "after stage", "mini_math", "held-out loss, math"]
    assert [row[:2] for row in cells] == [
        ["mini sequential (1/2)", "1 code 1/2"],
        ["", "2 math 1/2"],
        ["", "3 general 1/2"],
    ]
    assert [row[2] for row in cells] == ["80.0% (8/10) [49.0–94.3]", "-", "40.0% (4/10) [16.8–68.7]"]
    assert cells[-1][2:] == tables.final(results)[1][1][1:]


def test_a_base_model_that_is_scored_beside_the_runs_has_a_row(tmp_path: Path) -> None:
    plan = build([("x", request(base=model("mini"))), ("y", request(base=model("other")))])
    found = collect(plan, Store(tmp_path), "s")
    assert len(found.rows) == 2
    asked = [(name, request(base=model(name), base_model=True)) for name in ("mini", "other")]
    plan = build(asked)
    assert [row.run.label for row in collect(plan, Store(tmp_path), "s").rows][2:] == ["mini base", "other base"]


def test_two_sources_of_one_ability_are_both_named(tmp_path: Path) -> None:
    parts = (component("gsm8k", "math", Fraction(1, 4)), component("rft", "math"), component("more", "math"))
    found = collect(build([("x", request(parts))]), Store(tmp_path), "s")
    assert found.rows[0].after[0].label == "math 1/4+math"


def test_no_stage_table_where_only_the_end_is_scored(tmp_path: Path) -> None:
    plan = build([("x", request(strategy="sequential"))])
    store = Store(tmp_path)
    accuracy(store, plan.scores[0], 1, 2)
    assert tables.stages(collect(plan, store, "s"))[1] == []


def test_results_json(results: Results, plan: Plan, tmp_path: Path) -> None:
    assert tables.write(results, tmp_path / "new" / "out") == [
        tmp_path / "new" / "out" / name for name in ("results.json", "results.md", "results.csv")
    ]
    found = json.loads((tmp_path / "new" / "out" / "results.json").read_text())
    assert found.pop("findings").keys() == {"forgetting", "backward_transfer"}
    assert found == to_json(results)
    assert {key: type(value) for key, value in found.items()} == {
        "schema": int,
        "sweep": str,
        "question": str,
        "confidence": float,
        "benchmarks": list,
        "runs": list,
        "missing": list,
        "comparisons": list,
        "replicated": list,
        "representations": list,
        "unrepresented": list,
        "other_judges": list,
        "previews": list,
    }
    assert (found["sweep"], found["question"], found["confidence"]) == ("sweep-1", "What is kept?", 0.95)
    assert found["benchmarks"] == ["mini_math", "heldout_loss:math"]
    assert [run["id"] for run in found["runs"]] == [run.id for run in plan.runs]
    assert [run["strategy"] for run in found["runs"]] == ["multi_task", "sequential", "base"]
    assert [[s["id"] for s in run["stages"]] for run in found["runs"]] == [
        [s.id for s in run.stages] or [run.model.id] for run in plan.runs
    ]
    seen = 0
    ids = {score.id: score.generation.benchmark.name for score in plan.scores}
    for run in found["runs"]:
        assert set(run) == {"id", "label", "model", "strategy", "k", "seed", "points", "scores", "stages"}
        assert run["scores"] == run["stages"][-1]["scores"]
        for stage in run["stages"]:
            for name, score in stage["scores"].items():
                seen += 1
                assert set(score) == {
                    *("metric", "value", "low", "high", "n", "k", "total", "id"),
                    *("answers", "formatted", "unreadable", "format_rate"),
                }
                assert ids[score["id"]] == name
                assert score["low"] <= score["value"] <= score["high"]
                kept = score["k"] is None if name == HELD.name else score["k"] / score["n"] == score["value"]
                assert kept
    assert seen == 9


def test_a_run_has_its_k(tmp_path: Path) -> None:
    plan = build([("x", request(strategy="dmt", k=Fraction(1, 16)))])
    assert to_json(collect(plan, Store(tmp_path), "s"))["runs"][0]["k"] == "1/16"


def test_markdown(results: Results, tmp_path: Path) -> None:
    tables.write(results, tmp_path)
    text = (tmp_path / "results.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert text.startswith(
        "# sweep-1\n\nWhat is kept?\n\n| run | mini_math | held-out loss, math |\n| --- | --- | --- |\n"
    )
    assert "## After each stage" in text
    assert (len(rows), {line.count("|") for line in rows[:5]}, {line.count("|") for line in rows[5:]}) == (10, {4}, {5})
    assert CONFIDENT in rows[2]
    assert text.endswith(tables.FOOTNOTE + "\n")


LABEL = "mini path=a|b[red]c[/x].jsonl"


@pytest.fixture
def odd(results: Results) -> Results:
    """A run's label holds what its command line says, any path among it."""
    row = results.rows[1]
    return replace(results, rows=(replace(row, run=replace(row.run, label=LABEL)),))


def printed(thing: Any, *arguments: Any) -> str:
    out = Console(file=StringIO(), width=200, highlight=False)
    thing(*arguments, out)
    return out.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_pipes_do_not_end_cells(odd: Results) -> None:
    rows = [line for line in tables.markdown(odd).splitlines() if line.startswith("|")]
    assert sum(LABEL.replace("|", "\\|") in line for line in rows) == 2
    assert {line.replace("\\|", "").count("|") for line in rows} == {4, 5}


def test_the_terminal_shows_labels_as_they_are(odd: Results, results: Results) -> None:
    assert printed(tables.show, odd).count(LABEL) == 2
    text = printed(tables.show, results)
    assert CONFIDENT in text
    assert "missing 1 scores, e.g. mini_math of mini--code@1_2--math@1_2" in text
    assert "no benchmark is named" in printed(tables.show, replace(results, benchmarks=()))


IMPOSSIBLE = [
    {"value": -3.0},
    {"value": float("nan")},
    {"value": "2.0"},
    {"value": True},
    {"low": 9.0},
    {"high": 1.0},
    {"high": float("inf")},
    {"n": 0},
    {"n": -1},
    {"n": 8.0},
    {"k": 9},
    {"k": -1},
    {"total": 4},
    {"unreadable": 1},
    {"answers": 8, "formatted": 9},
]


@pytest.mark.parametrize("change", IMPOSSIBLE)
def test_an_impossible_score_is_missing_and_says_why(change: dict[str, Any], plan: Plan, store: Store) -> None:
    path = store.score(plan.scores[1]) / "record.json"
    record = json.loads(path.read_text())
    assert record["score"]["metric"] == "loss"
    path.write_text(json.dumps({**record, "score": record["score"] | change}))
    missing = collect(plan, store, "s").missing
    assert [text for text in missing if "cannot be trusted: its" in text and "remove stages/" in text] == [missing[0]]
    path.write_text(json.dumps({key: value for key, value in record.items() if key != "score"}))
    assert "it holds no score" in collect(plan, store, "s").missing[0]


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats())
def test_a_share_is_what_k_of_n_makes_it(counts: tuple[int, int], said: float) -> None:
    k, n = counts
    record = {"metric": "accuracy", "value": said, "low": said, "high": -said, "n": n, "k": k}
    found, right = Scored.from_record({"score": record}), proportion(k, n)
    assert (found.value, found.low, found.high) == (right.value, right.low, right.high)


def test_what_could_not_be_read_stands_in_every_table(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for number, score in enumerate(plan.scores):
        if score.generation.benchmark.name == HELD.name:
            loss(store, score, 2.0, 8)
        else:
            found = accuracy_of([True] * 2 + [False] * 8).read_as(10, 9 - number, number)
            finish(store, score, score=found.to_record())
    found = collect(plan, store, "s")
    first = found.rows[0].scores["mini_math"]
    assert first.text().endswith("; format 90.0%")
    assert found.rows[2].scores["mini_math"].text().endswith(", 8 unreadable")
    text = tables.markdown(found)
    assert text.count("; format") == 3 + 3  # final rows, and rows after stages
    json_of = to_json(found)["runs"][0]["scores"]
    assert json_of["mini_math"]["format_rate"] == 0.9
    assert json_of["heldout_loss:math"]["format_rate"] is None
    tables.write(found, tmp_path / "out")
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert lines[0].endswith(",answers,formatted,unreadable")
    assert sum(line.endswith(",10,9,0") for line in lines) == 1
    assert sum(line.endswith(",,,") for line in lines) == 5


@pytest.mark.parametrize("text", ["{", "[]", '{"payload": {}, "files": {}}'])
def test_a_score_that_cannot_be_trusted_is_missing(text: str, plan: Plan, store: Store) -> None:
    (store.score(plan.scores[0]) / "record.json").write_text(text)
    assert len(collect(plan, store, "s").missing) == 2


def test_a_frozen_plan_is_read_under_its_own_versions(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Components move on; what was trained and scored under the old ids is found under the old ids."""
    sweep = sweeps.freeze(plan, store, "mine", "Why?", ["a", "b", "c"])
    before = to_json(collect(plan, store, sweep.name))
    for name in ("loss", "batches", "generation", "heldout_loss"):
        monkeypatch.setitem(identity.VERSIONS, name, 99)
    old = sweeps.find(Store(store.root), "mine").plan()
    assert to_json(collect(old, Store(store.root), sweep.name)) == before
    assert [stage.id for stage in old.stages] == [stage.id for stage in plan.stages]
    again = build([("a", request((component("math"),)))])
    assert again.stages[0].payload["versions"]["loss"] == 99


def test_the_same_sweep_has_one_folder(plan: Plan, store: Store) -> None:
    first = sweeps.freeze(plan, store, "one", "", ["a", "b", "c"])
    assert (first.folder / "overrides.txt").read_text() == "a\nb\nc\n"
    assert sweeps.freeze(plan, store, "two", "", []) == first
    other = sweeps.freeze(build([("x", request())]), store, "", "Q", [])
    assert "-sweep-" in other.name
    assert [sweep.folder for sweep in sweeps.sweeps(store)] == sorted([first.folder, other.folder])
    assert sweeps.find(store, "one") == first
    with pytest.raises(RequestError, match=f"no sweep 'zzz' in .*; there are: .*{first.name}"):
        sweeps.find(store, "zzz")


@pytest.mark.parametrize("text", ["{", "3", "[1]", "{}", '{"spec": []}', '{"spec": {"models": {"m": {}}}}'])
def test_a_plan_that_cannot_be_read_is_said_and_written_anew(text: str, plan: Plan, store: Store) -> None:
    sweep = sweeps.freeze(plan, store, "one", "", [])
    (sweep.folder / "plan.json").write_text(text)
    with pytest.raises(RequestError, match=r"plan\.json cannot be read .*; launch the sweep again"):
        sweep.plan()
    assert sweeps.freeze(plan, store, "one", "", []) == sweep
    assert [run.id for run in sweep.plan().runs] == [run.id for run in plan.runs]


METRICS = {"step": 6, "steps": 24, "loss": 1.25, "seconds": 0.5}


def write_metrics(folder: Path) -> None:
    with closing(metrics.Metrics(folder)) as file:
        file.write(METRICS)


def test_status_counts_and_states(plan: Plan, store: Store) -> None:
    alone, code, math, general = plan.stages
    finish(store, alone)
    write_metrics(store.folder(alone))
    claim = take(store.folder(code), "another-sweep")
    assert claim is not None
    write_metrics(store.folder(code))
    check_identity(store.folder(math), math.payload)
    write_json(store.folder(math) / "failure.json", {"reason": "loss is [nan] [/x]"})
    (store.folder(general) / "resume" / "step-4").mkdir(parents=True)
    found = status.status(plan, Store(store.root), "s")
    assert [stage["state"] for stage in found["stages"]] == ["done", "running", "failed", "interrupted"]
    assert found["scores"] == {"done": 9, "total": 10}
    running = found["stages"][1]
    assert (running["step"], running["steps"], running["loss"], running["seconds_left"]) == (6, 24, 1.25, 9.0)
    assert "another-sweep" in running["why"]
    assert [stage["seconds_left"] for stage in found["stages"]] == [None, 9.0, None, None]
    assert [stage["runs"] for stage in found["stages"]] == [plan.runs_of(stage) for stage in plan.stages]
    assert json.loads(json.dumps(found)) == found
    text = printed(status_tables.show, found)
    assert "1 of 4 stages and 9 of 10 scores are done" in text
    assert "loss is [nan] [/x]" in text
    assert "6 of 24" in text


def test_status_of_purged_weights(plan: Plan, store: Store) -> None:
    (finish(store, plan.stages[0]) / "model" / "weights").unlink()
    assert status.status(plan, store, "s")["stages"][0]["state"] == "weights gone"


@given(st.integers(1, 8))
def test_a_loss_of_fewer_examples_than_were_asked_for_says_why(n: int) -> None:
    """Once, however many runs have it; nothing where all of them count."""
    plan = build([(text, request(strategy="base", benchmarks=(HELD,))) for text in "ab"])
    with TemporaryDirectory() as name:
        store = Store(name)
        loss(store, plan.scores[0], 2.0, n)
        results = collect(plan, store, "s")
        shown = StringIO()
        tables.show(results, Console(file=shown, width=300))
    told = [text for text in results.fewer if f"n={n} of the 8 examples asked for, since {8 - n} ha" in text]
    assert len(told) == len(results.fewer) == (n < 8)
    for text in told:
        assert text in shown.getvalue()
        assert text in tables.markdown(results)
