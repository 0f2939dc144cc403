"""What is asked of a model and taken from it: answers, scores, representations."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from sft_sweeps.identity import EXECUTION, WHERE_CHANGED, canonical, digest, versions
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage


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

    subject: Stage | Model | Merge
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

    subject: Stage | Model | Merge
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
