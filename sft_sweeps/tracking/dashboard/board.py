"""What a study's views and its report are of: values, from which views.py and article.py build W&B's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from sft_sweeps.identity import digest

REVIEW, LIVE = "Review", "Live"


@dataclass(frozen=True)
class Asked:
    """One benchmark: its name, how people read it, the ability that it asks of ("" of none), the unit of its scores."""

    name: str
    title: str
    ability: str = ""
    unit: str = "%"
    specialized: bool = False


@dataclass(frozen=True)
class Words:
    """What a report says, apart from its charts: sentences of the page's findings, costs and what is missing.

    `claims` are outcome and sentence; `costs` have a header as their first row.
    """

    headline: str
    basis: str
    claims: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    costs: Sequence[Sequence[str]] = ()
    missing: Sequence[str] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Board:
    """A sweep with what its views show. `entity` is a user's or a team's at W&B, "" where the key's own is meant.

    `abilities` are those that its sources train; `reference` is the id of the run that others are compared with, ""
    where none is.
    """

    entity: str
    project: str
    sweep: str
    title: str
    question: str
    asked: tuple[Asked, ...]
    abilities: tuple[str, ...]
    words: Words = field(default_factory=lambda: Words("", ""))
    reference: str = ""

    @property
    def pairs(self) -> list[tuple[Asked, Asked]]:
        """Benchmarks to weigh against each other: each specialized one with each general one, else the first two."""
        special = [one for one in self.asked if one.specialized]
        general = [one for one in self.asked if not one.specialized]
        crossed = list(product(special, general))
        return crossed or [(self.asked[0], one) for one in self.asked[1:2]]

    def mark(self, *of: object) -> str:
        """An id of a view or panel, the same whenever it is made: a view that is put up again replaces itself."""
        of_whom = [self.project] if LIVE in of else [self.project, self.sweep]  # what runs, runs in all sweeps
        return digest([*of_whom, *map(str, of)])[:11]
