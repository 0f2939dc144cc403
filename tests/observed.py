"""Observations as a whole study would give them, drawn from known laws: no store, no training."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import log

from sft_sweeps.analysis.observations import Observation, Part, Setting
from sft_sweeps.stats import proportion

FRACTIONS = tuple(Fraction(1, 4**power) for power in range(5))
BENCHMARKS = {"gsm8k": ("math", "accuracy"), "humaneval": ("code", "pass@1"), "mt_bench": ("general", "rating")}
ROWS = {"math": 110_142, "code": 20_022, "general": 86_060}
SOURCES = {"math": "gsm8k_rft", "code": "code_alpaca", "general": "sharegpt"}
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
ABILITIES = ("code", "math", "general")


def part(ability: str, fraction: Fraction | int = 1, source: str = "") -> Part:
    return Part(ability, source or SOURCES[ability], Fraction(fraction), round(ROWS[ability] * fraction))


def setting(strategy: str = "multi_task", fraction: Fraction | int = 1, **changes: object) -> Setting:
    """All three abilities at one fraction unless `parts` says otherwise."""
    parts = tuple(part(ability, fraction) for ability in ABILITIES)
    return replace(Setting("llama7b", 7, strategy, parts), **changes)  # type: ignore[arg-type]


def observation(
    at: Setting, right: Iterable[float], benchmark: str = "gsm8k", bare: bool = False, **changes: object
) -> Observation:
    """The items' values in their order; `bare`: only the score is known."""
    values = list(map(float, right))
    ability, metric = BENCHMARKS[benchmark]
    mean, share = sum(values) / len(values), metric != "rating"
    ends = proportion(round(sum(values)), len(values)) if share and "low" not in changes else None
    run = f"{at.model} {at.strategy} {at.k} {at.parts} {at.seed} {at.variant}"
    one = Observation(
        setting=at,
        benchmark=benchmark,
        ability=ability,
        metric=metric,
        value=mean,
        low=ends.low if ends else mean - 0.4,
        high=ends.high if ends else mean + 0.4,
        n=len(values),
        share=share,
        protocol=benchmark,
        stage_label="+".join(sorted(at.abilities)) or "base",
        run=run,
        subject=run,
        label=f"{at.model} {at.strategy}" + (f" k={at.k}" if at.k else ""),
        items={} if bare else {str(81 + n): value for n, value in enumerate(values)},
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def study(models: Iterable[str] = ("llama7b", "llama13b"), seeds: int = 2, n: int = 80) -> list[Observation]:
    """Abilities alone and mixed, ratios, a clean source, every strategy with its stages, seeds; base models."""
    made = []
    for size, model in enumerate(models, 1):
        for seed in range(seeds):
            for at in _grid(model, size, seed):
                made += list(_scored(at, n))
    return made


def _grid(model: str, size: int, seed: int) -> Iterator[Setting]:
    def at(strategy: str = "multi_task", *parts: Part, k: Fraction | None = None) -> Setting:
        return Setting(model, size * 7_000_000_000, strategy, parts, k, seed)

    if seed == 0:
        yield at("base")
    for fraction in FRACTIONS:
        yield from (at("multi_task", part(ability, fraction)) for ability in ABILITIES)
        yield at("multi_task", *(part(ability, fraction) for ability in ABILITIES))
        yield at(
            "multi_task", part("code", fraction), part("math", fraction), part("general", fraction, "sharegpt_clean")
        )
        if fraction != 1:
            yield at("multi_task", part("code"), part("math"), part("general", fraction))
            yield at("multi_task", part("code", fraction), part("math", fraction), part("general"))
    whole = tuple(map(part, ABILITIES))
    yield from (at(strategy, *whole) for strategy in ("sequential", "mixed_sequential"))
    yield from (at("dmt", *whole, k=k) for k in FRACTIONS)


PATHS = {"sequential": ("code", "math", "general"), "mixed_sequential": ("code+math", "general")}


def _scored(at: Setting, n: int) -> Iterator[Observation]:
    """On all benchmarks; of the base and of each stage where there are several."""
    path = PATHS.get(at.strategy) or (("code+math", "code+general+math") if at.strategy == "dmt" else ())
    names = ("base", *(path or (("+".join(sorted(at.abilities)),) if at.parts else ())))
    for stage, name in enumerate(names):
        final = stage == len(names) - 1
        subject = f"{at.model} base" if stage == 0 else f"{at} stage {stage}"
        for benchmark, (ability, _) in BENCHMARKS.items():
            amount = at.examples_of(ability) if final or ability in name else 0
            values = list(_values(benchmark, amount, at, f"{subject}{benchmark}", n))
            kinds = _kinds(n) if benchmark == "mt_bench" else {}
            where = {"stage": stage, "final": final, "stage_label": name, "subject": subject, "categories": kinds}
            yield observation(at, values, benchmark, **where)


def _kinds(n: int) -> dict[str, str]:
    return {str(81 + number): CATEGORIES[number * len(CATEGORIES) // n] for number in range(n)}


def _values(benchmark: str, amount: int, at: Setting, name: str, n: int) -> Iterator[float]:
    """More examples, higher scores; a mixture helps where they are few and costs where they are many."""
    stream = random.Random(name)
    level = 0.1 + 0.04 * log(1 + amount) + (0.03 * (7 - log(1 + amount)) / 7 if len(at.abilities) > 1 else 0)
    for _ in range(n):
        if benchmark == "mt_bench":
            yield min(10.0, max(1.0, stream.gauss(1 + 9 * level, 1.5)))
        else:
            yield float(stream.random() < level)
