"""Lists and mappings of single values, into which OmegaConf lets other lists and mappings pass."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin

WORDS: dict[Any, str] = {list: "a list", dict: "a mapping"}


def problems(config: Any, prefix: str = "") -> Iterator[str]:
    """Keys of a configuration whose value holds a list or a mapping in the place of a single value."""
    for name, of_single_values in _containers(config.__class__):
        value: Any = getattr(config, name)
        if is_dataclass(value):
            yield from problems(value, f"{prefix}{name}.")
        for key, one in _within(value):
            if is_dataclass(one):
                yield from problems(one, f"{prefix}{name}{key}.")
            elif of_single_values and type(one) in WORDS:
                yield f"{prefix}{name}{key}={one}: {WORDS[type(one)]} where a single value is meant; write that alone"


@cache
def _containers(kind: Any) -> list[tuple[str, bool]]:
    """Fields that hold more than one value, and whether each is a list or mapping of single ones."""
    return [
        (field.name, get_origin(field.type) in WORDS and Any not in get_args(field.type))
        for field in fields(kind)
        if get_origin(field.type) in WORDS or is_dataclass(field.type) or field.type is Any
    ]


def _within(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        yield from ((f"[{index}]", one) for index, one in enumerate(value))
    if isinstance(value, dict):
        yield from ((f".{key}", one) for key, one in value.items())
