"""The examples of one stage: what its mixture takes of each source, and the account of it for `data.json`."""

from collections.abc import Callable
from typing import Any

from sft_sweeps.data.example import Example
from sft_sweeps.data.read import Table
from sft_sweeps.data.select import subset
from sft_sweeps.errors import RequestError
from sft_sweeps.spec import Component, Mixture, Source


def mixture_examples(mixture: Mixture, load: Callable[[Source], Table]) -> tuple[list[Example], dict[str, Any]]:
    """The examples of every component, and for each source its rows, dropped rows, fraction and exact example ids."""
    names = [component.source.name for component in mixture.components]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise RequestError(f"a mixture lists {', '.join(sorted(repeated))} twice. Give each source one fraction.")
    examples: list[Example] = []
    account: dict[str, Any] = {}
    for component in mixture.components:
        table = load(component.source)
        taken = subset(table.examples, component)  # a small k may replay no example of a small source
        account[component.source.name] = _entry(component, table, taken)
        examples += taken
    if not examples:
        shares = ", ".join(f"{c.fraction} of {c.source.name}" for c in mixture.components)
        raise RequestError(f"{shares} is less than one example. Take a larger fraction.")
    return examples, account


def _entry(component: Component, table: Table, taken: list[Example]) -> dict[str, Any]:
    return {
        "fraction": str(component.fraction),
        "seed": component.seed,
        "heldout": component.heldout,
        "rows": table.rows,
        "dropped": dict(table.dropped),
        "examples": len(taken),
        "ids": [example.id for example in taken],
    }
