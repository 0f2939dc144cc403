"""Random choices that are the same on every machine and Python version, and what is drawn with them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Rounds = tuple[tuple[str, str], ...]


class Stream:
    """It uses nothing of `random.Random` but `random()`, whose sequence Python promises to keep for a text seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def share(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def below(self, stop: int) -> int:
        return int(self._random.random() * stop)

    def between(self, first: int, last: int) -> int:
        """A whole number, both ends included."""
        return first + self.below(last - first + 1)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def several(self, choices: Sequence[T], count: int) -> list[T]:
        """Distinct choices in random order."""
        rest = list(choices)
        return [rest.pop(self.below(len(rest))) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class MiniExample:
    """One conversation and what its benchmark needs to judge an answer to it."""

    rounds: Rounds
    gold: dict[str, Any]
