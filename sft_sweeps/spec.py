"""What things *are*: frozen values with exact identities.

The identity of a value is the SHA-256 of the canonical JSON of the fields that are not marked `EXECUTION`. A stage's
holds its parent's, so a chain of stages is a chain of hashes.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

from sft_sweeps.identity import EXECUTION, WHERE_CHANGED, canonical, canonical_json, digest, versions


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
    tools: Literal["refuse", "drop", "cut"] = "cut"
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

    `limit` is the most examples that are taken, 0: as many as the fraction gives. An epoch shows each `repeat` times.
    `weight` is that of their tokens in the loss (train/loss.py).
    """

    source: Source
    fraction: Fraction
    seed: int
    heldout: int = 0
    limit: int = field(default=0, metadata=WHERE_CHANGED)
    repeat: int = field(default=1, metadata=WHERE_CHANGED)
    weight: Fraction = field(default=Fraction(1), metadata=WHERE_CHANGED)

    @property
    def examples(self) -> int:
        return self.taken_of(self.source.rows)

    def taken_of(self, count: int) -> int:
        """How many of a source's `count` examples are taken."""
        taken = count_examples(count, self.fraction, self.heldout)
        return min(taken, self.limit or taken)

    @property
    def shown_otherwise(self) -> bool:
        """Whether anything but the fraction says how its examples are shown."""
        return bool(self.limit) or self.repeat != 1 or self.weight != 1

    @property
    def shown(self) -> int:
        """Examples of an epoch."""
        return self.examples * self.repeat


@dataclass(frozen=True, slots=True)
class Mixture:
    """The sources of one stage, each with its fraction. The order in which they are listed means nothing."""

    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.components, key=lambda c: (c.source.name, canonical_json(c))))
        object.__setattr__(self, "components", ordered)

    @property
    def examples(self) -> int:
        """Of one epoch."""
        return sum(c.shown for c in self.components)

    @property
    def tokens(self) -> float:
        """Estimated tokens of one epoch."""
        return sum(c.shown * c.source.mean_tokens for c in self.components)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage is trained: everything that changes its weights and is not data. Units: steps, examples, tokens."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float
    schedule: Literal["cosine"]
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    max_grad_norm: float
    max_length: int
    template: str
    loss_reduction: Literal["device_mean", "token_mean", "example_mean"]
    precision: Literal["fp32", "bf16"]
    model_dtype: Literal["fp32", "bf16"]
    seed: int
    virtual_devices: int = 0  # of device_mean; 0 for the other reductions, which have none

    def steps(self, examples: int) -> int:
        """Optimizer steps: every epoch's last batch is filled up, never dropped."""
        return self.epochs * math.ceil(examples / self.batch_size)


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a decoder.

    `model_type` is what its config.json calls the architecture; `head_dim` the width of a head, 0: hidden_size / heads;
    `parameters` the number of weights where it does not follow from the dimensions (models/architectures.py).
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    max_positions: int
    tie_embeddings: bool = False
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    model_type: str = field(default="llama", metadata=WHERE_CHANGED)
    head_dim: int = field(default=0, metadata=WHERE_CHANGED)
    parameters: int = field(default=0, metadata=WHERE_CHANGED)

    @property
    def head_width(self) -> int:
        """Numbers of one head."""
        return self.head_dim or self.hidden_size // self.heads


def made_from_seed(weights: str) -> bool:
    """Whether weights are drawn from a seed here, and not anybody's files."""
    return weights.startswith(("init:", "pretrained:"))


