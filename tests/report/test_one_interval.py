"""A comparison and a mean have one interval, whether results.json, results.md or the page says them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sweeps import claim, made
from values import RECIPE, benchmark, mixed, request

from sft_sweeps.analysis.cells import finals
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report import tables
from sft_sweeps.report.collect import to_json
from sft_sweeps.report.page import build as page
from sft_sweeps.report.page import evidence
from sft_sweeps.spec.evaluation import Score

BENCHMARKS = (benchmark(ability="math"), benchmark("humaneval", ability="code"))
CLAIM = claim("Mixing keeps more", "strategy=multi_task", "strategy=sequential")
SEEDS = [(1, 1, 1), (3, 3, 2), (3, 1, 1), (2, 4, 3)]  # of each strategy
Ends = tuple[float, float, float]


def plan(seeds: tuple[int, int, int], *claims: Any) -> Plan:
    points = [
        (f"strategy={name} train.seed={n}", request(mixed(), name, **recipe(n)))
        for name, count in zip(("sequential", "multi_task", "mixed_sequential"), seeds, strict=True)
        for n in range(count)
    ]
    return build(points, claims)


def recipe(seed: int) -> dict[str, Any]:
    return {"recipe": replace(RECIPE, seed=seed), "benchmarks": BENCHMARKS}


def answered(stream: np.random.Generator) -> Any:
    """Right or wrong, at a rate of its own for each score."""

    def right(of: Score) -> list[bool]:  # noqa: ARG001
        return [bool(one) for one in stream.random(40) < stream.uniform(0.1, 0.9)]

    return right


def read(root: Path, seeds: tuple[int, int, int], *claims: Any) -> evidence.Evidence:
    of = plan(seeds, *claims)
    return evidence.read(made(root, of, answered(np.random.default_rng(sum(seeds)))), root)


def drawn(charts: list[Any]) -> set[Ends]:
    """What the page's forests of differences show, in points."""
    return {
        (row["value"], row["low"], row["high"]) for chart in charts for row in rows_of(chart.spec) if "beyond" in row
    }


def rows_of(spec: Any) -> Iterator[dict[str, Any]]:
    """What is drawn from; layers share it by name."""
    for rows in spec["datasets"].values():
        yield from rows


@pytest.mark.parametrize("claims", [(), (CLAIM,)], ids=["exploratory", "claimed"])
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_comparison_has_one_interval(seeds: tuple[int, int, int], claims: tuple[Any, ...], tmp_path: Path) -> None:
    seen = read(tmp_path, seeds, *claims)
    shown = page.context([seen])
    said = [one["difference"] for one in to_json(seen.results)["comparisons"]]
    assert len(said) == 4  # two points against multi-task on two benchmarks
    ours = {tuple(round(100 * one[end], 4) for end in ("value", "low", "high")) for one in said}
    on_page = drawn([*shown["finding_charts"], *(chart for chart, _ in shown["exploratory_charts"])])
    turned = {(-value, -high, -low) for value, low, high in on_page}  # a claim may subtract the other way
    assert ours <= on_page | turned
    assert len(on_page) == len(ours)


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_mean_over_seeds_has_one_interval(seeds: tuple[int, int, int], tmp_path: Path) -> None:
    seen = read(tmp_path, seeds)
    cells = {(cell.label, cell.first.benchmark): cell for cell in finals(seen.observations)}
    several = {name: cell for name, cell in cells.items() if len(cell.seeds) > 1}
    means = {(one.point, one.benchmark): one for one in seen.results.replicated}
    assert means.keys() == several.keys()
    for name, one in means.items():
        assert (one.mean, one.sd, one.seeds) == (several[name].mean, several[name].sd, several[name].seeds)
    page_rows = {cell.label for cell in several.values()}
    assert page_rows <= {row.label for row in page.context([seen])["table"].rows}


def test_the_table_tells_the_interval_of_results_json(tmp_path: Path) -> None:
    """And the claim's sentence on the page, with all comparisons counted beside it."""
    seen = read(tmp_path, (3, 3, 3), CLAIM, replace(CLAIM, benchmark="humaneval"))
    _, rows = tables.differences(seen.results)
    told = {row[3] for row in rows}
    for one in seen.results.comparisons:
        ends = tuple(100 * end for end in (one.difference.value, one.difference.low, one.difference.high))
        assert "{:+.2f} points [{:+.2f}, {:+.2f}]".format(*ends) in told
        assert one.wide is not None
        assert one.wide.low <= one.difference.low
    assert "with all comparisons counted" in page.html([seen])
