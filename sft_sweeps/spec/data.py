"""What is trained on: sources, how their rows are read, and which part of each a mixture takes."""

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from sft_sweeps.identity import EXECUTION, WHERE_CHANGED, canonical_json


def count_examples(rows: int, fraction: Fraction, heldout: int = 0) -> int:
    """How many examples a fraction takes of `rows`, of which `heldout` are reserved: one rule, floor."""
    return math.floor(max(rows - heldout, 0) * fraction)


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is done to conversations before they are examples; conf/source/sharegpt.yaml says what each rule is.

    `tags` is the content of a file of tags (`sha256:...`), "" where words and code fences stand in for them.
    """

    html_to_markdown: bool = False
    role_break: Literal["cut", "drop", "join"] = "cut"
    min_characters: int = 0
    drop_words: tuple[str, ...] = ()
    drop_duplicates: bool = False
    drop_plugins: bool = False
    keep_languages: tuple[str, ...] = ()
    drop_languages: tuple[str, ...] = ()
    drop_repeated_digits: bool = False
    split_tokens: int = 0
    drop_wrong_lists: bool = False
    drop_tags: tuple[str, ...] = ()
    tags: str = ""
    tags_path: str = field(default="", metadata=EXECUTION)

    @property
    def fallback(self) -> bool:
        """Whether words and code fences stand in for the tags of a tagger."""
        return bool(self.drop_tags) and not self.tags


@dataclass(frozen=True, slots=True)
class TurnRules:
    """What is done with the turns of a conversation that are neither prompt nor response, and what roles are called.

    The defaults are what was done before there were rules; they hold where a file has no such turns, too. `roles` are
    pairs of a file's name and the role.
    """

    system: Literal["render", "drop", "refuse"] = "drop"
    tools: Literal["refuse", "drop", "cut", "render"] = "cut"
    roles: tuple[tuple[str, str], ...] = ()


NO_TURN_RULES = TurnRules()


@dataclass(frozen=True, slots=True)
class Source:
    """A named SFT data set of one ability.

    `content` says which bytes: a pin (`git-blob:...`, `sha256:...`), `generated:...`, or `provisional:...` when it is
    neither pinned nor present. The name is part of the identity because example ids, and so their order, start with it.
    """

    name: str
    content: str
    format: str
    ability: str = field(metadata=EXECUTION)
    role: Literal["specialized", "general"] = field(metadata=EXECUTION)
    rows: int = field(metadata=EXECUTION)
    rows_from: Literal["declared", "counted", "generated", "prepared"] = field(default="declared", metadata=EXECUTION)
    path: str = field(default="", metadata=EXECUTION)
    mean_tokens: float = field(default=0.0, metadata=EXECUTION)
    max_bad_fraction: float = field(default=0.05, metadata=EXECUTION)
    seed: int = field(default=0, metadata=EXECUTION)  # of a generated source, whose content says it too
    slot: str = field(default="", metadata=EXECUTION)  # its key in data.sources, for messages
    declared_rows: int = field(default=0, metadata=EXECUTION)  # what its configuration says of a pinned file, or 0
    cleaning: Cleaning | None = None  # None: none of its rules is on
    bug_compatible: bool = False  # keep and mask what FastChat keeps and masks
    # The version of data/row_keys.py where its file may have rows that are read by it, 0 where it has none.
    row_keys: int = field(default=0, metadata=WHERE_CHANGED)
    turns: TurnRules = field(default=NO_TURN_RULES, metadata=WHERE_CHANGED)
    # The version of data/fields.py where its file has rows of which something else was read before, else 0.
    fields: int = field(default=0, metadata=WHERE_CHANGED)
    # What columns hold, where that was typed, "" for one that is not read (data/columns.py).
    columns: tuple[tuple[str, str], ...] = field(default=(), metadata=WHERE_CHANGED)
    group_by: str = field(default="", metadata=EXECUTION)  # a column, or "" (data/groups.py)
    pre_split: bool = field(default=False, metadata=EXECUTION)  # its rows may be chunks of conversations
    # The rule and version of data/groups.py where its groups are others than those of version 0.1.0, which took ids for
    # those of chunks; "" where they are the same.
    groups: str = field(default="", metadata=WHERE_CHANGED)
    licence: str = field(default="", metadata=EXECUTION | WHERE_CHANGED)  # "": unknown
    origin: str = field(default="", metadata=EXECUTION | WHERE_CHANGED)  # where its file comes from, in words

    @property
    def provisional(self) -> bool:
        return self.content.startswith("provisional:")


@dataclass(frozen=True, slots=True)
class Component:
    """One source's part in a mixture: the first examples of its order under `seed`, never its last `heldout` ones.

    `limit` is the most examples that are taken, None: as many as the fraction gives. An epoch shows each
    `repeat` times. `weight` is that of their tokens in the loss (train/loss.py).
    """

    source: Source
    fraction: Fraction
    seed: int
    heldout: int = 0
    limit: int | None = field(default=None, metadata=WHERE_CHANGED)
    repeat: int = field(default=1, metadata=WHERE_CHANGED)
    weight: Fraction = field(default=Fraction(1), metadata=WHERE_CHANGED)

    @property
    def examples(self) -> int:
        return self.taken_of(self.source.rows)

    def taken_of(self, count: int) -> int:
        """How many of a source's `count` examples are taken."""
        taken = count_examples(count, self.fraction, self.heldout)
        return taken if self.limit is None else min(taken, self.limit)

    @property
    def shown_otherwise(self) -> bool:
        """Whether anything but the fraction says how its examples are shown."""
        return self.limit is not None or self.repeat != 1 or self.weight != 1

    @property
    def shown(self) -> int:
        """Examples of an epoch."""
        return self.examples * self.repeat


@dataclass(frozen=True, slots=True)
class Mixture:
    """The sources of one stage, each with its fraction. The order in which they are listed means nothing.

    Nor does a weight that they share: weights say how much more one source counts than another.
    """

    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        alike = len({c.weight for c in self.components}) == 1
        components = [replace(c, weight=Fraction(1)) for c in self.components] if alike else self.components
        ordered = tuple(sorted(components, key=lambda c: (c.source.name, canonical_json(c))))
        object.__setattr__(self, "components", ordered)

    @property
    def examples(self) -> int:
        """Of one epoch."""
        return sum(c.shown for c in self.components)

    @property
    def tokens(self) -> float:
        """Estimated tokens of one epoch."""
        return sum(c.shown * c.source.mean_tokens for c in self.components)