@dataclass(frozen=True)
class Model:
    """A base model: published weights by pin, or a random initialisation by shape, seed and standard deviation.

    `pretrained:` weights are such an initialisation, trained on the text of data/graded.py.
    """

    weights: str
    tokenizer: str
    shape: Shape
    seed: int
    init_std: float
    name: str = field(metadata=EXECUTION)
    path: str = field(default="", metadata=EXECUTION)
    tokenizer_path: str = field(default="", metadata=EXECUTION)
    gpus: int = field(default=0, metadata=EXECUTION)
    licence: str = field(default="", metadata=EXECUTION | WHERE_CHANGED)  # "": unknown
    origin: str = field(default="", metadata=EXECUTION | WHERE_CHANGED)  # its repository of the hub

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What is hashed, readable."""
        return {"kind": "model", **canonical(self)}

    @cached_property
    def id(self) -> str:
        return digest(self.payload)

    @property
    def label(self) -> str:
        return self.name

    @property
    def model(self) -> "Model":
        """Itself, as a stage's is the base model that its chain begins with."""
        return self

    @property
    def chain(self) -> "tuple[Stage, ...]":
        """The stages that made it: none."""
        return ()

    @property
    def initialised(self) -> bool:
        """Whether its weights are made here, from a seed."""
        return made_from_seed(self.weights)

    @property
    def pretrained(self) -> bool:
        """Whether they are trained here besides, on generated text."""
        return self.weights.startswith("pretrained:")

    @property
    def made(self) -> bool:
        """Whether a job makes its weights."""
        return self.initialised

    @property
    def provisional(self) -> bool:
        return self.weights.startswith("provisional:") or self.tokenizer.startswith("provisional:")


@dataclass(frozen=True)
class Stage:
    """One fine-tuning pass from one parent: the unit of identity, caching and jobs."""

    parent: "Stage | Model"
    mixture: Mixture
    recipe: Recipe

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What is hashed, readable."""
        return {
            "kind": "stage",
            "versions": versions("cleaning", "encoding", "subset", "batches", "loss", "optimizer"),
            "parent": self.parent.id,
            "mixture": canonical(self.mixture.components),
            "recipe": canonical(self.recipe),
        }

    @cached_property
    def id(self) -> str:
        return digest(self.payload)

    @cached_property
    def model(self) -> Model:
        """The base model that its chain begins with."""
        return self.parent.model

    @property
    def chain(self) -> "tuple[Stage, ...]":
        """The stages that made it, from the first to itself."""
        return (*self.parent.chain, self)

    @property
    def made(self) -> bool:
        """Whether a job makes its weights."""
        return True

    @property
    def provisional(self) -> bool:
        return self.parent.provisional or any(c.source.provisional for c in self.mixture.components)

    @property
    def steps(self) -> int:
        return self.recipe.steps(self.mixture.examples)

    @cached_property
    def label(self) -> str:
        """Readable: the model, then each stage's abilities, fractions and the like where not 1 ("/" as "_")."""
        parts = []
        for c in self.mixture.components:
            share = "" if c.fraction == 1 else "@" + str(c.fraction).replace("/", "_")
            share += f"@{c.limit}" if c.limit else ""
            share += f"x{c.repeat}" if c.repeat > 1 else ""
            share += "" if c.weight == 1 else "w" + str(c.weight).replace("/", "_")
            parts.append((c.source.role != "general", c.source.ability, c.source.ability + share))
        own = "+".join(dict.fromkeys(text for _, _, text in sorted(parts)))
        return f"{self.parent.label}--{own}"


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that grades answers, behind an endpoint that speaks OpenAI's protocol.

    Grades of different judges are different scores: model, revision, texts and sampling are the identity. Prices are in
    US dollars for a million tokens; 0 where they are not known. `key_variable` names the environment variable that
    holds the key, which nothing here ever does.
    """

    model: str
    revision: str
    prompts: str
    references: str
    temperature: float
    max_tokens: int
    repeats: int
    prompts_path: str = field(default="", metadata=EXECUTION)
    references_path: str = field(default="", metadata=EXECUTION)
    base_url: str = field(default="", metadata=EXECUTION)
    key_variable: str = field(default="OPENAI_API_KEY", metadata=EXECUTION)
    workers: int = field(default=4, metadata=EXECUTION)
    timeout: float = field(default=120.0, metadata=EXECUTION)
    retries: int = field(default=6, metadata=EXECUTION)
    max_cost_usd: float = field(default=0.0, metadata=EXECUTION)
    prompt_usd: float = field(default=0.0, metadata=EXECUTION)
    completion_usd: float = field(default=0.0, metadata=EXECUTION)


@dataclass(frozen=True)
class Benchmark:
    """A test set with its protocol. `content` says which items; held-out loss names the source it is taken from.

    `examples` of its `total` items are asked, `samples` times each. Its judge belongs to the score, not to the answers.
    """

    name: str
    content: str
    examples: int
    template: str
    max_new_tokens: int = 0
    source: Source | None = None
    seed: int = 0
    max_length: int = 0
    style: str = ""
    samples: int = 1
    temperature: float = 0.0
    ability: str = field(default="", metadata=EXECUTION)
    total: int = field(default=0, metadata=EXECUTION)
    path: str = field(default="", metadata=EXECUTION)
    judge: Judge | None = field(default=None, metadata=EXECUTION)
    scorer_version: int = field(default=1, metadata=EXECUTION | WHERE_CHANGED)  # it names the score, not the answers

    @property
    def generates(self) -> bool:
        """Whether the model answers it (held-out loss only reads)."""
        return self.source is None


@dataclass(frozen=True, slots=True)
class Engine:
    """What answers: the backend with its major version and the number format of its weights."""

    backend: str
    version: str
    dtype: str


@dataclass(frozen=True)
class Generation:
    """A model's answers to a benchmark's items, kept whole (for held-out loss: its losses on them)."""

    subject: Stage | Model
    benchmark: Benchmark
    engine: Engine

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What is hashed, readable."""
        component = "generation" if self.benchmark.generates else "heldout_loss"
        return {
            "kind": "generation",
            "versions": versions(component),
            "subject": self.subject.id,
            "benchmark": canonical(self.benchmark),
            "engine": canonical(self.engine),
        }

    @cached_property
    def id(self) -> str:
        return digest(self.payload)


