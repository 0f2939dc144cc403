"""The benchmarks by name: those of this package's modules, and those that other distributions announce."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import cast

from sft_sweeps.benchmarks.base import BenchmarkDefinition
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.settings import EvaluateConfig, EvaluatedPoint
from sft_sweeps.errors import RequestError
from sft_sweeps.registry import Registry, attributes
from sft_sweeps.spec.evaluation import Benchmark

PACKAGE = "sft_sweeps.benchmarks"


def own() -> dict[str, BenchmarkDefinition]:
    """Those of this package's modules, by name."""
    tuples = cast(list[tuple[BenchmarkDefinition, ...]], attributes(PACKAGE, "DEFINITIONS"))
    return {definition.name: definition for definitions in tuples for definition in definitions}


def check(name: str, definition: object) -> None:
    """RequestError where a benchmark of another distribution cannot be used."""
    if not isinstance(definition, BenchmarkDefinition) or definition.name != name:
        raise RequestError(
            f"the benchmark {name} of the entry points {PACKAGE} is not a BenchmarkDefinition of that name; "
            "correct or uninstall the distribution"
        )
    if not name.isidentifier() or name in {field.name for field in fields(EvaluateConfig)}:
        raise RequestError(f"the benchmark {name} cannot be a key evaluate.{name}; rename it in its distribution")


BENCHMARKS: Registry[BenchmarkDefinition] = Registry("benchmark", PACKAGE, own, check)


def definitions() -> dict[str, BenchmarkDefinition]:
    """Every benchmark by name; RequestError where another distribution's cannot be used."""
    return BENCHMARKS.all


def definition_of(benchmark: Benchmark | str) -> BenchmarkDefinition:
    """Of a planned benchmark, or by name; RequestError where its distribution is not installed (any more)."""
    name = benchmark if isinstance(benchmark, str) else benchmark.name
    return BENCHMARKS.get(name.partition(":")[0])


def resolve(name: str, point: EvaluatedPoint) -> Iterable[Benchmark]:
    """What a point asks of a benchmark, exactly; RequestError where that is nothing, or another benchmark's."""
    definition = definition_of(name)
    resolved = list(definition.resolve(name, getattr(point.evaluate, name, None), point))
    if not resolved or not all(benchmark.examples for benchmark in resolved):
        raise RequestError(f"evaluate.benchmarks={name} asks nothing: it has no items here; leave it out")
    for benchmark in resolved:
        if benchmark.name.partition(":")[0] != name:
            raise RequestError(
                f"evaluate.benchmarks={name} resolves to {benchmark.name}; a benchmark's name is NAME or NAME:PART"
            )
        ability = benchmark.ability or definition.ability
        yield replace(benchmark, ability=ability, scorer_version=definition.version)


def items_of(benchmark: Benchmark) -> Sequence[Item]:
    """The first `benchmark.examples` items, in the benchmark's order; RequestError where they cannot be had."""
    items = definition_of(benchmark).items(benchmark)
    if len(items) < benchmark.examples:
        raise RequestError(f"{benchmark.name} has {len(items)} items, {benchmark.examples} were planned; plan again")
    return items[: benchmark.examples]
