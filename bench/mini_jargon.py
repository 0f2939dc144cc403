"""Where the graded miniature's conflict is: right answers to items without jargon and with it, alone and mixed.

    python -m bench.mini_jargon STORE [SWEEP]

Common verbs mean the same in every ability, jargon another operation in each (sft_sweeps/data/graded_words.py). A line
is a model, an ability and a fraction: percent of the items right, of all training seeds together.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from statistics import mean

from sft_sweeps.analysis.observations import Observation
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.registry import items_of
from sft_sweeps.data import graded
from sft_sweeps.data.graded_words import JARGON
from sft_sweeps.report.observe import observations
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find

MIXED = set(graded.SOURCES)
Place = tuple[str, str, Fraction]  # model, benchmark, fraction
Kind = tuple[bool, bool]  # mixed, with jargon


def main(arguments: Sequence[str]) -> int:
    store, *named = arguments
    sweep = find(Store(store), named[0] if named else None)
    plan = sweep.plan()
    asked = {score.generation.benchmark.name: score.generation.benchmark for score in plan.scores}
    jargon = {item.id for benchmark in asked.values() for item in items_of(benchmark) if has_jargon(item)}
    found = by_words(observations(plan, sweep.store(store)), jargon)
    print(f"{'':38}{'no jargon: alone':>18}{'mixed':>8}{'jargon: alone':>18}{'mixed':>8}")
    for (model, benchmark, fraction), shares in sorted(found.items()):
        row = [shares.get(kind, []) for kind in ((False, False), (True, False), (False, True), (True, True))]
        cells = [f"{100 * mean(values):.1f}" if values else "-" for values in row]
        print(f"{f'{model} {benchmark} {fraction}':38}{cells[0]:>18}{cells[1]:>8}{cells[2]:>18}{cells[3]:>8}")
    return 0


def by_words(observed: Iterable[Observation], jargon: set[str]) -> dict[Place, dict[Kind, list[float]]]:
    """Values of items by what their requests are made of, of runs of one ability and of all at one fraction."""
    found: dict[Place, dict[Kind, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in observed:
        sources, fraction = {part.source for part in one.setting.parts}, one.setting.fraction
        mixed = sources == MIXED and one.setting.strategy == "multi_task"
        if one.final and fraction and (mixed or sources == {one.benchmark}):
            shares = found[one.setting.model, one.benchmark, fraction]
            for item, value in one.items.items():
                shares[mixed, item in jargon].append(value)
    return found


def has_jargon(item: Item) -> bool:
    """Whether one of its requests has a word of it: what is to be done stands before the colon."""
    words = set(JARGON.split())
    return any(words & set(re.findall("[a-z]+", turn.partition(":")[0])) for turn in item.turns)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