@dataclass(frozen=True)
class Score:
    """The number a scorer gives a generation. A new scorer version never generates again."""

    generation: Generation
    scorer: str
    version: int

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What is hashed, readable."""
        return {
            "kind": "score",
            "generation": self.generation.id,
            "scorer": self.scorer,
            "version": self.version,
            "judge": canonical(self.generation.benchmark.judge),
        }

    @cached_property
    def id(self) -> str:
        return digest(self.payload)


@dataclass(frozen=True, slots=True)
class Queries:
    """Prompts of a source as a model is given them to answer: the first turn of examples, up to where it would answer.

    They are the last `examples` of the source's order under `seed`, of each group (a conversation) one, all different:
    those that a fraction trains on last.
    """

    source: Source
    examples: int
    seed: int
    template: str
    max_length: int


@dataclass(frozen=True)
class Representations:
    """A model's hidden states of queries: a vector for each, from `hidden_states[layer]` of Hugging Face's models.

    That is what block `layer` puts out, counted from 1 (0: the embeddings; of the last one, behind the final norm).
    `pooling` is the prompt's `last` token, or the `mean` over its tokens but the first.
    """

    subject: Stage | Model
    queries: Queries
    layer: int
    pooling: Literal["last", "mean"]
    dtype: str

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What is hashed, readable."""
        return {
            "kind": "representations",
            "versions": versions("cleaning", "encoding", "subset", "representations"),
            "subject": self.subject.id,
            "queries": canonical(self.queries),
            "layer": self.layer,
            "pooling": self.pooling,
            "dtype": self.dtype,
        }

    @cached_property
    def id(self) -> str:
        return digest(self.payload)

    @property
    def label(self) -> str:
        """Readable: whose, of which queries, where."""
        return f"{self.subject.label}: {self.queries.source.name} at layer {self.layer} ({self.pooling})"
