"""One training item, whatever file it came from."""

from dataclasses import dataclass

ONE_EACH = (1, 1)


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as rounds of (prompt, response); every response is learnt but those of the rounds `unlearnt`.

    `id` is unique within a sweep and stable: the source's name and the row's index in its file ("gsm8k/17").
    `group` names what must not be split over a subset's edge needlessly (data/groups.py); by default the example is
    its own group. `dangling` is a last prompt that nobody answered, which only `data.bug_compatible` keeps, `row_id`
    the row's own. `system` is the conversation's own system text.

    `tools` are those that the assistant may call, as JSON. Where a response calls some, or a prompt is what they
    answered, `calls` has both sides of each round as JSON of a chat template's messages, "" for one that is a text.

    For the account of a row's turns: `system_turns` were joined to the system text, `joined` says of how many turns
    each prompt and response was made (empty: of one each), `left_out` which turns of the row are in no example of it,
    by reason.
    """

    id: str
    rounds: tuple[tuple[str, str], ...]
    group: str = ""
    dangling: str | None = None
    row_id: str = ""
    system: str = ""
    system_turns: int = 0
    joined: tuple[tuple[int, int], ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    unlearnt: tuple[int, ...] = ()
    tools: str = ""
    calls: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)

    @property
    def messages(self) -> list[str]:
        """Prompts and responses in turn."""
        texts = [text for both in self.rounds for text in both]
        return texts if self.dangling is None else [*texts, self.dangling]

    @property
    def beginning(self) -> tuple[str, ...]:
        """What is said before the first prompt."""
        return tuple(text for text in (self.system, self.tools) if text)

    @property
    def has_tools(self) -> bool:
        """Whether more than texts is said."""
        return bool(self.tools or self.calls)

    @property
    def turns_of_rounds(self) -> tuple[tuple[int, int], ...]:
        """Of how many turns each prompt and each response was made."""
        return self.joined or (ONE_EACH,) * len(self.rounds)

    @property
    def turns(self) -> int:
        """How many turns of its row the example holds."""
        return self.system_turns + sum(map(sum, self.turns_of_rounds)) + (self.dangling is not None)


class DropError(Exception):
    """The reason, one word for each kind, and where the row does not show it a `detail`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was dropped: why, where and what it was ("line 3: {...}"), and how many turns it has."""

    reason: str
    sample: str
    turns: int = 0
