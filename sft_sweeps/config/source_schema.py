"""The text schema of `conf/source` and `conf/data`: what a source is, how it is cleaned, how much of it is taken."""

from dataclasses import dataclass, field
from typing import Any, get_args

from sft_sweeps.data import formats
from sft_sweeps.ranges import at_least, between, folder_name, literals, one_known, one_of
from sft_sweeps.spec.data import Cleaning, Source, TurnRules
from sft_sweeps.spec.training import ExampleOrder


@dataclass
class CleanConfig:
    """Rules for conversations, in the order in which they apply; all but role_break are off by default.

    conf/source/sharegpt.yaml says what FastChat sets them to.
    """

    html_to_markdown: bool = False
    role_break: str = one_of(*literals(Cleaning, "role_break"), default="drop")
    """Of two turns of one role: drops the conversation (`drop`), makes them one (`join`), ends it there (`cut`)."""
    min_characters: int = at_least(0, default=0)
    """Shorter conversations are dropped."""
    drop_words: list[str] = field(default_factory=list)
    """Conversations that hold one of these words are dropped."""
    drop_duplicates: bool = False
    """Drops a conversation with the id, or the first prompt and response, of an earlier one."""
    drop_plugins: bool = False
    keep_languages: list[str] = field(default_factory=list)
    drop_languages: list[str] = field(default_factory=list)
    drop_repeated_digits: bool = False
    split_tokens: int = at_least(0, default=0)
    """Longer conversations are split between rounds; 0: they are cut at train.max_length."""
    drop_wrong_lists: bool = False
    """Drops conversations with a numbered list that begins with 1 twice."""
    drop_tags: list[str] = field(default_factory=list)
    """Conversations with one of these tags are dropped."""
    tags_file: str | None = None
    """A tagger's answers, {"id", "tags"} a line; without it words and code fences stand in for tags."""


@dataclass
class SourceConfig:
    """A source is a pinned `file`, a data set of the hub, the user's own `path`, or `generated` from `seed`."""

    name: str = folder_name()
    ability: str = folder_name()
    role: str = one_of(*literals(Source, "role"))
    rows: int = 0
    """The rows that the pinned file has; of a generated source, how many to make."""
    content: str = ""
    """The pin: `git-blob:...` or `sha256:...` of the file."""
    origin: str = ""
    """Where the file comes from, in words."""
    licence: str = ""
    """Of the file, as a published model's card says it: mit, cc-by-4.0 ...; empty: unknown."""
    file: str = ""
    """The pinned file, below data.folder."""
    path: str | None = None
    """The user's own file, in place of the pinned one."""
    generated: bool = False
    seed: int = at_least(0, default=0)
    """Of a generated source."""
    format: str = one_known(formats.valid_names, default="auto")
    """What the rows look like; `auto` finds out."""
    system_turns: str = one_of(*literals(TurnRules, "system"), default="render")
    """`render`: written where train.template has a place for them, else the row is refused; `drop`: left out."""
    tool_turns: str = one_of(*literals(TurnRules, "tools"), default="refuse")
    """Calls of tools and what they answer: the row is refused, they are left out (`drop`), the conversation ends there
    (`cut`), or, where train.template has a place for them, they are written, and the calls learnt (`render`)."""
    roles: dict[str, Any] = field(default_factory=dict)
    """What other names of roles mean, e.g. {human: [caller, guest], assistant: [helper]}, or {caller: human}."""
    columns: dict[str, str | None] = field(default_factory=dict)
    """Which columns hold what, e.g. {prompt: question, response: answer}; {KEY: null}: the key is not read."""
    group_by: str | None = None
    """A column: rows that have the same value in it belong together, and a fraction takes them together."""
    pre_split: bool = False
    """Rows may be chunks of conversations, with ids CONVERSATION_TURN: one that continues the row before belongs to it.
    `group_by` takes its place."""
    mean_tokens: float = 200.0
    """Of an example, for estimates before it is encoded."""
    max_bad_fraction: float = between(0, 1, default=0.05)
    """The share of rows that may be unusable before the source is refused."""
    url: str = ""
    """Where `action=prepare` fetches `file` from."""
    hub: str = ""
    """A data set of the Hugging Face hub, pinned by `revision`; `subset` and `split` are the hub's words."""
    revision: str = ""
    subset: str = ""
    split: str = "train"
    clean: CleanConfig = field(default_factory=CleanConfig)


@dataclass
class DataConfig:
    """Which sources, and how much of each."""

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    """In the order that sequential strategies follow."""
    fraction: str = "1"
    """The share of every source that is taken ..."""
    fractions: dict[str, str | None] = field(default_factory=dict)
    """... and of some, by their ability, their key in `sources` or their name (config/mixtures.py)."""
    limit: int | None = at_least(1, default=None)
    """The most examples that are taken of each source; null: as many as the fraction gives."""
    repeat: dict[str, int | None] = field(default_factory=dict)
    """How often an epoch shows each example of a source, named as in `fractions`; null: once."""
    weight: dict[str, str | None] = field(default_factory=dict)
    """The weight of a source's tokens in the loss, above 0, named as in `fractions`; null: 1."""
    order: str = one_of(*get_args(ExampleOrder), default="shuffled")
    """Of an epoch's examples: shuffled, one source after the other (by_source), or in proportion (interleaved)."""
    seed: int = at_least(0, default=0)
    """Of which examples a fraction takes (train.seed: their order)."""
    heldout: int = at_least(0, default=0)
    """The last examples of each source that are never trained on."""
    folder: str | None = None
    """Where the sources' files lie; null: OUTPUT_DIR/data."""
    bug_compatible: bool = False
    """Keeps and masks what FastChat of 2023 kept and masked, its faults included."""
