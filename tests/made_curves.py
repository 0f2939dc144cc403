"""Scores on curves whose law is known."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from sft_sweeps.analysis.observations import Observation, Part, Setting

WHOLE = 10_000
FRACTIONS = tuple(Fraction(1, 4**power) for power in (4, 3, 2, 1, 0))


def setting(fraction: Fraction, model: str = "m", parameters: int = 10**9, **changes: object) -> Setting:
    """Of a run on math alone."""
    part = Part("math", "math", fraction, round(WHOLE * fraction))
    return Setting(model, parameters, "multi_task", (part,), **changes)  # type: ignore[arg-type]


def score(of: Setting, value: float, n: int = 1000, metric: str = "accuracy", **changes: object) -> Observation:
    share = metric == "accuracy"
    half = 1.96 * np.sqrt(max(value * (1 - value), 1e-4) / n) if share else 0.05
    made = {"run": f"{of.model} {of.fraction} {of.seed}", "protocol": "p"} | changes
    return Observation(of, "bench", "math", metric, value, value - half, value + half, n, share, **made)  # type: ignore[arg-type]


def law(full: float, drop: float, exponent: float) -> Mapping[Fraction, float]:
    """Score at each fraction of c - a f^-b that is `full` at 1 and `drop` lower at the smallest."""
    reach = float(FRACTIONS[0]) ** -exponent - 1
    return {f: full - drop * (float(f) ** -exponent - 1) / reach for f in FRACTIONS}


def curve(values: Mapping[Fraction, float], upto: int = 5, n: int = 1000, **changes: object) -> list[Observation]:
    return [score(setting(f, **changes), values[f], n) for f in FRACTIONS[:upto]]  # type: ignore[arg-type]


def seeded(values: Mapping[Fraction, float], seeds: Sequence[int]) -> list[Observation]:
    return [score(setting(f, seed=seed), value) for f, value in values.items() for seed in seeds]
