"""Named things of one kind: this package's own, and those that other distributions announce as entry points.

    STRATEGIES = Registry("strategy", "sft_sweeps.strategies", lambda: {"dmt": Strategy(dmt), ...})
    STRATEGIES.names          ("dmt", ...)
    STRATEGIES.get("dmt")     RequestError with the nearest name where there is none

Another distribution adds a strategy by an entry point of the group in its own pyproject.toml:

    [project.entry-points."sft_sweeps.strategies"]
    curriculum = "their_package.curriculum:STRATEGY"
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from sft_sweeps.errors import RequestError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Things of one `kind` (the word for messages) by name, collected when they are first asked for."""

    kind: str
    group: str
    own: Callable[[], Mapping[str, T]]
    check: Callable[[str, object], None] | None = None  # RequestError where one cannot be used

    @cached_property
    def all(self) -> dict[str, T]:
        """Every one by name, this package's first; RequestError where one of another distribution cannot be used.

        Loaded and checked once in a process.
        """
        things = dict(self.own())
        for entry in sorted(entry_points(group=self.group), key=lambda entry: entry.name):
            if entry.name in things:
                raise RequestError(f"{self._origin(entry)} has the name of another {self.kind}; rename or uninstall it")
            things[entry.name] = self._load(entry)
        if self.check:
            for name, thing in things.items():
                self.check(name, thing)
        return things

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.all)

    def get(self, name: str) -> T:
        """The one of that name; RequestError lists the valid names."""
        if name in self.all:
            return self.all[name]
        raise RequestError(f"{self.kind} {name} is unknown; valid: {', '.join(self.all)}{nearest(name, self.all)}")

    def _load(self, entry: EntryPoint) -> T:
        try:
            thing: T = entry.load()
        except Exception as error:  # the module of another distribution may raise anything
            raise RequestError(
                f"{self._origin(entry)} cannot be loaded ({type(error).__name__}: {error}); repair or uninstall it"
            ) from error
        return thing

    def _origin(self, entry: EntryPoint) -> str:
        where = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
        return f"the {self.kind} {entry.name}{where} ({entry.value})"


def attributes(package: str, attribute: str) -> list[object]:
    """That attribute of every module of a package which has it, in the order of the modules' names."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
    loaded = (importlib.import_module(module.name) for module in modules)
    return [getattr(module, attribute) for module in loaded if hasattr(module, attribute)]
