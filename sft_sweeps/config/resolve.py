"""From the text of `conf/` to exact values: one Config in, one Request out. Reads files, writes none.

Sources and weights enter by their declared pins, so that planning needs neither. A file of the user's own
(`data.sources.SLOT.path`) enters by its content: one that matches the pin *is* the pinned source, another one takes
its place under its own hash, with its own count of rows.
"""

from collections.abc import Iterator
from typing import Any, cast

from sft_sweeps.benchmarks import registry
from sft_sweeps.benchmarks.settings import EvaluatedPoint
from sft_sweeps.config import mixtures
from sft_sweeps.config.fractions import parse_fraction
from sft_sweeps.config.resolve_model import model, padding_notes, recipe
from sft_sweeps.config.resolve_sources import components, data_folder
from sft_sweeps.config.schema import Config
from sft_sweeps.plan.request import AskedRepresentations, Request
from sft_sweeps.spec.data import Component
from sft_sweeps.spec.evaluation import Benchmark, Engine
from sft_sweeps.spec.training import Recipe
from sft_sweeps.strategies import chain

LOW_RATE = 1e-4  # below which a learning rate is one of full fine-tuning


def request(config: Config) -> Request:
    """The exact values of a checked Config (`checks.problems` lists none); RequestError for what files show."""
    base = model(config.model)
    exact_recipe = recipe(config.train, base, config.data.order)
    parts, notes = components(config, exact_recipe, base.tokenizer)
    k = None if config.strategy.k is None else parse_fraction(config.strategy.k, "strategy.k")
    mixtures.check_repeats(chain(config.strategy.name, parts, k), config.data, exact_recipe.batch_size)
    return Request(
        model=base,
        components=tuple(parts),
        strategy=config.strategy.name,
        k=k,
        recipe=exact_recipe,
        benchmarks=tuple(benchmarks(config, parts, exact_recipe.template)),
        engine=Engine(config.evaluate.engine, config.evaluate.engine_version, exact_recipe.model_dtype),
        every_stage=config.evaluate.stages == "all",
        specialized=config.evaluate.stages == "specialized",
        base_model=config.evaluate.base,
        notes=(
            *notes,
            *adapter_notes(exact_recipe),
            *padding_notes(base, exact_recipe),
            *mixtures.not_held_out(config.evaluate, parts),
        ),
        representations=representations(config),
    )


def adapter_notes(recipe: Recipe) -> Iterator[str]:
    """What a plan says of an adapter: that its learning rate is low."""
    if recipe.adapter and recipe.learning_rate < LOW_RATE:
        yield (
            f"train.learning_rate={recipe.learning_rate:g} is one of full fine-tuning; adapters are usually trained at "
            f"about ten times as much: train.learning_rate={10 * recipe.learning_rate:g}"
        )


def representations(config: Config) -> AskedRepresentations | None:
    """The representations that a point asks for, exactly; None where it asks for none."""
    asked = config.analysis.representations
    if not asked.queries:
        return None
    layer = config.model.representation_layer if asked.layer is None else asked.layer
    return AskedRepresentations(asked.queries, layer, cast(Any, asked.pooling), asked.seed)


def benchmarks(config: Config, components: list[Component], template: str) -> Iterator[Benchmark]:
    """What a point asks of its benchmarks; losses are taken last."""
    folder = data_folder(config)
    point = EvaluatedPoint(config.evaluate, tuple(components), template, config.train.max_length, folder)
    for name in sorted(config.evaluate.benchmarks, key=lambda name: registry.definition_of(name).takes_losses):
        yield from registry.resolve(name, point)
