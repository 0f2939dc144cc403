"""A strategy of another distribution: each source alone, in the reverse of the order given."""

from collections.abc import Sequence

from sft_sweeps.spec.data import Component, Mixture
from sft_sweeps.strategies import Strategy


def backwards(components: Sequence[Component]) -> tuple[Mixture, ...]:
    """The last source first."""
    return tuple(Mixture((component,)) for component in reversed(components))


BACKWARDS = Strategy(backwards)
