"""The miniature abilities: three generated sources on which a model of a hundred thousand weights shows forgetting.

One example is one draw: `draw(name, stream)` gives its rounds and the gold that a benchmark judges by. Sources and
benchmarks draw from the same distribution and share no first prompt: a prompt belongs to the test side exactly when
its SHA-256 says so (`is_test`), whatever the count and seed. Example i has a stream of its own, so the first m of n
examples are the m examples. The graded abilities of `data/graded.py` are drawn and kept apart in the same way.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sft_sweeps.data import graded
from sft_sweeps.data.drawing import MiniExample, Stream
from sft_sweeps.data.example import Example

SOURCES = ("mini_math", "mini_code", "mini_general")
TEST_SHARE = 8  # one prompt in eight is a test prompt
# The tokenizer of the miniature models is `tokenizer.train(texts(), VOCABULARY)`, shipped as a file.
TOKENIZER = Path(__file__).with_name("mini_tokenizer.json")
VOCABULARY = 620

PEOPLE = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lea", "Max", "Eva")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps")
WORDS = ("apple", "book", "card", "river", "egg", "pen", "shell", "stamp", "tree", "lamp", "cloud", "stone")
FUNCTIONS = ("solve", "apply", "compute", "change", "handle", "convert", "update", "process")
# The inputs on which a definition is compared with the reference: they tell every constant from every other.
INPUTS = {
    "x": tuple((x,) for x in range(-3, 21)),
    "items": (([],), (list(range(-2, 14)),), ([9, 2, 7, 4, 3, 8, 5, 6, 1, 0, 2, 9],), ([5] * 12,)),
    "text": (("",), ("ab",), ("abcdefghijkl",)),
    "words": graded.INPUTS,
}


def generate(name: str, count: int, seed: int) -> list[Example]:
    """The first `count` examples of a source under a seed."""
    examples = []
    for number in range(count):
        stream = Stream(f"train/{name}/{seed}/{number}")
        rounds = draw(name, stream, test=False).rounds
        examples.append(Example(f"{name}/{number}", rounds))
    return examples


def texts(names: Sequence[str] = SOURCES) -> Iterator[str]:
    """What the shipped tokenizer is trained on; that of the graded abilities on theirs."""
    for name in names:
        for example in generate(name, 1000, 0):
            for prompt, response in example.rounds:
                yield f"USER: {prompt} ASSISTANT:"
                yield f" {response}"


def draw(name: str, stream: Stream, *, test: bool) -> MiniExample:
    """The stream's first conversation that belongs to the side asked for."""
    drawer = graded.ASKED.get(name, _DRAW[name]) if test else _DRAW[name]
    while True:
        drawn = drawer(stream)
        if is_test(drawn.rounds[0][0]) == test:
            return drawn


def is_test(prompt: str) -> bool:
    """Whether a first prompt belongs to the benchmarks, and so never to a source."""
    return hashlib.sha256(prompt.encode()).digest()[0] % TEST_SHARE == 0


def component(name: str) -> str:
    """Of `identity.VERSIONS`, which says what a generated source or its benchmark is."""
    return "graded" if name in graded.DRAW else "mini"


def _math(stream: Stream) -> MiniExample:
    story, steps, answer = stream.pick(_STORIES)(stream)
    return MiniExample(((story, f"{steps}\n#### {answer}"),), {"answer": answer})


def _bought(stream: Stream) -> tuple[str, str, int]:
    who, things, a, b = _setting(stream)
    story = f"{who} has {a} {things} and buys {b} more. How many {things} does {who} have?"
    return story, f"{a} + {b} = {a + b}", a + b


def _lost(stream: Stream) -> tuple[str, str, int]:
    who, things, a, b = _setting(stream)
    a += b
    story = f"{who} has {a} {things} and loses {b}. How many {things} does {who} have?"
    return story, f"{a} - {b} = {a - b}", a - b


