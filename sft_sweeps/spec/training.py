"""What a model and a stage of training are, and how it is trained.

Frozen values with exact identities: the SHA-256 of the canonical JSON of the fields that are not marked `EXECUTION`. A
stage's holds its parent's, so a chain of stages is a chain of hashes.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from sft_sweeps.identity import EXECUTION, WHERE_CHANGED, canonical, digest, versions
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.data import Mixture

ExampleOrder = Literal["shuffled", "by_source", "interleaved"]  # within an epoch (data/encode/batches.py)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage is trained: everything that changes its weights and is not data. Units: steps, examples, tokens.

    `source_order` are the sources by name, first to last, where the order of the examples is `by_source`.
    """

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
    order: ExampleOrder = field(default="shuffled", metadata=WHERE_CHANGED)
    source_order: tuple[str, ...] = field(default=(), metadata=WHERE_CHANGED)
    adapter: Adapter | None = field(default=None, metadata=WHERE_CHANGED)  # none: all weights are trained
    padded: bool = field(default=False, metadata=WHERE_CHANGED)  # each example in a padded row of its own

    def steps(self, examples: int) -> int:
        """Optimizer steps: every epoch's last batch is filled up, never dropped."""
        return self.epochs * math.ceil(examples / self.batch_size)

    def after(self, parent: "Stage | Model") -> "Recipe":
        """The recipe of a stage of this parent: what becomes of its adapter is no part of it where there is none."""
        before = parent.recipe.adapter if isinstance(parent, Stage) else None
        return replace(self, adapter=self.adapter.first) if self.adapter and not before else self


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
        own = ("adapter",) if self.recipe.adapter else ()
        return {
            "kind": "stage",
            "versions": versions("cleaning", "encoding", "subset", "batches", "loss", "optimizer", *own),
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
        """Readable: the model, then each stage's abilities, what of fractions ("/" as "_") is not 1, its adapter."""
        parts = []
        for c in self.mixture.components:
            share = "" if c.fraction == 1 else "@" + str(c.fraction).replace("/", "_")
            share += "" if c.limit is None else f"@{c.limit}"
            share += f"x{c.repeat}" if c.repeat > 1 else ""
            share += "" if c.weight == 1 else "w" + str(c.weight).replace("/", "_")
            parts.append((c.source.role != "general", c.source.ability, c.source.ability + share))
        own = "+".join(dict.fromkeys(text for _, _, text in sorted(parts)))
        adapter = f"-{self.recipe.adapter.words}" if self.recipe.adapter else ""
        return f"{self.parent.label}--{own}{adapter}"
