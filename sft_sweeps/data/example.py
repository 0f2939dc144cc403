"""One training item, whatever file it came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as rounds of (prompt, response); every response is supervised.

    `id` is unique within a sweep and stable: the source's name and the row's place in its file ("gsm8k/17").
    `group` names what must not be split over a subset's edge needlessly (ShareGPT's base conversation); by default
    the example is its own group.
    """

    id: str
    rounds: tuple[tuple[str, str], ...]
    group: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)
