"""What a study says in advance, frozen with the plan before anything is scored: that some runs are better than others.

    study:
      hypotheses:
        - claim: Dual-stage mixed fine-tuning keeps more of math than sequential training
          benchmark: gsm8k
          better: strategy=dmt strategy.k=1/256
          than: strategy=sequential

A run with the overrides of `better` is compared with the run that has those of `than` and is the same in everything
else (model, seed): one pair for each model, say. What only the other side names, this side has by default: above,
sequential runs have no `strategy.k`. A comparison that no hypothesis names is exploratory.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sft_sweeps.errors import RequestError

Values = Mapping[str, Sequence[str]]
NOT_AN_AXIS = ("study", "grid")  # they say where the other overrides of a point come from


@dataclass(frozen=True)
class Hypothesis:
    """A claim: on `benchmark`, each pair's first run scores better than its second (of a loss: has less).

    `better` and `than` are overrides as they are typed; `pairs` the ids of the runs of this sweep that they mean.
    """

    claim: str
    benchmark: str
    better: str
    than: str
    pairs: tuple[tuple[str, str], ...] = ()


def overrides(text: str) -> dict[str, tuple[str, ...]]:
    """`strategy=dmt strategy.k=1/4,1/16` as keys with their values; RequestError where it is not of that form."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise RequestError(f"'{text}' cannot be read ({error})") from error
    typed: dict[str, tuple[str, ...]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise RequestError(f"'{text}' cannot be read: {word} is no KEY=VALUE, like strategy=dmt")
        typed[key] = tuple(value.split(","))
    return typed


def pairs(better: str, than: str, points: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The ids of the runs that a hypothesis compares; `points` are the command lines of each run, by its id."""
    first, second = overrides(better), overrides(than)
    named = {**first, **second}
    above = list(_matching(first, named, points))
    below = list(_matching(second, named, points))
    found = ((one, other) for one, rest in above for other, same in below if rest == same and one != other)
    yield from dict.fromkeys(found)


def lacking(hypothesis: Hypothesis, points: Mapping[str, Sequence[str]]) -> str:
    """Why it compares no runs of a sweep; empty where it does."""
    if hypothesis.pairs:
        return ""
    named = {**overrides(hypothesis.better), **overrides(hypothesis.than)}
    for side in (hypothesis.better, hypothesis.than):
        if not any(_matching(overrides(side), named, points)):
            return f"no run here is {side}"
    return f"no run with {hypothesis.better} has one with {hypothesis.than} that is the same in all else"


def _matching(
    side: Values, named: Values, points: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, dict[str, str | Fraction]]]:
    """Ids of the runs that a side names, each with what sets it apart beside the keys that either side names."""
    for run, lines in points.items():
        for line in lines:
            point = dict(word.partition("=")[::2] for word in line.split())
            if all(_has(point.get(key), side.get(key)) for key in named):
                yield run, {k: _comparable(v) for k, v in point.items() if k not in named and k not in NOT_AN_AXIS}


def _has(value: str | None, wanted: Sequence[str] | None) -> bool:
    """Whether a point's value of a key is a wanted one; a key that is not wanted must not be typed."""
    if wanted is None or value is None:
        return wanted is None and value is None
    return _comparable(value) in map(_comparable, wanted)


def _comparable(value: str) -> str | Fraction:
    """0.25 and 1/4 are one value."""
    try:
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        return value
