"""One point of a sweep in exact values: what a plan is built from."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sft_sweeps.spec.data import Component
from sft_sweeps.spec.evaluation import Benchmark, Engine
from sft_sweeps.spec.training import Model, Recipe


@dataclass(frozen=True, slots=True)
class AskedRepresentations:
    """Representations that a point asks for, of its base model and of its own: of so many `queries` of each source."""

    queries: int
    layer: int
    pooling: Literal["last", "mean"]
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """One point of a sweep in exact values.

    Its run's last model is scored; with `every_stage` that of every stage, with `specialized` the one that the first
    stage with general data starts from, with `base_model` the base model.
    """

    model: Model
    components: tuple[Component, ...]
    strategy: str
    k: Fraction | None
    recipe: Recipe
    benchmarks: tuple[Benchmark, ...]
    engine: Engine
    every_stage: bool
    specialized: bool = False
    base_model: bool = False
    notes: tuple[str, ...] = ()
    representations: AskedRepresentations | None = None
