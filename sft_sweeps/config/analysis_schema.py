"""The text schema of `conf/analysis`: what is looked at inside the models of a sweep, besides their scores."""

from dataclasses import dataclass, field

from sft_sweeps.ranges import at_least, one_of


@dataclass
class RepresentationsConfig:
    """Hidden states of queries, of a point's model and of its base model."""

    queries: int = at_least(0, default=0)
    """Of each source, all different; 0: none are taken."""
    layer: int | None = at_least(0, default=None)
    """Index into Hugging Face's `hidden_states`: 15 is what block 15 puts out; null: `model.representation_layer`."""
    pooling: str = one_of("last", "mean", default="last")
    """The state of the prompt's last token, or the mean over its tokens but the first."""
    seed: int = at_least(0, default=0)
    """Of which queries."""


@dataclass
class AnalysisConfig:
    """What is looked at inside a point's model."""

    representations: RepresentationsConfig = field(default_factory=RepresentationsConfig)
