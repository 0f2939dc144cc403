"""In which fields two stages differ, chain against chain: of the whole identity, whatever their parents are called."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sft_sweeps.commands.show.known import Catalogue, Known, others

NEAREST = 3  # neighbours that are shown where no other stage is named
COMPARED = 400  # stages, of which these are the nearest: the newest
LONGEST = 60  # characters of a value
NONE = "-"


class Change(NamedTuple):
    """A field with what it is here and there; `-` where there is none."""

    field: str
    this: str
    other: str


def unfolded(catalogue: Catalogue, one: Known) -> dict[str, Any]:
    """The identity with those of all stages before it in place of its parent's id, and sources by their names."""
    made: dict[str, Any] = {}
    number = 0
    for link in catalogue.chain(one):
        payload = {key: value for key, value in link.payload.items() if key not in ("kind", "parent", "parents")}
        if link.kind == "merge":
            named = ((catalogue.known.get(part["stage"]), part) for part in link.payload["parents"])
            made["weights"] = {stage.label if stage else part["stage"]: part["weight"] for stage, part in named}
        elif link.trained:
            number += 1
            mixture = {part["source"]["name"]: _component(part) for part in payload.get("mixture", [])}
            made[f"stage {number}"] = {**payload, "mixture": mixture}
        else:
            made["base model"] = {"label": link.label, **payload}
    return made


def changes(catalogue: Catalogue, this: Known, other: Known) -> list[Change]:
    """Field by field, what the two do not share."""
    return list(_changes(unfolded(catalogue, this), unfolded(catalogue, other), ""))


def nearest(catalogue: Catalogue, one: Known) -> list[tuple[Known, list[Change]]]:
    """The others that it differs from in the fewest fields, nearest first; a source or stage more counts for three."""
    candidates = list(others(catalogue, one))[:COMPARED]
    compared = [(other, changes(catalogue, one, other)) for other in candidates]
    return sorted(compared, key=lambda pair: sum(map(_weight, pair[1])))[:NEAREST]


def _weight(change: Change) -> int:
    return 3 if NONE in (change.this, change.other) else 1


def _component(part: Mapping[str, Any]) -> dict[str, Any]:
    source = {key: value for key, value in part["source"].items() if key != "name"}
    return {**{key: value for key, value in part.items() if key != "source"}, **source}


def _changes(this: Any, other: Any, path: str) -> "list[Change]":
    if isinstance(this, Mapping) and isinstance(other, Mapping):
        found = []
        for key in dict.fromkeys([*this, *other]):
            name = f"{path}.{key}" if path else key
            found += _changes(this.get(key, ABSENT), other.get(key, ABSENT), name)
        return found
    return [] if this == other else [Change(path, text(this), text(other))]


ABSENT = object()


def text(value: Any) -> str:
    """A value in short: of a source its fraction, of a stage its mixture."""
    if value is ABSENT:
        return NONE
    if isinstance(value, Mapping) and "fraction" in value:
        return str(value["fraction"])
    if isinstance(value, Mapping) and "mixture" in value:
        return " + ".join(f"{name} {part['fraction']}" for name, part in value["mixture"].items())
    written = value if isinstance(value, str) else json.dumps(value)
    return written if len(written) <= LONGEST else f"{written[: LONGEST - 3]}..."
