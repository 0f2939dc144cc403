"""Loss on examples of each source that a run was not trained on: the last ones of the source's seeded order."""

import math
from collections.abc import Iterator, Mapping, Sequence

from sft_sweeps.benchmarks.base import BenchmarkDefinition, ItemValues, ScoringContext
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.scored import Row, ScoringResult, weighted
from sft_sweeps.benchmarks.settings import EvaluateConfig, EvaluatedPoint
from sft_sweeps.plan.engines import ENGINES
from sft_sweeps.ranges import NumberRange
from sft_sweeps.spec.evaluation import Benchmark


def problems(name: str, settings: None, evaluate: EvaluateConfig) -> Iterator[str]:
    """What is wrong with the keys of `evaluate` that it reads."""
    del settings
    yield from NumberRange(1)("evaluate.examples", evaluate.examples)
    if evaluate.engine in ENGINES.names and not ENGINES.get(evaluate.engine).takes_losses:
        yield f"evaluate.engine={evaluate.engine} takes no losses; leave {name} out, or set evaluate.engine=hf"


def resolve(name: str, settings: None, point: EvaluatedPoint) -> Iterator[Benchmark]:
    """One for each source of the point's data."""
    del settings
    for component in point.components:
        source = component.source
        yield Benchmark(
            name=f"{name}:{source.name}",
            content=source.content,
            examples=point.evaluate.examples,
            template=point.template,
            source=source,
            seed=component.seed,
            max_length=point.max_length,
            ability=source.ability,
        )


def score(rows: Sequence[Row], items: Mapping[str, Item], context: ScoringContext) -> ScoringResult:
    """Total loss over total tokens, in nats for each supervised token."""
    del items, context
    scored = weighted("loss", [row["loss"] for row in rows], [row["tokens"] for row in rows])
    return ScoringResult(scored, [{"item": row["id"], "loss": row["loss"], "tokens": row["tokens"]} for row in rows])


def item_values(verdicts: Sequence[Row]) -> ItemValues:
    """An example's loss in units of the mean number of tokens.

    So the mean over examples is the loss of a token, as the score has it.
    """
    tokens = sum(row["tokens"] for row in verdicts) / len(verdicts)
    if not tokens > 0 or not all(math.isfinite(row["loss"]) for row in verdicts):
        raise ValueError("losses that are no numbers, or of no tokens")
    return {str(row["item"]): row["loss"] / tokens for row in verdicts}


DEFINITIONS = (
    BenchmarkDefinition(
        name="heldout_loss",
        version=1,  # 1: total loss over total tokens, interval by bootstrap over examples
        takes_losses=True,
        problems=problems,
        resolve=resolve,
        score=score,
        item_values=item_values,
    ),
)
