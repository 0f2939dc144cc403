"""One training item, whatever file it came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as rounds of (prompt, response); every response is supervised.

    `id` is unique within a sweep and stable: the source's name and the row's index in its file ("gsm8k/17").
    `group` names what must not be split over a subset's edge needlessly (data/groups.py); by default the example is
    its own group. `dangling` is a last prompt that nobody answered, which only `data.bug_compatible`
    keeps, `row_id` the row's own.
    """

    id: str
    rounds: tuple[tuple[str, str], ...]
    group: str = ""
    dangling: str | None = None
    row_id: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)

    @property
    def messages(self) -> list[str]:
        """Prompts and responses in turn."""
        texts = [text for both in self.rounds for text in both]
        return texts if self.dangling is None else [*texts, self.dangling]


class DropError(Exception):
    """The reason, one word for each kind."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was dropped: why, and where and what it was ("line 3: {...}")."""

    reason: str
    sample: str
