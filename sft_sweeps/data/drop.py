"""Why a row is no example."""

from dataclasses import dataclass


class DropError(Exception):
    """The reason, one word for each kind."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was dropped: why, and where and what it was ("line 3: {...}")."""

    reason: str
    sample: str
