"""A benchmark's score by category of its items, such as MT-Bench's eight, for the settings that stand for a study."""

from collections.abc import Iterable
from dataclasses import replace

from sft_sweeps.analysis.cells import Cell, cells, finals
from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.stats import Interval, paired_means, proportion


def by_category(observations: Iterable[Observation]) -> list[tuple[str, Cell]]:
    """The cells of each category, in the order in which the benchmark has them; ten questions make wide intervals."""
    made: dict[str, list[Observation]] = {}
    for one in observations:
        named = {item: category for item, category in one.categories.items() if item in one.items}
        for category in dict.fromkeys(named.values()):
            made.setdefault(category, []).append(_within(one, {i for i, of in named.items() if of == category}))
    return [(category, cell) for category, of in made.items() for cell in cells(of)]


def _within(one: Observation, kept: set[str]) -> Observation:
    items = {item: value for item, value in one.items.items() if item in kept}
    ends = _interval(list(items.values()), one.share)
    return replace(one, value=ends.value, low=ends.low, high=ends.high, n=len(items), items=items)


def _interval(values: list[float], share: bool) -> Interval:
    """Wilson's, or Student's of the questions' means."""
    if share and set(values) <= {0.0, 1.0}:
        return proportion(round(sum(values)), len(values))
    return paired_means(values, [0.0] * len(values)).interval


def representatives(observations: Iterable[Observation]) -> list[Observation]:
    """Of each model, one setting an arm: with the most examples, and of DMT the smallest k; scored by category."""
    kept = [one for one in observations if one.final and one.categories and one.origin == "ours"]
    settings = [cell.setting for cell in finals(kept)]
    by_arm = grouped(settings, lambda at: (at.model, at.variant, at.arm, at.abilities if at.arm == "alone" else ()))
    chosen = {min(of, key=_rank) for of in by_arm.values()}
    return [one for one in kept if one.setting.cell in chosen]


def _rank(setting: Setting) -> tuple[float, float]:
    return -setting.examples, float(setting.k or 0)


def arm_name(setting: Setting) -> str:
    """`math alone`, `dmt k=1/256`, `sequential`."""
    if setting.arm == "alone":
        return f"{setting.abilities[0]} alone"
    return setting.strategy_with_k
