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
from sft_sweeps.spec import Component, count_examples


def order(examples: Sequence[Example], seed: int, source_name: str) -> list[int]:
    """The places of the examples in the source's seeded order."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        members[example.group].append(place)

    def key(group: str) -> bytes:
        return hashlib.sha256(f"{seed}/{source_name}/{group}".encode()).digest()

    return [place for group in sorted(members, key=key) for place in members[group]]


def subset(examples: Sequence[Example], component: Component) -> list[Example]:
    """The examples that a component takes: the first of its source's order, cut inside the last group if need be."""
    count = count_examples(len(examples), component.fraction, component.heldout)
    return [examples[place] for place in order(examples, component.seed, component.source.name)[:count]]


def heldout(examples: Sequence[Example], seed: int, source_name: str, count: int) -> list[Example]:
    """The last `count` examples of the source's order."""
    if count > len(examples):
        raise RequestError(f"source {source_name} has {len(examples):,} examples: {count:,} cannot be held out.")
    return [examples[place] for place in order(examples, seed, source_name)[len(examples) - count :]]
