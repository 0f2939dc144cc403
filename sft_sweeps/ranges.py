"""What a setting may be, declared beside the field that holds it, and the one walk that checks every field.

    learning_rate: float = above(0, example="2e-5")
    schedule: str = one_of("cosine", default="cosine")

A check is a function of a key and its value that yields what is wrong: the key, the value, what is valid, what to type.
A list is checked item by item; None is not checked. What fields ask of each other is checked in config/checks.py.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, get_args

from sft_sweeps.errors import nearest

Check = Callable[[str, Any], Iterator[str]]
CHECK = "check"  # the key of a field's metadata
MISSING = "???"  # OmegaConf's sign for a value that has no default
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")


@dataclass(frozen=True)
class OneOf:
    """One of some values, which are looked up when a value is checked: registries import what they name."""

    valid: Callable[[], tuple[Any, ...]]

    def __call__(self, key: str, value: Any) -> Iterator[str]:
        valid = self.valid()
        if value not in valid:
            names = [str(name) for name in valid]
            yield f"{key}={value} is unknown; valid: {', '.join(names)}{nearest(str(value), names, f'{key}=')}"


@dataclass(frozen=True)
class NumberRange:
    """A finite number from `low` (or just above it, if `low_open`) to `high` (or just below it, if `high_open`)."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = True
    example: str = ""

    def __call__(self, key: str, value: float) -> Iterator[str]:
        from_low = self.low < value if self.low_open else self.low <= value
        to_high = value < self.high if self.high_open else value <= self.high
        if not (from_low and to_high):
            yield f"{key}={value} must be {self.words}{f', e.g. {key}={self.example}' if self.example else ''}"

    @property
    def words(self) -> str:
        if self.high == math.inf:
            return f"above {self.low}" if self.low_open else f"a number of at least {self.low}"
        return f"in [{self.low}, {self.high})" if self.high_open else f"in {self.low} ... {self.high}"


def fits_folder_name(key: str, value: str) -> Iterator[str]:
    """The check of names that become parts of the names of folders."""
    if not NAME.fullmatch(value):
        yield (
            f"{key}={value} cannot be used in the name of a folder; write at most 40 letters, digits and _ . + - "
            "beginning with a letter or digit"
        )


def checked(check: Check, default: Any = MISSING) -> Any:
    """A field whose value `check` looks at; each settings object has its own copy of a default list."""
    metadata = {CHECK: check}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def one_of(*valid: Any, default: Any = MISSING) -> Any:
    """One of these values."""
    return checked(OneOf(lambda: valid), default)


def one_known(valid: Callable[[], tuple[Any, ...]], default: Any = MISSING) -> Any:
    """One of the values that a registry, say, knows."""
    return checked(OneOf(valid), default)


def at_least(low: float, default: Any = MISSING) -> Any:
    """A number of at least `low`."""
    return checked(NumberRange(low), default)


def above(low: float, default: Any = MISSING, *, example: str) -> Any:
    """A number above `low`."""
    return checked(NumberRange(low, low_open=True, example=example), default)


def below(high: float, default: Any = MISSING, *, low: float = 0, example: str) -> Any:
    """A number from `low` to below `high`."""
    return checked(NumberRange(low, high, example=example), default)


def between(low: float, high: float, default: Any = MISSING) -> Any:
    """A number from `low` to `high`, both valid."""
    return checked(NumberRange(low, high, high_open=False), default)


def folder_name(default: Any = MISSING) -> Any:
    """Text that can be part of a folder's name; an empty one where that is the default."""
    return checked(unless_empty(fits_folder_name) if default == "" else fits_folder_name, default)


def unless_empty(check: Check) -> Check:
    """The check, of a text that may also be empty."""
    return lambda key, value: check(key, value) if value else iter(())


def literals(kind: type, name: str) -> tuple[str, ...]:
    """The values of a dataclass's field that is annotated as Literal[...]."""
    (annotation,) = (f.type for f in fields(kind) if f.name == name)
    return get_args(annotation)


def problems(settings: Any, prefix: str = "") -> Iterator[str]:
    """What the fields' own checks say of a dataclass and of those inside it; `prefix` is its key with a dot."""
    kind: Any = type(settings)
    for name, check in _fields(kind):
        key, value = f"{prefix}{name}", getattr(settings, name)
        if check:
            for item in _items(value):
                yield from check(key, item)
        elif isinstance(value, dict):
            for slot, item in value.items():
                yield from problems(item, f"{key}.{slot}.") if is_dataclass(item) else ()
        elif is_dataclass(value):
            yield from problems(value, f"{key}.")


def _items(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


@lru_cache
def _fields(kind: Any) -> tuple[tuple[str, Check | None], ...]:
    """The fields of a dataclass that have a check, or may hold others that have."""
    plain = (str, int, float, bool)
    return tuple((f.name, f.metadata.get(CHECK)) for f in fields(kind) if CHECK in f.metadata or f.type not in plain)
