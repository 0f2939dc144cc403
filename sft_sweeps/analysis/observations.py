"""One score with where it stands in the grid: what figures, the page, predictions and the paper's tables share.

`report/observe.py` makes observations of a sweep's scores; the paper's tables are observations too. What is analysed
together must agree in everything but the axis in question: `Setting.variant` differs where anything else of a run's
identity does, `Observation.protocol` where the items, the scorer, the judge or the engine do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, TypeVar

Key = TypeVar("Key")
Thing = TypeVar("Thing")
LOWER_IS_BETTER = ("loss",)


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """So much of one source: `fraction` is of the whole source, `examples` are what that is.

    `content` is a digest of what the source is and how examples are drawn from it, "" where that is not known.
    """

    ability: str
    source: str
    fraction: Fraction
    examples: int
    content: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a run stands in the grid. `strategy` is `base` for a base model, which has no parts.

    `variant` is a digest of what else of the run's identity may differ, its weights and recipe: runs of two variants
    are never one curve, and runs of two settings never share a cell. The paper's rows have "" or a protocol's name.
    """

    model: str
    parameters: int
    strategy: str
    parts: tuple[Part, ...] = ()
    k: Fraction | None = None
    seed: int = 0
    variant: str = ""

    @property
    def cell(self) -> "Setting":
        """The setting without its training seed: replicates share it."""
        return replace(self, seed=0)

    @property
    def abilities(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.ability for part in self.parts))

    @property
    def arm(self) -> str:
        """`base`, `alone` where it was trained on one ability, else the strategy."""
        return "alone" if self.strategy != "base" and len(self.abilities) == 1 else self.strategy

    @property
    def strategy_with_k(self) -> str:
        """`dmt k=1/256`, `sequential`."""
        return self.strategy + ("" if self.k is None else f" k={self.k}")

    @property
    def fraction(self) -> Fraction | None:
        """The fraction that all sources share; None where they differ or there are none."""
        fractions = {part.fraction for part in self.parts}
        return fractions.pop() if len(fractions) == 1 else None

    def fraction_of(self, ability: str) -> Fraction | None:
        """The fraction of an ability's sources; None where they differ or it has none."""
        fractions = {part.fraction for part in self.parts if part.ability == ability}
        return fractions.pop() if len(fractions) == 1 else None

    def examples_of(self, ability: str) -> int:
        return sum(part.examples for part in self.parts if part.ability == ability)

    @property
    def examples(self) -> int:
        return sum(part.examples for part in self.parts)


@dataclass(frozen=True, slots=True)
class Observation:
    """A score on one benchmark of the model that a run's stage left behind.

    `value`, `low` and `high` are shares from 0 to 1 where `share` says so, else in the metric's own unit (a rating from
    1 to 10, nats). `stage` counts from 1, the base model is 0; `final` is the run's last. `items` are the values of the
    single items by id, for paired comparisons: empty where only the score is known; `categories` are theirs, where the
    benchmark has some. `run` is the run's id, `subject` that of the scored model, `label` names the run. `printed` is
    the value as a paper prints it, `flags` say what is known of it (`off_grid`, `n_suspected=165`, `copied_from=...`);
    both are empty for scores of our own.
    """

    setting: Setting
    benchmark: str
    ability: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    share: bool
    protocol: str = ""
    stage: int = 1
    final: bool = True
    stage_label: str = ""
    run: str = ""
    subject: str = ""
    label: str = ""
    origin: Literal["ours", "paper"] = "ours"
    printed: str = ""
    flags: tuple[str, ...] = ()
    items: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)
    categories: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in LOWER_IS_BETTER


def grouped(things: Iterable[Thing], key: Callable[[Thing], Key]) -> dict[Key, list[Thing]]:
    """Observations, or what is made of them, by a key, in order of first appearance."""
    groups: dict[Key, list[Thing]] = {}
    for one in things:
        groups.setdefault(key(one), []).append(one)
    return groups


def row(one: Observation) -> dict[str, Any]:
    """A flat row without the items, for tables and files: text, numbers and truth values alone."""
    setting = one.setting
    fractions = {part.source: str(part.fraction) for part in setting.parts}
    return {
        "label": one.label,
        "run": one.run,
        "origin": one.origin,
        "model": setting.model,
        "parameters": setting.parameters,
        "strategy": setting.strategy,
        "arm": setting.arm,
        "k": "" if setting.k is None else str(setting.k),
        "fractions": " ".join(f"{source}={fraction}" for source, fraction in fractions.items()),
        "examples": setting.examples,
        "seed": setting.seed,
        "variant": setting.variant,
        "stage": one.stage,
        "stage_label": one.stage_label,
        "final": one.final,
        "subject": one.subject,
        "benchmark": one.benchmark,
        "ability": one.ability,
        "protocol": one.protocol,
        "metric": one.metric,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "printed": one.printed,
        "flags": " ".join(one.flags),
    }


# What `row` has, in its order.
COLUMNS = (
    *(
        "label",
        "run",
        "origin",
        "model",
        "parameters",
        "strategy",
        "arm",
        "k",
        "fractions",
        "examples",
        "seed",
        "variant",
    ),
    *("stage", "stage_label", "final", "subject", "benchmark", "ability", "protocol", "metric", "value", "low", "high"),
    *("n", "printed", "flags"),
)


def mixed_protocols(observations: Sequence[Observation]) -> dict[str, list[str]]:
    """By benchmark, the protocols of a set where it has several, which no axis may put side by side unsaid."""
    protocols: dict[str, dict[str, None]] = {}
    for one in observations:
        protocols.setdefault(one.benchmark, {})[one.protocol] = None
    return {benchmark: list(found) for benchmark, found in protocols.items() if len(found) > 1}
