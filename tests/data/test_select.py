"""Subsets: nested, of whole groups, each source's own; and the examples of a mixture."""

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
import values
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.data.encode.mixture import mixture_examples
from sft_sweeps.data.example import Example
from sft_sweeps.data.select import heldout, order, subset
from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import reaches_heldout
from sft_sweeps.spec.data import Component, Mixture, Source, count_examples

FRACTIONS = st.fractions(min_value=Fraction(1, 1000), max_value=1, max_denominator=1000)
GROUPS = st.lists(st.integers(0, 12), max_size=60)


def make(groups: list[int], name: str = "chat") -> list[Example]:
    return [Example(f"{name}/{row}", (("q", "a"),), f"g{group}") for row, group in enumerate(groups)]


def plain(count: int, name: str = "math") -> list[Example]:
    return [Example(f"{name}/{row}", (("q", "a"),)) for row in range(count)]


def source(name: str, rows: int = 0) -> Source:
    return Source(name, "sha256:0", "auto", "math", "specialized", rows)


def component(name: str, fraction: Fraction, seed: int = 0, reserved: int = 0) -> Component:
    return Component(source(name), fraction, seed, reserved)


def ids(examples: list[Example]) -> list[str]:
    return [example.id for example in examples]


@given(groups=GROUPS, seed=st.integers(0, 5))
def test_order_is_a_permutation_that_keeps_groups_together_and_in_row_order(groups: list[int], seed: int) -> None:
    found = order(make(groups), seed, "chat")
    assert sorted(found) == list(range(len(groups)))
    changes = sum(groups[a] != groups[b] for a, b in pairwise(found))
    assert changes == max(len(set(groups)) - 1, 0)
    assert all(a < b for a, b in pairwise(found) if groups[a] == groups[b])


@given(groups=GROUPS, low=FRACTIONS, high=FRACTIONS, reserved=st.integers(0, 70))
def test_every_smaller_subset_is_a_prefix_of_every_larger(
    groups: list[int], low: Fraction, high: Fraction, reserved: int
) -> None:
    examples = make(groups)
    low, high = sorted((low, high))
    small = subset(examples, component("chat", low, reserved=reserved))
    large = subset(examples, component("chat", high, reserved=reserved))
    assert large[: len(small)] == small
    assert len(small) == count_examples(len(groups), low, reserved) == int(max(len(groups) - reserved, 0) * low)


def trained_on(fraction: Fraction, reserved: int, rows: int, count: int) -> bool:
    """Whether the plan sees that a stage reaches into the last `count` of `rows` examples."""
    part = component("chat", fraction, reserved=reserved)
    benchmark = values.benchmark("heldout_loss:chat", examples=count, source=part.source)
    return reaches_heldout(values.stage(components=[part]), benchmark, rows)


@given(groups=GROUPS, fraction=FRACTIONS, reserved=st.integers(0, 70), count=st.integers(0, 60))
def test_heldout_is_apart_exactly_when_it_does_not_overlap(
    groups: list[int], fraction: Fraction, reserved: int, count: int
) -> None:
    examples = make(groups)
    count = min(count, len(examples))
    last = heldout(examples, 0, "chat", count)
    taken = subset(examples, component("chat", fraction, reserved=reserved))
    assert len(last) == count
    if 0 < count < len(examples):
        assert bool(set(ids(last)) & set(ids(taken))) == trained_on(fraction, reserved, len(examples), count)
    in_order = heldout(examples, 0, "chat", len(examples))
    assert in_order[: len(taken)] == taken
    assert in_order[len(examples) - count :] == last


def test_more_heldout_than_examples_is_refused() -> None:
    with pytest.raises(RequestError, match="source math has 3 examples: 4 cannot be held out"):
        heldout(plain(3), 0, "math", 4)


def test_an_order_depends_on_seed_and_name_and_not_on_other_examples() -> None:
    many = plain(200)
    first = order(many, 0, "math")
    assert first != order(many, 1, "math") != order(many, 0, "code")
    assert first != list(range(200))
    fewer = [example for place, example in enumerate(many) if place % 3]
    assert ids([fewer[place] for place in order(fewer, 0, "math")]) == [many[place].id for place in first if place % 3]


