"""Many runs, claims and lines: the telling rows first, nothing cut, nothing alike, nothing lost."""

import io
import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sweeps import made
from rich.console import Console
from values import benchmark, component, request

from sft_sweeps.config.grid import Axes, axes, expand
from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import build
from sft_sweeps.report import tables
from sft_sweeps.report.figures import write as prints
from sft_sweeps.report.findings_sheets import _sheet
from sft_sweeps.report.page import build as page
from sft_sweeps.report.page import costs, evidence, looks
from sft_sweeps.report.page.long import MANY, of_sheet
from sft_sweeps.report.page.sections import apart
from sft_sweeps.report.write import write
from sft_sweeps.spec.evaluation import Score

VALUES = st.lists(st.sampled_from(["1", "1/4", "x", "y"]), min_size=1, max_size=3, unique=True)
LINES = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=4)


@given(LINES, st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=2))
def test_the_command_of_a_restricted_study_spans_its_points_and_no_others(lines: list[Axes], typed: Axes) -> None:
    try:
        points = {" ".join(["study=s", *point]) for point in expand(lines, typed, "s")}
    except RequestError:
        return
    (command,) = costs.command(sorted(points))
    study, *rest = command.split()
    again = {" ".join(["study=s", *point]) for point in expand(lines, axes(rest), "s")}
    assert study == "study=s"
    assert {frozenset(p.split()) for p in again} == {frozenset(p.split()) for p in points}


@pytest.mark.parametrize(("models", "names"), [(1, 56), (3, 3), (8, 56)])
def test_no_two_lines_look_alike(models: int, names: int) -> None:
    pairs = product(range(models), range(names))
    rows = [{"model": f"m{m}", "arm": f"a{n}", "line": f"m{m} a{n}"} for m, n in pairs]
    scales = [one.to_dict()["scale"] for one in looks.of_lines(rows)]
    color, shape, dash = (dict(zip(scale["domain"], map(str, scale["range"]), strict=True)) for scale in scales)
    seen = {(color.get(r["model"]) or color[r["arm"]], shape[r["arm"]], dash[r["line"]]) for r in rows}
    assert len(seen) == len(rows)


def test_models_are_told_apart_in_grey() -> None:
    """By luminance (ITU-R BT.709), on paper and on a dark screen; each stands out of its ground too."""

    def luminance(colour: str) -> float:
        red, green, blue = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
        return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2

    css = (page.TEMPLATES / "page.css").read_text(encoding="utf-8")
    schemes = [re.findall(rf"--size-{n}: (#[0-9a-f]{{6}})", css) for n in range(3)]
    assert [len(of) for of in schemes] == [2, 2, 2]
    for ground, sizes in zip((1.0, luminance("#14161a")), zip(*schemes, strict=True), strict=True):
        found = [luminance(colour) for colour in sizes]
        contrasts = [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in pairwise(found)]
        assert min(contrasts) > 1.45, contrasts
        assert all((max(ground, one) + 0.05) / (min(ground, one) + 0.05) > 2.9 for one in found)


@given(st.lists(st.text(st.sampled_from("abcdefgh -=/()"), min_size=1, max_size=90), min_size=1, max_size=5))
def test_labels_are_wrapped_and_never_cut(names: list[str]) -> None:
    for name, lines in looks._labels(names).items():
        assert "".join("".join(lines).split()) == "".join(name.split())
        assert max(map(len, lines)) <= looks.LABEL


@given(st.lists(st.text("ab ", min_size=1).filter(str.strip), min_size=1, max_size=6))
def test_pairs_of_a_claim_are_told_apart(labels: list[str]) -> None:
    assert len(set(apart(labels))) == len(labels)


@given(st.lists(st.tuples(st.integers(-100, 100), st.integers(0, 30)), min_size=1, max_size=60))
def test_of_many_changes_the_largest_come_first_and_all_are_kept(found: list[tuple[int, int]]) -> None:
    records = [{"value": value, "low": value - half, "high": value + half} for value, half in found]
    rows = [(str(index), str(record["value"])) for index, record in enumerate(records)]
    sheet = _sheet("forgetting", "caption", ("run", "change"), [rows], records)
    assert sheet is not None
    table = of_sheet(sheet)
    assert list(table.rows) == rows
    shown = [records[int(index)] for index, _ in table.first]
    assert len(shown) <= MANY
    if shown and len(found) > MANY and any(r["low"] > 0 or r["high"] < 0 for r in records):
        left = [r for index, r in enumerate(records) if (str(index), str(r["value"])) not in table.first]
        for one in (r for r in left if r["high"] < 0):
            assert all(r["value"] <= one["value"] for r in shown if r["high"] < 0)
        for one in (r for r in left if r["low"] > 0):
            assert all(r["value"] >= one["value"] for r in shown if r["low"] > 0)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> evidence.Evidence:
    """More runs than a screen has, each better than the one before."""
    root = tmp_path_factory.mktemp("large")
    points = [
        (f"n={n}", request((component("math", fraction=Fraction(1, n)),), benchmarks=(benchmark(ability="math"),)))
        for n in range(1, 46)
    ]

    def right(score: Score) -> list[bool]:
        kept = 50 - score.generation.subject.chain[-1].mixture.components[0].fraction.denominator
        return [index < kept for index in range(50)]

    return evidence.read(made(root, build(points), right), root)


def test_the_best_stand_first_and_all_behind_a_summary(large: evidence.Evidence) -> None:
    context = page.context([large])
    (best,) = context["best"]
    assert best.numbers[0].value == "98.0 %"
    assert len(context["table"].rows) == 45
    (comparisons, all_of) = context["exploratory_charts"][0]
    assert len(comparisons.rows) == MANY
    assert len(all_of.rows) == 44
    text = page.html([large])
    assert "All 45 rows" in text
    assert "All 45 runs" in text
    assert all(f'id="run-{run.id}"' in text for run in large.plan.runs)


def test_predictions_are_fitted_once_for_figures_and_page(
    large: evidence.Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    monkeypatch.setattr(prints, "predicted", lambda *_: fitted.append(1) or {})
    monkeypatch.setattr(prints, "FIGURES", {name: lambda found: str(found.predicted) for name in prints.FIGURES})
    fresh = replace(large, results=replace(large.results))  # nothing of it is computed yet
    write([fresh], tmp_path)
    assert len(fitted) == 1


@pytest.mark.parametrize(("terminal", "shown"), [(True, 8), (False, 45)])
def test_a_terminal_is_shown_the_first_rows(terminal: bool, shown: int, large: evidence.Evidence) -> None:
    out = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    tables.show(large.results, out)
    text: Any = out.file
    assert text.getvalue().count("50) [") == shown
    assert ("... and 37 more; all of them are in the report's files" in text.getvalue()) is terminal


def test_a_link_opens_what_its_run_is_in(large: evidence.Evidence, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright here: the page is not looked at")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("no chromium here: the page is not looked at; install Debian's chromium")
    path, run = page.write([large], tmp_path), large.plan.runs[30].id
    with sync.sync_playwright() as drives:
        browser = drives.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        shown = browser.new_page()
        shown.goto(f"{path.as_uri()}#run-{run}")
        shown.wait_for_selector("body[data-drawn=yes]")
        assert shown.locator(f"#run-{run}").is_visible()
        assert shown.locator("#all-runs").get_attribute("open") is not None
        chart = shown.locator("#chart-scores-0 .chart")
        assert chart.get_attribute("data-drawn") is None
        shown.locator("details.charts > summary").click()
        shown.wait_for_selector("#chart-scores-0 .chart[data-drawn=yes] svg")
        browser.close()
