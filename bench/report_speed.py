"""How long the whole report of the paper's 123 rows takes, and how long a browser takes to open its page.

The report is all that `sft-sweeps report` writes: tables, every figure in three formats, the page. Headless Chromium,
where there is one, opens the page: until it can be read, until its first chart is drawn, until every chart is.

    python -m bench.report_speed [--json]
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.paper_sweep import finished
from sft_sweeps.report.page import evidence
from sft_sweeps.report.write import write

OPENINGS = 5
CHROMIUM = shutil.which("chromium")


def measure() -> dict[str, float]:
    """Wall and CPU seconds of the report, its size; medians of the seconds of opening it."""
    with tempfile.TemporaryDirectory() as folder:
        sweep, out = finished(Path(folder) / "store"), Path(folder) / "report"
        wall, cpu = time.perf_counter(), time.process_time()
        *_, page = write([evidence.read(sweep, Path(folder) / "store")], out)
        found = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        found |= {"files": sum(path.is_file() for path in out.rglob("*")), "page_mb": page.stat().st_size / 1e6}
        return found | (opened(page) if CHROMIUM and importlib.util.find_spec("playwright") else {})


def opened(page: Path) -> dict[str, float]:
    """Seconds from asking for the page, each time in a browser that has not seen it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as drives:
        browser = drives.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        times = [_opened(browser, page) for _ in range(OPENINGS)]
        browser.close()
    return {name: statistics.median(one[name] for one in times) for name in times[0]}


def _opened(browser: Any, page: Path) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    shown, started, times = context.new_page(), time.perf_counter(), {}
    shown.goto(page.as_uri(), wait_until="commit")
    for name, what in (
        ("read_seconds", "h1"),
        ("first_chart_seconds", "figure .chart[data-drawn=yes]"),
        ("all_charts_seconds", "body[data-drawn=yes]"),
    ):
        shown.wait_for_selector(what, state="attached", timeout=60_000)
        times[name] = time.perf_counter() - started
    context.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report_speed", description=__doc__)
    parser.add_argument("--json", action="store_true")
    asked, found = parser.parse_args(), measure()
    if asked.json:
        print(json.dumps(found))
    else:
        print(", ".join(f"{name} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