# Raise VERSIONS["subset"] when this order changes: every stage ever trained would mean something else.
GOLDEN = [2, 0, 4, 6, 7, 3, 5, 1]


def test_golden_order_in_any_process() -> None:
    code = (
        "from sft_sweeps.data.example import Example; from sft_sweeps.data.select import order;"
        "print(order([Example(f'math/{n}', (('q', 'a'),)) for n in range(8)], 7, 'math'))"
    )
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == str(GOLDEN)
    assert order(plain(8), 7, "math") == GOLDEN


TABLES = {"math": plain(100), "code": plain(50, "code"), "chat": make([n // 3 for n in range(90)])}


class FakeShelf:
    """Encoded examples without files; every third has nothing to learn."""

    account: ClassVar[dict[str, int]] = {"rows": 110}
    dropped: ClassVar[dict[str, int]] = {"empty_response": 3}

    def __init__(self, name: str) -> None:
        self.name, self.examples = name, TABLES[name]

    def __len__(self) -> int:
        return len(self.examples)

    def order(self, seed: int) -> list[int]:
        return order(self.examples, seed, self.name)

    def encoded(self, place: int) -> Encoded:
        learnt = np.array([False, place % 3 != 0])
        reason = "" if learnt.any() else "no_answer_before_cut"
        return Encoded(self.examples[place].id, self.name, np.zeros(2, np.int32), learnt, False, reason)


def find(wanted: Source) -> Any:
    return FakeShelf(wanted.name)


@given(
    names=st.sets(st.sampled_from(sorted(TABLES)), min_size=1), fraction=st.sampled_from([Fraction(1, 4), Fraction(1)])
)
def test_no_source_is_reshuffled_by_another(names: set[str], fraction: Fraction) -> None:
    mixture = Mixture(tuple(component(name, fraction) for name in names))
    examples, account = mixture_examples(mixture, find)
    assert set(account) == names
    everything = [example_id for entry in account.values() for example_id in entry["ids"]]
    assert len(everything) == len(set(everything)) == sum(entry["examples"] for entry in account.values())
    for name in names:
        alone = mixture_examples(Mixture((component(name, fraction),)), find)
        assert [e.id for e in examples if e.id.startswith(name + "/")] == [e.id for e in alone[0]]
        assert account[name] == alone[1][name]


def test_the_account_of_a_mixture() -> None:
    mixture = Mixture((component("code", Fraction(1, 4), seed=3, reserved=10),))
    examples, account = mixture_examples(mixture, find)
    entry = account["code"]
    masked = [example_id for example_id in entry["ids"] if int(example_id.rpartition("/")[2]) % 3 == 0]
    assert masked
    assert [e.id for e in examples] == [example_id for example_id in entry["ids"] if example_id not in masked]
    expected = {"fraction": "1/4", "seed": 3, "heldout": 10, "rows": 110, "usable": 50, "examples": 10, "truncated": 0}
    assert {key: entry[key] for key in expected} == expected
    assert entry["dropped"] == {"empty_response": 3}
    assert (entry["masked"], entry["masked_ids"]) == ({"no_answer_before_cut": len(masked)}, masked)


def test_what_is_masked_wholly_is_trained_on_only_bug_compatibly() -> None:
    part = component("code", Fraction(1))
    faithful = replace(part, source=replace(part.source, bug_compatible=True))
    assert len(mixture_examples(Mixture((part,)), find)[0]) == 50 - 17
    assert len(mixture_examples(Mixture((faithful,)), find)[0]) == 50


def test_a_mixture_that_takes_nothing_or_a_source_twice_is_refused() -> None:
    with pytest.raises(RequestError, match=r"1/64 of code is less than one example"):
        mixture_examples(Mixture((component("code", Fraction(1, 64)),)), find)
    once = component("code", Fraction(1))
    with pytest.raises(RequestError, match="lists code twice"):
        mixture_examples(Mixture((once, replace(once, fraction=Fraction(1, 2)))), find)
