"""What every chart is: a heading, a Vega-Lite specification with its data, and the same numbers as a table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
Numbers = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]  # a header, and rows

VALIDATE = False  # against the schema, which takes a second: tests do


@dataclass(frozen=True)
class Heading:
    """What a chart is called, in the page's addresses and to read, and what one must know to read it."""

    key: str
    title: str
    about: str


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with its heading and the numbers that it shows, as a table."""

    heading: Heading
    spec: Spec
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def chart(heading: Heading, drawn: Any, table: Numbers, height: int | None = None) -> Chart:
    """Of what Altair drew; one of several panels has no `height`, as each panel has its own."""
    description = f"{heading.title}. {heading.about} The numbers are in the table below."
    return Chart(heading, spec(drawn, description, height), table[0], tuple(table[1]))


def spec(drawn: Any, description: str, height: int | None) -> Spec:
    """As JSON, as wide as its place; looks are the page's, not the chart's."""
    sized = drawn.properties(description=description)
    if height is not None:
        sized = sized.properties(width="container", height=height)
    made: Spec = sized.to_dict(validate=VALIDATE)
    made.pop("config", None)
    fitted = {} if height is None else {"autosize": {"type": "fit-x", "contains": "padding"}}
    return _with_data_once(made) | fitted


def _with_data_once(made: Spec) -> Spec:
    """Layers that draw the same rows share them by name."""
    names: dict[str, str] = {}
    rows: dict[str, Any] = {}

    def named(node: Any) -> Any:
        if isinstance(node, list):
            return [named(one) for one in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("values"), list) and node["values"] and isinstance(node["values"][0], dict):
            name = names.setdefault(json.dumps(node["values"]), f"rows-{len(names)}")
            rows[name] = node["values"]
            return {"name": name}
        return {key: named(value) for key, value in node.items()}

    found: Spec = named(made)
    return found | ({"datasets": rows} if rows else {})
