"""The text schema of `conf/model`, `conf/strategy`, `conf/train` and `conf/deepspeed`: what is trained, and how."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from sft_sweeps.config.fractions import fraction_text
from sft_sweeps.data.template import valid_names as valid_templates
from sft_sweeps.ranges import above, at_least, below, between, checked, folder_name, literals, one_known, one_of
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.training import Recipe
from sft_sweeps.strategies import STRATEGIES

LARGEST_SEED = 2**32 - 1  # of the generator that draws initial weights


@dataclass
class ShapeConfig:
    """Dimensions of a decoder; where hidden_size is 0, they are those of the weights' config.json."""

    hidden_size: int = at_least(0, default=0)
    intermediate_size: int = at_least(0, default=0)
    layers: int = at_least(0, default=0)
    heads: int = at_least(0, default=0)
    kv_heads: int = at_least(0, default=0)
    vocab_size: int = 0
    """Rows of the embedding; 0: as many as the tokenizer has tokens."""
    max_positions: int = at_least(0, default=0)
    model_type: str = "llama"
    """What config.json calls the architecture."""
    head_dim: int = at_least(0, default=0)
    """Numbers of a head; 0: hidden_size / heads."""
    parameters: int = at_least(0, default=0)
    """How many weights there are, where that does not follow from the dimensions."""
    tie_embeddings: bool = False
    """Whether the head is the embedding, so that it has no weights of its own."""


@dataclass
class ModelConfig:
    """A base model: published weights, or new ones."""

    name: str = folder_name(default="")
    """"": that of the folder or repository."""
    weights: str = MISSING
    """A repository of the Hugging Face hub, or `init`: drawn from `seed`, normal with `init_std`; or `pretrained`: such
    an initialisation, trained on the graded miniature's generated text."""
    revision: str = ""
    """The commit of the repository."""
    licence: str = ""
    """Of the weights, as a published model's card says it: apache-2.0, llama2 ...; empty: unknown."""
    seed: int = between(0, LARGEST_SEED, default=0)
    init_std: float = above(0, default=0.02, example="0.02")
    folder: str | None = None
    """The user's own copy of the weights, in place of the Hugging Face cache; it is known by its content."""
    tokenizer: str | None = None
    """A folder with another tokenizer than the model's."""
    gpus: int = at_least(0)
    """Of one training stage; 0: it runs on CPUs."""
    virtual_devices: int = 8
    """Devices over which its published fine-tuning took the mean (`train.loss_reduction=device_mean`)."""
    representation_layer: int = at_least(0, default=15)
    """The layer of which representations are taken where `analysis.representations.layer` names none."""
    shape: ShapeConfig = field(default_factory=ShapeConfig)


@dataclass
class StrategyConfig:
    """How the sources become stages."""

    name: str = one_known(lambda: STRATEGIES.names)
    k: str | None = checked(fraction_text, default=None)
    """DMT's replayed share of the first stage's specialized examples, a fraction."""


@dataclass
class LoraConfig:
    """The adapter of `train.adapter=lora` (Hu et al. 2021): see docs/training.md."""

    rank: int = at_least(1, default=16)
    alpha: float | None = above(0, default=None, example="32")
    """The adapter counts alpha / rank times; null: twice the rank."""
    dropout: float = below(1, default=0.0, example="0.05")
    """The share of an adapter's inputs that a step leaves out."""
    targets: list[str] = field(default_factory=list)
    """The layers that get one, by the last part of their names, as q_proj; none: every linear one but the head."""
    then: str = one_of(*literals(Adapter, "then"), default="continue")
    """What the next stage makes of it: `continue` trains it on, `stack` adds a new one, `merge` starts one anew on the
    merged weights."""
    save: str = one_of("adapter", "merged", default="adapter")
    """What is kept: the adapter alone, or the merged model as well. It changes no result."""


@dataclass
class TrainConfig:
    """The recipe: all of it changes the weights."""

    epochs: int = at_least(1)
    batch_size: int = at_least(1)
    """Examples of one optimizer step, whatever the number of GPUs."""
    learning_rate: float = above(0, example="2e-5")
    """The highest, at the end of the warm-up."""
    warmup_fraction: float = below(1, example="0.03")
    """The share of the steps in which the learning rate rises from 0."""
    schedule: str = one_of(*literals(Recipe, "schedule"), default="cosine")
    weight_decay: float = at_least(0, default=0.0)
    adam_beta1: float = below(1, default=0.9, example="0.9")
    adam_beta2: float = below(1, default=0.999, example="0.999")
    adam_epsilon: float = at_least(0, default=1e-8)
    max_grad_norm: float = at_least(0, default=1.0)
    """Gradients are scaled down to this norm; 0: they never are."""
    max_length: int = at_least(32)
    """Tokens of an example; longer ones are cut on the right."""
    template: str = one_known(valid_templates)
    """How a conversation is written as text (data/template.py); `chat_template` is the tokenizer's own."""
    loss_reduction: str = one_of(*literals(Recipe, "loss_reduction"), default="token_mean")
    """What is averaged: all tokens of a step, its examples, or `virtual_devices` of it apart."""
    virtual_devices: int = 8
    """Parts of a step's examples whose means are averaged by `device_mean`; never the number of real GPUs."""
    precision: str = one_of(*literals(Recipe, "precision"))
    """Of the computation; the optimizer's copy of the weights is fp32."""
    model_dtype: str = one_of(*literals(Recipe, "model_dtype"))
    """Of the finished model, so of what the next stage starts from."""
    seed: int = at_least(0, default=0)
    """Of the order of the examples, and of an adapter's first weights."""
    adapter: str = one_of("none", "lora", default="none")
    """`none` trains all weights, as the paper; `lora` small matrices beside them, which `train.lora` describes."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    padded: bool | None = None
    """Each example in a padded row of its own, in place of several in one: the same loss, slower; null: where the
    architecture takes no others."""


@dataclass
class DeepspeedConfig:
    """How DeepSpeed runs a stage; never what it computes."""

    zero_stage: int = one_of(2, 3, default=3)
    """2 partitions gradients and optimizer states over the processes, 3 the weights as well."""
    offload: bool = False
    """Keeps the optimizer's states in the host's memory."""
    token_budget: int = at_least(0, default=0)
    """The most tokens of one forward pass; 0: what the device holds, found by a probe."""
    recompute: bool | None = None
    """Makes activations a second time in the backward pass; null: where the estimate of memory asks for it."""
