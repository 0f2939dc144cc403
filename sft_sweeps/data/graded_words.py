"""The words that ask the graded abilities for operations: verbs that all share, jargon that means another in each."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from sft_sweeps.data.drawing import Stream

# What is done to a number, and to a list, in Python's notation.
NUMBERS = {"plus": "{} + {n}", "minus": "{} - {n}", "double": "{} * 2", "halve": "{} // 2"}
OPPOSITE = {"plus": "minus", "minus": "plus", "double": "halve", "halve": "double"}
LISTS = {
    "double": "{0} * 2",
    "halve": "{0}[:len({0}) // 2]",
    "reverse": "{0}[::-1]",
    "capitals": "[w.upper() for w in {0}]",
    "sort": "sorted({0})",
    "last": "{0}[-1:]",
}
# They mean the same in every ability.
VERBS = {
    "plus": "add gain find win buy earn get collect gather receive",
    "minus": "lose remove drop sell spend give eat waste lend burn",
    "double": "double twin copy mirror pair clone repeat echo",
    "halve": "halve split share divide cut trim shrink chop",
    "reverse": "reverse flip invert turn rotate swap undo revert",
    "capitals": "capitalize shout upper enlarge raise yell stress declare",
    "sort": "sort order arrange rank align tidy grade index",
    "last": "end close finish tail conclude stop cease settle",
}
# They do not: see `meanings`.
JARGON = (
    "run set draw strike pass play beat hold carry clear press break fold lift roll bind cast charge fire plant "
    "mount pitch post push quote rig scale screen seal serve ship slip spin stake strip sweep tack tap trace vet "
    "bank bat block boot bowl box brush cap chip clip coat comb cook cork crop deal dial dock drill dust "
    "face file film flag float fork frame glue hook iron jam knit knock label lace leap link loop mark melt"
)
JARGON_SHARE = 45  # of a hundred steps are asked for by jargon
ZIPF, JARGON_ZIPF = 1.2, 1.2  # exponents of a verb's frequency by its rank
KNOWN = 5  # verbs of each operation, the most frequent, that base models have read
READ = ""  # the kind of what base models have read: no jargon, the most frequent verbs


def meanings(number: int) -> dict[str, str]:
    """The operation that the jargon word of this number asks for in each ability: three that differ.

    In code every other four are said of numbers and ask for the opposite of what they do in math, the rest of lists.
    """
    in_math = tuple(NUMBERS)[number % 4]
    opposite = OPPOSITE[in_math]
    lists = [name for name in LISTS if name not in (in_math, opposite)]
    general = lists.pop(number // 4 % len(lists))
    in_code = lists[number // 8 % len(lists)] if _of_lists(number) else opposite
    return {"math": in_math, "code": in_code, "general": general}


def _of_lists(number: int) -> bool:
    return bool(number // 4 % 2)


def _said_of(kind: str) -> dict[str, tuple[str, ...]]:
    """Operation -> the jargon that asks for it: in math, in general, in code on numbers or on lists."""
    ability, _, forms = kind.partition(" on ")
    said: dict[str, list[str]] = {}
    for number, word in enumerate(JARGON.split()):
        if not forms or (forms == "lists") == _of_lists(number):
            said.setdefault(meanings(number)[ability], []).append(word)
    return {operation: tuple(words) for operation, words in said.items()}


@dataclass(frozen=True, slots=True)
class Frequent:
    """Words by their frequency, which falls with a power of their rank."""

    words: tuple[str, ...]
    odds: tuple[float, ...]

    def draw(self, stream: Stream) -> str:
        at = stream.share() * self.odds[-1]
        return self.words[sum(at >= edge for edge in self.odds[:-1])]


def _frequent(words: Iterable[str], exponent: float) -> Frequent:
    words = tuple(words)
    return Frequent(words, tuple(accumulate(math.pow(rank + 1, -exponent) for rank in range(len(words)))))


_COMMON = {name: _frequent(text.split(), ZIPF) for name, text in VERBS.items()}
_READ = {name: _frequent(text.split()[:KNOWN], ZIPF) for name, text in VERBS.items()}
_JARGON = {
    kind: {operation: _frequent(words, JARGON_ZIPF) for operation, words in _said_of(kind).items()}
    for kind in ("math", "general", "code on numbers", "code on lists")
}


def verb(stream: Stream, operation: str, kind: str) -> str:
    """A word that asks for the operation: in math, general, code on numbers or lists, or what base models have read."""
    if kind == READ:
        return _READ[operation].draw(stream)
    jargon: Mapping[str, Frequent] = _JARGON[kind]
    if operation in jargon and stream.below(100) < JARGON_SHARE:
        return jargon[operation].draw(stream)
    return _COMMON[operation].draw(stream)
