"""A merge: the average of the weights of finished stages, and so a preview of what training on all of their data gives.

Stages of one parent that are trained apart lie near one another, so that the average of their weights works as a model
(Wortsman et al. 2022, "Model soups"); that such averages rank mixtures of data before one of them is trained is
proposed by Na et al. 2024 ("Scalable Data Ablation Approximations") and Tao et al. 2025 ("Merge to Mix").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from sft_sweeps.identity import digest, versions
from sft_sweeps.spec.training import Model, Stage


@dataclass(frozen=True)
class Merge:
    """The average of some stages' weights. `weights` are shares of 1; in which order stages stand means nothing."""

    parents: tuple[Stage, ...]
    weights: tuple[Fraction, ...]

    @property
    def shares(self) -> list[tuple[Stage, Fraction]]:
        """Each stage with its weight, in the order in which they are added up: that of their ids."""
        return sorted(zip(self.parents, self.weights, strict=True), key=lambda pair: pair[0].id)

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What is hashed, readable."""
        parents = [{"stage": stage.id, "weight": str(weight)} for stage, weight in self.shares]
        return {"kind": "merge", "versions": versions("merge"), "parents": parents}

    @cached_property
    def id(self) -> str:
        return digest(self.payload)

    @property
    def parent(self) -> Stage | Model:
        """What all of its stages were trained from."""
        return self.parents[0].parent

    @property
    def model(self) -> Model:
        """The base model that their chains begin with."""
        return self.parents[0].model

    @property
    def chain(self) -> tuple[Stage, ...]:
        """The stages that it is made of, parents first: those before its own, and these side by side."""
        return tuple({stage.id: stage for parent in self.parents for stage in parent.chain}.values())

    @property
    def made(self) -> bool:
        """Whether a job makes its weights."""
        return True

    @property
    def provisional(self) -> bool:
        return any(stage.provisional for stage in self.parents)

    @property
    def equal(self) -> bool:
        """Whether every stage has the same weight."""
        return len(set(self.weights)) == 1

    @cached_property
    def label(self) -> str:
        """Readable: what the stages have in common, then what each was trained on, behind its weight where not equal.

        `mini--merge~math~code@1_4`, `mini--merge~2_3.math~1_3.code` ("/" as "_").
        """
        common = f"{self.parent.label}--"
        told = [(stage.label.removeprefix(common), str(weight).replace("/", "_")) for stage, weight in self.shares]
        parts = sorted(text if self.equal else f"{weight}.{text}" for text, weight in told)
        return f"{common}merge~{'~'.join(parts)}"


def merged(stages: Sequence[Stage], weights: Sequence[Fraction] = ()) -> Merge:
    """The merge of some stages, weights scaled to a sum of 1, none: all the same; ValueError for what has no average.

    A stage of weight 0 adds nothing and is left out, so that it makes no other merge.
    """
    given = tuple(weights) or (Fraction(1),) * len(stages)
    if len(given) != len(stages):
        raise ValueError(f"{len(given)} weights for {len(stages)} stages; give one for each, in their order")
    if any(weight < 0 for weight in given):
        raise ValueError(f"weight {min(given)} is negative; a weight is a share: 0 or more")
    if given and not any(given):
        raise ValueError("all weights are 0, so nothing would be averaged; give at least two stages a weight above 0")
    ids = [stage.id for stage in stages]
    if twice := [stage for number, stage in enumerate(stages) if stage.id in ids[:number]]:
        raise ValueError(f"{twice[0].label} ({twice[0].id}) is named twice; give it a larger weight instead")
    kept = [(stage, weight) for stage, weight in zip(stages, given, strict=True) if weight]
    if len(kept) < 2:
        raise ValueError("one stage alone is no merge, it is that stage; name two or more with weights above 0")
    if why := apart([stage for stage, _ in kept]):
        raise ValueError(why)
    total = sum((weight for _, weight in kept), Fraction(0))
    return Merge(tuple(stage for stage, _ in kept), tuple(weight / total for _, weight in kept))


def apart(stages: Sequence[Stage]) -> str:
    """Why the weights of some stages have no meaningful average; empty where they do."""
    first = stages[0]
    if adapted := [stage for stage in stages if stage.recipe.adapter]:
        stage = adapted[0]
        return f"{stage.label} ({stage.id}) was trained with an adapter, which is not averaged; name stages without one"
    for other in stages[1:]:
        for what, one, two in (
            ("base model", first.model, other.model),
            ("parent", first.parent, other.parent),
        ):
            if one.id != two.id:
                return (
                    f"{first.label} ({first.id}) and {other.label} ({other.id}) do not have one {what}: {one.label} "
                    f"({one.id}), {two.label} ({two.id}); only stages that were trained from the same weights average "
                    "to a model"
                )
        for what in ("model_dtype", "template"):
            one, two = getattr(first.recipe, what), getattr(other.recipe, what)
            if one != two:
                return f"{first.label} has train.{what}={one}, {other.label} {two}; merge stages that agree in it"
    return ""
