"""From a run's data to its chain of mixtures: one pure function for each strategy.

A strategy speaks of roles (specialized, general) and of the order given, never of names, so that other abilities need
no code. Each mixture is trained as one stage, from the one before it unless the strategy merges. To add a strategy: a
function here with its line in `STRATEGIES`, and a file in `conf/strategy/`. Another distribution adds one by an entry
point (registry.py).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from sft_sweeps.registry import Registry
from sft_sweeps.spec.data import Component, Mixture
from sft_sweeps.spec.training import Recipe

Components = Sequence[Component]
Chain = tuple[Mixture, ...]
ROLES = ("specialized", "general")


@dataclass(frozen=True)
class Strategy:
    """`function(components)` gives the mixtures, first to last; with `uses_k` it is `function(components, k)`.

    `needs_roles` are those of which the data must have a source. With `merges`, each mixture is trained apart, from the
    base model, and the run's model is the average of theirs.
    """

    function: Callable[..., Chain]
    uses_k: bool = False
    needs_roles: tuple[str, ...] = ()
    merges: bool = False


def chain(strategy: str, components: Components, k: Fraction | None = None) -> Chain:
    """The mixtures of a run's stages, first to last; ValueError where the strategy uses k and there is none."""
    chosen = STRATEGIES.get(strategy)
    if not chosen.uses_k:
        return chosen.function(tuple(components))
    if k is None:
        raise ValueError(f"{strategy} needs k")
    return chosen.function(tuple(components), k)


def uses_k(strategy: str) -> bool:
    """Whether `strategy.k` changes anything."""
    return STRATEGIES.get(strategy).uses_k


def merges(strategy: str) -> bool:
    """Whether the mixtures are trained side by side and their models averaged."""
    return STRATEGIES.get(strategy).merges


def base(components: Components) -> Chain:  # noqa: ARG001
    """No stage: the base model is the run's model."""
    return ()


def multi_task(components: Components) -> Chain:
    """Everything at once."""
    return _stages(components)


def sequential(components: Components) -> Chain:
    """One ability after the other in the order given, specialized ones first; an ability's sources are one stage."""
    groups: dict[tuple[str, str], list[Component]] = {}
    for c in _in_sequence(components):
        groups.setdefault((c.source.role, c.source.ability), []).append(c)
    return _stages(*groups.values())


def merge(components: Components) -> Chain:
    """Each ability apart; the average of these models previews what all of them train together."""
    return sequential(components)


def mixed_sequential(components: Components) -> Chain:
    """The specialized abilities together, then the general ones."""
    return _stages(_of(components, "specialized"), _of(components, "general"))


def dmt(components: Components, k: Fraction) -> Chain:
    """Dual-stage mixed fine-tuning: specialized together, then general with a share k of them replayed.

    k is relative to stage 1's subset: fraction 1/4 with k 1/4 replays 1/16 of the source, limit 1000 with it 250.
    """
    specialized = _of(components, "specialized")
    limits = [None if c.limit is None else math.floor(c.limit * k) for c in specialized]
    replay = [replace(c, fraction=c.fraction * k, limit=most) for c, most in zip(specialized, limits, strict=True)]
    return _stages(specialized, [*_of(components, "general"), *replay])


STRATEGIES: Registry[Strategy] = Registry(
    "strategy",
    "sft_sweeps.strategies",
    lambda: {
        "multi_task": Strategy(multi_task),
        "sequential": Strategy(sequential),
        "mixed_sequential": Strategy(mixed_sequential),
        "dmt": Strategy(dmt, uses_k=True, needs_roles=ROLES),
        "merge": Strategy(merge, merges=True),
        "base": Strategy(base),
    },
)


def ordered(recipe: Recipe, mixture: Mixture, components: Components) -> Recipe:
    """The recipe with the order of a mixture's sources, by the run's `components`; a mixture of one source has none."""
    present = {c.source.name for c in mixture.components}
    if recipe.order == "shuffled" or len(present) == 1:
        return replace(recipe, order="shuffled")
    names = tuple(c.source.name for c in _in_sequence(components) if c.source.name in present)
    return replace(recipe, source_order=names) if recipe.order == "by_source" else recipe


def _in_sequence(components: Components) -> Components:
    """In the order given, specialized ones first."""
    return (*_of(components, "specialized"), *_of(components, "general"))


def _of(components: Components, role: str) -> list[Component]:
    return [c for c in components if c.source.role == role]


def _stages(*groups: Components) -> Chain:
    return tuple(Mixture(tuple(group)) for group in groups if group)
