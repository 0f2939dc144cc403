"""Representations in a report: whose are compared, what is missing, and that a broken file is no number."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from values import component, request

from sft_sweeps.analysis.representations import Map, separations
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.plan.request import AskedRepresentations
from sft_sweeps.report import represented, tables
from sft_sweeps.report.collect import collect, to_json
from sft_sweeps.report.figures import style
from sft_sweeps.report.figures.representations import caption, figure5
from sft_sweeps.spec.evaluation import Representations
from sft_sweeps.store.answers import ITEMS, write_rows
from sft_sweeps.store.store import VECTORS, Store, write_record

QUERIES = 12
RUN = "mini dmt k=1/4"


@pytest.fixture
def plan() -> Plan:
    """DMT from `mini`, of queries of two sources; its base model is looked into too."""
    asked = AskedRepresentations(QUERIES, 1, "last")
    sources = (component("math"), component("general"))
    made = request(sources, "dmt", k=Fraction(1, 4), benchmarks=())
    return build([("a", replace(made, representations=asked))])


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    """All of it was taken: the base model's vectors are mixed, DMT's keep the sources apart."""
    made = Store(tmp_path)
    for one in plan.analyses:
        take(made, one, 5.0 if one.subject.chain else 0.0)
    return made


@pytest.fixture(autouse=True)
def plane(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of t-SNE, which takes seconds: the first two dimensions. How many models it was asked for."""
    asked: list[int] = []

    def on_a_plane(models: Sequence[Any]) -> Map:
        asked.append(len(models))
        return Map(tuple(tuple((float(x), float(y)) for x, y in one[:, :2]) for one in models), 5.0, 0)

    monkeypatch.setattr(represented, "on_a_plane", on_a_plane)
    return asked


def vectors(one: Representations, apart: float) -> Any:
    name = one.queries.source.name
    made = np.random.default_rng(len(name)).normal(size=(QUERIES, 4)).astype(np.float32)
    made[:, 0] += apart * (name == "math")
    return made


def take(store: Store, one: Representations, apart: float, ids: str = "q") -> Path:
    folder = store.representations(one)
    name = one.queries.source.name
    write_rows(folder / ITEMS, [{"id": f"{name}/{ids}{n}", "tokens": 5} for n in range(QUERIES)])
    np.save(folder / VECTORS, vectors(one, apart))
    write_record(folder, one.payload, [VECTORS, ITEMS], {"n": QUERIES})
    return folder


def test_a_base_model_and_what_was_trained_from_it_stand_beside_each_other(
    plan: Plan, store: Store, plane: list[int]
) -> None:
    (found,), missing = represented.represented(plan, store)
    assert missing == ()
    assert [panel.label for panel in found.panels] == ["mini (base)", RUN]
    assert found.sources == ("math",) * QUERIES + ("general",) * QUERIES
    rows = [np.concatenate([vectors(one, apart) for one in plan.analyses[:2]]) for apart in (0.0, 5.0)]
    assert [panel.separation for panel in found.panels] == separations(rows, found.sources)
    assert found.panels[1].separation.silhouette_change is not None
    assert found.panels[1].separation.silhouette_change.low > 0
    assert plane == [2]
    assert {len(panel.points) for panel in found.panels} == {2 * QUERIES}


def test_what_is_not_taken_yet_is_named_and_the_rest_is_shown(plan: Plan, store: Store) -> None:
    (store.representations(plan.analyses[3]) / "record.json").unlink()
    (found,), missing = represented.represented(plan, store)
    assert [panel.label for panel in found.panels] == ["mini (base)"]
    assert missing == (f"representations of {plan.labels[plan.runs[0].id]}: not taken of general yet",)


def test_nothing_is_shown_of_a_sweep_that_has_taken_nothing(plan: Plan, tmp_path: Path) -> None:
    found, missing = represented.represented(plan, Store(tmp_path / "empty"))
    assert found == ()
    assert len(missing) == 2


