"""What a fault is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chaos.world import World

T = TypeVar("T")


@dataclass(frozen=True)
class Chance:
    """What the seed gave to one fault: two numbers in [0, 1) to choose by, and how long it lasts."""

    first: float
    second: float
    seconds: float

    def of(self, some: Sequence[T]) -> T:
        """One of them, which are in an order that is the same whenever the same work goes on."""
        return some[int(self.first * len(some))]


@dataclass(frozen=True)
class Lasting:
    """What befell whom; `heal` ends it, where it lasts."""

    what: str
    heal: Callable[[], object] | None = None


@dataclass(frozen=True)
class Fault:
    """`strike` gives None where there is nothing that it could befall."""

    kind: str
    about: str
    strike: Callable[[World, Chance], Lasting | None]
    seconds: tuple[float, float] = (0.0, 0.0)
    excludes: frozenset[str] = field(default_factory=frozenset)  # kinds that cannot go on at the same time
