"""From a run's data to its chain of mixtures: one pure function for each strategy.

A strategy speaks of roles (specialized, general) and of the order given, never of names, so that other abilities need
no code. Each mixture is trained as one stage from the one before it. To add a strategy: a function here, its line in
`STRATEGIES` (and in `USE_K` if it reads k), its name in `config.STRATEGIES`, a file in `conf/strategy/`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from sft_sweeps.spec import Component, Mixture

Components = Sequence[Component]
Chain = tuple[Mixture, ...]


def chain(strategy: str, components: Components, k: Fraction | None = None) -> Chain:
    """The mixtures of a run's stages, first to last; `k` is read by `dmt` alone."""
    return STRATEGIES[strategy](tuple(components), k)


def uses_k(strategy: str) -> bool:
    """Whether `strategy.k` changes anything."""
    return strategy in USE_K


def base(components: Components, k: Fraction | None) -> Chain:  # noqa: ARG001
    """No stage: the base model is the run's model."""
    return ()


def multi_task(components: Components, k: Fraction | None) -> Chain:  # noqa: ARG001
    """Everything at once."""
    return _stages(components)


def sequential(components: Components, k: Fraction | None) -> Chain:  # noqa: ARG001
    """One ability after the other in the order given, specialized ones first; an ability's sources are one stage."""
    groups: dict[tuple[str, str], list[Component]] = {}
    for c in (*_of(components, "specialized"), *_of(components, "general")):
        groups.setdefault((c.source.role, c.source.ability), []).append(c)
    return _stages(*groups.values())


def mixed_sequential(components: Components, k: Fraction | None) -> Chain:  # noqa: ARG001
    """The specialized abilities together, then the general ones."""
    return _stages(_of(components, "specialized"), _of(components, "general"))


def dmt(components: Components, k: Fraction | None) -> Chain:
    """Dual-stage mixed fine-tuning: specialized together, then general with a share k of them replayed.

    k is relative to stage 1's subset: fraction 1/4 with k 1/4 replays 1/16 of the source.
    """
    if k is None:
        raise ValueError("dmt needs k")
    specialized = _of(components, "specialized")
    replay = [replace(c, fraction=c.fraction * k) for c in specialized]
    return _stages(specialized, [*_of(components, "general"), *replay])


STRATEGIES: dict[str, Callable[[Components, Fraction | None], Chain]] = {
    "base": base,
    "multi_task": multi_task,
    "sequential": sequential,
    "mixed_sequential": mixed_sequential,
    "dmt": dmt,
}


USE_K = ("dmt",)


def _of(components: Components, role: str) -> list[Component]:
    return [c for c in components if c.source.role == role]


def _stages(*groups: Components) -> Chain:
    return tuple(Mixture(tuple(group)) for group in groups if group)