BROKEN: dict[str, Any] = {
    "fewer vectors than queries": np.zeros((3, 4), np.float32),
    "no finite numbers": np.full((QUERIES, 4), np.nan, np.float32),
    "another width": np.zeros((QUERIES, 5), np.float32),
    "no vectors": np.zeros(QUERIES, np.float32),
    "text": np.array(["a"] * QUERIES),
    "objects": np.array([{}] * QUERIES),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_trusted_is_no_number(what: str, plan: Plan, store: Store) -> None:
    """A foreign file, of a size and name like ours: a note says where it lies."""
    one = plan.analyses[-1]
    folder = store.representations(one)
    np.save(folder / VECTORS, BROKEN[what], allow_pickle=what == "objects")
    write_record(folder, one.payload, [VECTORS, ITEMS], {})
    (found,), (missing,) = represented.represented(plan, store)
    assert [panel.label for panel in found.panels] == ["mini (base)"]
    assert (
        "different widths" if what == "another width" else f"in {folder.relative_to(store.root)} of the store"
    ) in missing


def test_models_that_were_asked_other_queries_are_not_compared(plan: Plan, store: Store) -> None:
    for one in plan.analyses[2:]:
        take(store, one, 1.0, ids="other")
    (found,), missing = represented.represented(plan, store)
    assert len(found.panels) == 1
    assert missing == (f"representations of {plan.labels[plan.runs[0].id]}: of other queries",)


def test_without_scikit_learn_the_numbers_are_there_and_the_map_is_not(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch, plane: list[int], tmp_path: Path
) -> None:
    monkeypatch.setattr(represented, "NEEDED", ("no_such_distribution",))
    results = collect(plan, store, "s")
    assert results.unrepresented == (represented.INSTALL,)
    assert "pip install 'sft-sweeps[representations]'" in tables.markdown(results)
    assert plane == []
    assert tables.draw(results, tmp_path / "figures") == []
    assert "scikit-learn" in figure5(results.represented[0])


def test_the_report_has_them_and_takes_them_over(plan: Plan, store: Store, tmp_path: Path, plane: list[int]) -> None:
    results = collect(plan, store, "s")
    tables.write(results, tmp_path / "report")
    written = json.loads((tmp_path / "report" / "results.json").read_text())
    panel = written["representations"][0]["panels"][1]
    assert {"silhouette", "purity", "chance", "silhouette_change"} <= panel["separation"].keys()
    assert len(panel["points"]) == len(written["representations"][0]["sources"]) == 2 * QUERIES
    assert collect(plan, store, "s", made=written) == results
    assert plane == [2]  # once
    text = (tmp_path / "report" / "results.md").read_text()
    assert f"| {RUN} | 1 (last) |" in text
    assert "Distances and sizes on it mean nothing" in text
    figures = tmp_path / "report" / "figures"
    assert {path.name for path in figures.iterdir()} == {"figure5.svg", "figure5.pdf", "figure5.png", "captions.md"}
    assert "**figure5** t-SNE (perplexity" in (figures / "captions.md").read_text()
    tables.write(replace(results, represented=()), tmp_path / "report")
    assert list(figures.glob("figure5*")) == []  # what is no longer there is not shown
    assert "figure5" not in (figures / "captions.md").read_text()


def test_the_figure_names_each_model_and_its_numbers(plan: Plan, store: Store) -> None:
    (found,), _ = represented.represented(plan, store)
    with style.applied():
        titles = [axis.get_title() for axis in figure5(found).axes]
    assert [title.splitlines()[0] for title in titles] == ["mini (base)", RUN]
    value = found.panels[1].separation.silhouette
    assert f"silhouette {value.value:.2f} [{value.low:.2f}, {value.high:.2f}]" in titles[1]
    assert "hidden_states[1] at 24 queries, the prompt's last token" in caption(found)


def test_a_plan_that_asks_for_none_has_none(tmp_path: Path) -> None:
    results = collect(build([("a", request(benchmarks=()))]), Store(tmp_path), "s")
    assert (results.represented, results.unrepresented) == ((), ())
    assert to_json(results)["representations"] == []


def test_they_are_shown_without_any_score(plan: Plan, store: Store) -> None:
    """evaluate=none: nothing is scored, and what was looked into is told all the same."""
    (store.representations(plan.analyses[3]) / "record.json").unlink()
    out = Console(file=StringIO(), width=160)
    tables.show(collect(plan, store, "s"), out)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "nothing is scored" in text
    assert "mini (base)" in text
    assert "not taken of general yet" in text
