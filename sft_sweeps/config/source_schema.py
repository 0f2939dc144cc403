"""The text schema of `conf/source` and `conf/data`: what a source is, how it is cleaned, how much of it is taken."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class CleanConfig:
    """Rules for conversations, in the order in which they apply; all are off by default. conf/source/sharegpt.yaml."""

    html_to_markdown: bool = False
    role_break: str = "cut"
    min_characters: int = 0
    drop_words: list[str] = field(default_factory=list)
    drop_duplicates: bool = False
    drop_plugins: bool = False
    keep_languages: list[str] = field(default_factory=list)
    drop_languages: list[str] = field(default_factory=list)
    drop_repeated_digits: bool = False
    split_tokens: int = 0
    drop_wrong_lists: bool = False
    drop_tags: list[str] = field(default_factory=list)
    tags_file: str | None = None


@dataclass
class SourceConfig:
    """A source is a pinned `file`, the user's own `path`, or `generated` from `seed`.

    `url` is where `action=prepare` fetches `file` from; `hub` a data set of the Hugging Face hub, pinned by `revision`.
    """

    name: str = MISSING
    ability: str = MISSING
    role: str = MISSING
    rows: int = 0
    content: str = ""
    origin: str = ""
    file: str = ""
    path: str | None = None
    generated: bool = False
    seed: int = 0
    format: str = "auto"
    mean_tokens: float = 200.0
    max_bad_fraction: float = 0.05
    url: str = ""
    hub: str = ""
    revision: str = ""
    subset: str = ""
    split: str = "train"
    clean: CleanConfig = field(default_factory=CleanConfig)


@dataclass
class DataConfig:
    """Which sources, in the order that sequential strategies follow, and how much of each."""

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    fraction: str = "1"
    fractions: dict[str, str | None] = field(default_factory=dict)
    seed: int = 0
    heldout: int = 0
    folder: str | None = None
    bug_compatible: bool = False