def _boxes(stream: Stream) -> tuple[str, str, int]:
    who, things, a, b = _setting(stream)
    a = stream.between(2, 5)
    story = f"{who} has {a} boxes with {b} {things} each. How many {things} does {who} have?"
    return story, f"{a} * {b} = {a * b}", a * b


def _bought_and_lost(stream: Stream) -> tuple[str, str, int]:
    who, things, a, b = _setting(stream)
    c = stream.between(1, min(5, a + b - 1))
    story = f"{who} has {a} {things}, buys {b} more and loses {c}. How many {things} does {who} have?"
    return story, f"{a} + {b} = {a + b}\n{a + b} - {c} = {a + b - c}", a + b - c


def _setting(stream: Stream) -> tuple[str, str, int, int]:
    return stream.pick(PEOPLE), stream.pick(THINGS), stream.between(2, 9), stream.between(2, 9)


_STORIES = (_bought, _lost, _boxes, _bought_and_lost)

# What the function does, its parameter, its body; {n} and {m} are digits.
_FAMILIES = (
    ("adds {n} to x", "x", "x + {n}"),
    ("subtracts {n} from x", "x", "x - {n}"),
    ("multiplies x by {n}", "x", "x * {n}"),
    ("multiplies x by {n} and adds {m}", "x", "x * {n} + {m}"),
    ("tells whether x is more than {n}", "x", "x > {n}"),
    ("gives the larger of x and {n}", "x", "max(x, {n})"),
    ("gives the first {n} items", "items", "items[:{n}]"),
    ("keeps the items above {n}", "items", "[x for x in items if x > {n}]"),
    ("adds {n} to all items", "items", "[x + {n} for x in items]"),
    ("repeats the text {n} times", "text", "text * {n}"),
)


def _code(stream: Stream) -> MiniExample:
    what, parameter, body = stream.pick(_FAMILIES)
    function, n, m = stream.pick(FUNCTIONS), stream.between(2, 9), stream.between(2, 9)
    prompt = f"Write a Python function {function} that {what.format(n=n, m=m)}."
    definition = f"def {function}({parameter}):\n    return {body.format(n=n, m=m)}"
    return MiniExample(((prompt, definition),), {"function": function, "reference": definition, "parameter": parameter})


def _general(stream: Stream) -> MiniExample:
    prompt, words = stream.pick(_OPENINGS)(stream)
    rounds = [(prompt, _listed(words))]
    for _ in range(stream.below(3)):
        prompt, change = stream.pick(_FOLLOW_UPS)
        words = change(words)
        rounds.append((prompt, _listed(words)))
    return MiniExample(tuple(rounds), {"answers": [answer for _, answer in rounds]})


def _listed(words: Sequence[str]) -> str:
    return " ".join(words)


def _repeat(stream: Stream) -> tuple[str, list[str]]:
    word, count = stream.pick(WORDS), stream.between(2, 5)
    return f"Write {count} times the word {word}.", [word] * count


def _upper(stream: Stream) -> tuple[str, list[str]]:
    word = stream.pick(WORDS)
    return f"Write the word {word} in capitals.", [word.upper()]


def _ordinal(stream: Stream) -> tuple[str, list[str]]:
    words = stream.several(WORDS, 2)
    name, index = stream.pick((("first", 0), ("last", -1)))
    return f"What is the {name} word of [{', '.join(words)}]?", [words[index]]


def _reverse(stream: Stream) -> tuple[str, list[str]]:
    words = stream.several(WORDS, 2)
    return f"Reverse the list [{', '.join(words)}].", words[::-1]


_OPENINGS = (_repeat, _upper, _ordinal, _reverse)
_FOLLOW_UPS: tuple[tuple[str, Callable[[list[str]], list[str]]], ...] = (
    ("Now in capitals.", lambda words: [word.upper() for word in words]),
    ("Say it again.", lambda words: words),
)

_DRAW: dict[str, Callable[[Stream], MiniExample]] = {
    "mini_math": _math,
    "mini_code": _code,
    "mini_general": _general,
    **graded.DRAW,
}
GENERATED = tuple(_DRAW)
