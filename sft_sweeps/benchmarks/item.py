"""What every benchmark is made of: items that are asked, and verdicts on their answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """One test conversation: what the user says in each turn, and what the judge needs.

    `opening` is how the assistant's first answer is made to begin; `temperature` 0 is greedy.
    """

    id: str
    turns: tuple[str, ...]
    gold: Mapping[str, Any]
    opening: str = ""
    temperature: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one answer to an item; not `readable`: nothing was found in it that could be judged."""

    item: str
    correct: bool
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)
    sample: int = 0
    readable: bool = True
