"""Which examples of a source a stage is trained on, and which are held out.

Each source has one order, fixed by its name and a seed: its groups sorted by hash, the members of a group together in
the order of their rows. A fraction takes the first examples of that order, so every smaller fraction lies inside every
larger one and no source depends on another; the held-out examples are the last of the same order.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from sft_sweeps.data.example import Example
from sft_sweeps.errors import RequestError
from sft_sweeps.spec.data import Component


def order_of(groups: Sequence[str], seed: int, source_name: str) -> list[int]:
    """The indices of examples, of which the groups are given, in the source's seeded order."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)

    def key(group: str) -> bytes:
        return hashlib.sha256(f"{seed}/{source_name}/{group}".encode()).digest()

    return [index for group in sorted(members, key=key) for index in members[group]]


def order(examples: Sequence[Example], seed: int, source_name: str) -> list[int]:
    """The indices of the examples in the source's seeded order."""
    return order_of([example.group for example in examples], seed, source_name)


def taken(ordered: Sequence[int], component: Component) -> list[int]:
    """Of a source's ordered examples (indices), those that a component takes: the first, cut inside the last group."""
    return list(ordered[: component.taken_of(len(ordered))])


def last(ordered: Sequence[int], source_name: str, count: int) -> list[int]:
    """The last `count` of a source's ordered examples (indices)."""
    if count > len(ordered):
        raise RequestError(f"source {source_name} has {len(ordered):,} examples: {count:,} cannot be held out.")
    return list(ordered[len(ordered) - count :])


def subset(examples: Sequence[Example], component: Component) -> list[Example]:
    """The examples that a component takes."""
    return [examples[index] for index in taken(order(examples, component.seed, component.source.name), component)]


def heldout(examples: Sequence[Example], seed: int, source_name: str, count: int) -> list[Example]:
    """The last `count` examples of the source's order."""
    return [examples[index] for index in last(order(examples, seed, source_name), source_name, count)]
