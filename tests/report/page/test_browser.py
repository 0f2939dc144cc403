"""The page in a browser, as its readers open it: wide and narrow, light and dark, with hostile names in it.

Nothing is fetched, no script fails, charts are drawn, links lead somewhere, the keyboard reaches everything.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from made_sweeps import claim, made
from values import RECIPE, benchmark, component, mixed, model, request

from sft_sweeps.analysis.representations import Separation
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report.page import build as page
from sft_sweeps.report.page import chart, evidence
from sft_sweeps.report.represented import Panel, Represented
from sft_sweeps.report.sheets import FORMULA
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.stats import Interval

CHROMIUM = shutil.which("chromium")
HOSTILE = "=1+1 <img/src=x onerror=window.harmed=1> \N{LLAMA}</script><script>window.harmed=1</script>"
APART = Separation(Interval(0.31, 0.27, 0.35), Interval(0.9, 0.85, 0.94), 12, 10, 1 / 2)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "SFT_SWEEPS_REQUIRE_BROWSER" not in os.environ,
    reason="no chromium here: the page is not looked at; install Debian's chromium",
)
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: the page is not looked at")


def hostile_plan() -> Plan:
    shared: dict[str, Any] = {"benchmarks": (benchmark(ability="math", examples=40),), "base": model(HOSTILE)}
    points = [
        (
            f"strategy={strategy} train.seed={n}",
            request(mixed(), strategy, recipe=replace(RECIPE, seed=n), **shared),
        )
        for strategy in ("multi_task", "sequential")
        for n in (0, 1)
    ]
    points += [
        (f"data=math data.fraction={f}", request((component("math", fraction=Fraction(f)),), **shared))
        for f in ("1", "1/4", "1/16")
    ]
    return build(points, [claim(f"More is kept {HOSTILE}", "strategy=multi_task", "strategy=sequential")])


def right(score: Score) -> list[bool]:
    """Sequential training forgets; one run is not scored."""
    subject = score.generation.subject
    kept = 10 if len(subject.chain) > 1 else 34
    fraction = {str(c.fraction) for c in subject.chain[-1].mixture.components}
    return [] if fraction == {"1/16"} else [number < kept for number in range(40)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    sweep = made(root, hostile_plan(), right, "browser", f"{HOSTILE} #### 4")
    chart.VALIDATE = True
    try:
        found = evidence.read(sweep, root)
        plane = tuple((float(n % 5), float(n)) for n in range(12))
        panels = tuple(Panel(name, f"{name} {HOSTILE}", APART, plane) for name in ("base", "dmt"))
        map_ = Represented("mini", 15, "last", "fp32", tuple(map(str, range(12))), (HOSTILE, "b") * 6, panels)
        return page.write([replace(found, results=replace(found.results, represented=(map_,)))], root / "report")
    finally:
        chart.VALIDATE = False


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as drives:
        started = drives.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=str)
def opened(request: pytest.FixtureRequest, browser: Any, path: Path) -> Iterator[Any]:
    """The page when all of it is drawn, where nothing was fetched and nothing was complained of, then and later."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    shown, complaints = context.new_page(), []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda asked: None if asked.url == path.as_uri() else complaints.append(asked.url))
    shown.route("http*://**", lambda route: route.abort())
    shown.goto(path.as_uri())
    shown.wait_for_selector("body[data-drawn=yes]")
    yield shown
    assert complaints == []
    assert shown.evaluate("window.harmed") is None
    context.close()


def test_charts_are_drawn_within_the_width(opened: Any) -> None:
    figures = opened.locator("figure")
    assert figures.count() >= 4
    for number in range(figures.count()):
        drawn = figures.nth(number).locator(".chart[data-drawn=yes] svg")
        assert drawn.count() == 1
        assert drawn.locator("path").count() > 5
        assert figures.nth(number).locator("tbody tr").count() > 0, "a table is under each chart"
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    text, ground = (opened.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert opened.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill") == text != ground


def test_models_stand_side_by_side_where_there_is_room(opened: Any) -> None:
    panels = opened.locator("#chart-map-0 svg g.mark-group.role-scope.cell > g > path.background")
    boxes = [panels.nth(number).bounding_box() for number in range(panels.count())]
    tops, wide = {round(box["y"]) for box in boxes}, opened.viewport_size["width"] > 600
    assert len(boxes) == 2
    assert len(tops) == (1 if wide else 2)
    assert opened.locator("#chart-map-0 svg .mark-symbol.role-mark path").count() == 24


def test_what_is_printed_is_drawn_to_the_end(opened: Any) -> None:
    opened.reload()
    opened.pdf()
    drawn = opened.locator("figure .chart[data-drawn=yes]").count()
    opened.wait_for_selector("body[data-drawn=yes]")
    assert drawn == opened.locator("figure").count() > 4


def test_every_link_leads_somewhere(opened: Any) -> None:
    targets = opened.evaluate("[...document.querySelectorAll('a[href]')].map(one => one.getAttribute('href'))")
    assert len(targets) > 15
    assert [one for one in targets if not one.startswith("#")] == []
    assert opened.evaluate("(all) => all.filter(one => !document.getElementById(one.slice(1)))", targets) == []


def test_a_point_leads_to_its_run_with_losses_and_answers(opened: Any) -> None:
    point = opened.locator("#chart-scores-0 .chart svg .mark-symbol path").first
    point.scroll_into_view_if_needed()
    point.click()
    run = opened.locator("details.run[open]")
    run.locator(".loss[data-drawn=yes] svg").wait_for()
    assert run.get_attribute("id") == opened.evaluate("location.hash.slice(1)")
    run.locator("details.answers > summary").click()
    answers = run.locator(".answer")
    assert answers.first.locator("strong").inner_text() == "wrong"
    assert answers.last.locator("strong").inner_text() == "right"
    assert HOSTILE in answers.first.locator(".given").inner_text()


def test_the_keyboard_reaches_all_in_the_order_of_reading(opened: Any) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the finding"
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "finding"
    places = []
    while len(places) < 200 and opened.keyboard.press("Tab") is None:
        if opened.evaluate("document.activeElement === document.body"):
            break
        places.append(round(opened.evaluate("document.activeElement.getBoundingClientRect().top + scrollY")))
    assert 15 < len(places) < 200
    assert places == sorted(places)
    opened.locator("details.run > summary").first.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("details.run[open]").count() == 1


def test_hostile_names_are_read_as_they_are(opened: Any) -> None:
    assert HOSTILE in opened.locator("h1").inner_text()
    assert opened.locator("img").count() == 0
    csv = opened.evaluate("JSON.parse(document.getElementById('results.csv').textContent)")
    assert HOSTILE in csv
    assert not any(cell.startswith(FORMULA) for line in csv.splitlines() for cell in line.replace('"', "").split(","))


def test_data_can_be_downloaded(opened: Any) -> None:
    with opened.expect_download() as asked:
        opened.locator("[data-download='results.json']").click()
    assert asked.value.suggested_filename == "results.json"
    assert '"benchmarks"' in Path(asked.value.path()).read_text(encoding="utf-8")
