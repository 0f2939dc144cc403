"""Small exact values for tests: each function fills in everything that a test does not care about."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from sft_sweeps.plan.request import Request
from sft_sweeps.spec.data import Component, Mixture, Source
from sft_sweeps.spec.evaluation import Benchmark, Engine, Generation
from sft_sweeps.spec.training import Model, Recipe, Shape, Stage

SHAPE = Shape(64, 176, 2, 4, 4, 300, 2048)
RECIPE = Recipe(
    epochs=3,
    batch_size=16,
    learning_rate=2e-5,
    warmup_fraction=0.03,
    schedule="cosine",
    weight_decay=0.0,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_epsilon=1e-8,
    max_grad_norm=1.0,
    max_length=512,
    template="vicuna_bare",
    loss_reduction="token_mean",
    precision="fp32",
    model_dtype="fp32",
    seed=0,
)
ENGINE = Engine("hf", "5", "fp32")
ROLES: dict[str, Any] = {"general": "general"}  # of an ability; the others are specialized


def source(name: str = "gsm8k", ability: str = "math", rows: int = 1000, **changes: Any) -> Source:
    made = Source(name, f"sha256:{name}", "auto", ability, ROLES.get(ability, "specialized"), rows, mean_tokens=100.0)
    return replace(made, **changes)


def component(
    name: str, ability: str = "", fraction: Fraction | int = 1, rows: int = 1000, **source_changes: Any
) -> Component:
    """One source's part; the ability is the source's name where none is given."""
    return Component(source(name, ability or name, rows, **source_changes), Fraction(fraction), seed=0)


def mixed(fraction: Fraction | int = 1, rows: int = 1000) -> tuple[Component, ...]:
    """Code, math and general, in the order that sequential strategies follow."""
    return tuple(component(name, fraction=fraction, rows=rows) for name in ("code", "math", "general"))


def model(name: str = "mini", **changes: Any) -> Model:
    return replace(Model(f"init:{name}", "tokenizer:0", SHAPE, seed=0, init_std=0.02, name=name), **changes)


def stage(parent: Stage | Model | None = None, components: Iterable[Component] = (), **recipe: Any) -> Stage:
    made = tuple(components) or (component("math"),)
    return Stage(parent or model(), Mixture(made), replace(RECIPE, **recipe))


def benchmark(name: str = "mini_math", **changes: Any) -> Benchmark:
    return replace(Benchmark(name, f"generated:{name}", 10, "vicuna_bare", max_new_tokens=8), **changes)


def generation(subject: Stage | Model | None = None, **changes: Any) -> Generation:
    return Generation(subject or stage(), benchmark(**changes), ENGINE)


def request(
    components: Sequence[Component] = (),
    strategy: str = "multi_task",
    k: Fraction | None = None,
    base: Model | None = None,
    **changes: Any,
) -> Request:
    made = Request(base or model(), tuple(components) or mixed(), strategy, k, RECIPE, (benchmark(),), ENGINE, False)
    return replace(made, **changes)
