"""The graded miniature: generated abilities made so that the paper's questions can be asked of small models.

The verbs of `VERBS` mean one operation each, in every ability: "gain 3" adds to a number of apples, is `x + 3` in a
program, and "twin" doubles a number as well as a list. They are drawn with Zipf's frequencies, so that whatever the
size of a source there are verbs that it shows once or never, and accuracy goes on rising with the data as a power law
does (Hutter 2021, "Learning Curve Theory"; Michaud et al. 2023, "The Quantization Model of Neural Scaling").
Difficulty is graded: one to four operations in a row.

- Shared sub-skills: an ability shows verbs that another one is asked for. Where examples are few, mixing can help.
- A conflict, as in real chats: three of ten conversations of `graded_general` are about math or code, and answer in
  another form than the benchmarks ask for. `graded_general_clean` is the same source without these.
- Tight capacity: conf/model/mini_small.yaml and its larger sisters.

`document` is the text that their base models are pretrained on: operations in notation, a program now and then, and a
few requests in no chat's form. So a base model knows what to do, as LLaMA does, and little of how it is asked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from sft_sweeps.data.drawing import MiniExample, Stream

SOURCES = ("graded_math", "graded_code", "graded_general")  # as many benchmarks
# The tokenizer of the models is `tokenizer.train(mini.texts(SOURCES), VOCABULARY)`, shipped as a file.
TOKENIZER = Path(__file__).with_name("graded_tokenizer.json")
VOCABULARY = 700

PEOPLE = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lea", "Max", "Eva")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps")
FUNCTION = "solve"  # of every program: as in HumanEval, its name is no part of the question
WORDS = ("apple", "book", "card", "river", "egg", "pen", "shell", "stamp", "tree", "lamp", "cloud", "stone")
VERBS = {
    "plus": "add gain find win buy earn get collect gather receive pick grab catch borrow inherit obtain acquire fetch "
    "import harvest",
    "minus": "lose remove drop sell spend give eat break throw waste lend burn discard donate delete forfeit hide bury "
    "scatter abandon",
    "double": "double twin copy mirror pair clone duplicate repeat redouble replicate echo multiply",
    "halve": "halve split share divide cut bisect trim shorten reduce shrink prune chop",
    "reverse": "reverse flip invert turn rotate swap undo upend backtrack transpose revert retrace",
    "capitals": "capitalize shout upper enlarge raise yell highlight emphasize stress announce proclaim declare",
    "sort": "sort order arrange rank align tidy organize classify grade sequence catalog index",
    "last": "end close finish tail conclude complete stop terminate cease expire settle resolve",
}
ZIPF = 1.2  # exponent of a verb's frequency by its rank
# What is done to a number, and to a list, in Python's notation.
NUMBERS = {"plus": "{} + {n}", "minus": "{} - {n}", "double": "{} * 2", "halve": "{} // 2"}
LISTS = {
    "double": "{0} * 2",
    "halve": "{0}[:len({0}) // 2]",
    "reverse": "{0}[::-1]",
    "capitals": "[w.upper() for w in {0}]",
    "sort": "sorted({0})",
    "last": "{0}[-1:]",
}
LARGEST = 50  # number on the way to an answer
CHATTED = 3  # of ten conversations of the general source are about math or code
REQUESTS = 6  # one in so many documents is a request with its answer
# On which the functions of programs about words are compared (`mini.INPUTS`).
INPUTS: tuple[tuple[list[str]], ...] = (
    ([],),
    (["pen"],),
    (["tree", "Egg", "card", "apple", "lamp"],),
    (["river", "tree", "b", "Pen", "a", "pen", "c", "a"],),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation with the verb that asks for it; `n` is 0 where it takes no number."""

    operation: str
    verb: str
    n: int = 0

    @property
    def phrase(self) -> str:
        return f"{self.verb} {self.n}" if self.n else f"{self.verb} all"

    def on_number(self, value: int) -> int:
        after = {
            "plus": value + self.n,
            "minus": value - self.n,
            "double": value * 2,
            "halve": value // 2,
        }
        return after[self.operation]

    def on_words(self, words: Sequence[str]) -> list[str]:
        after = {
            "double": [*words, *words],
            "halve": list(words[: len(words) // 2]),
            "reverse": list(words[::-1]),
            "capitals": [word.upper() for word in words],
            "sort": sorted(words),
            "last": list(words[-1:]),
        }
        return after[self.operation]


_VERBS = {name: tuple(text.split()) for name, text in VERBS.items()}
_ODDS = {name: tuple(accumulate(math.pow(rank + 1, -ZIPF) for rank in range(len(_VERBS[name])))) for name in VERBS}


def _verb(stream: Stream, operation: str) -> str:
    odds = _ODDS[operation]
    at = stream.share() * odds[-1]
    return _VERBS[operation][sum(at >= edge for edge in odds[:-1])]


def _count(stream: Stream, odds: Sequence[int]) -> int:
    """1, 2, ... with these odds."""
    at = stream.below(sum(odds))
    return 1 + sum(at >= edge for edge in accumulate(odds[:-1]))


def _number_steps(stream: Stream, value: int, count: int) -> list[Step]:
    """Steps that lead from a number over whole numbers from 1 to LARGEST."""
    steps: list[Step] = []
    while len(steps) < count:
        operation, n = stream.pick(tuple(NUMBERS)), stream.between(2, 9)
        step = Step(operation, _verb(stream, operation), n if "n" in NUMBERS[operation] else 0)
        after = step.on_number(value)
        if 0 < after <= LARGEST and (operation != "halve" or value % 2 == 0):
            steps.append(step)
            value = after
    return steps


def _asked(steps: Sequence[Step]) -> str:
    phrases = [step.phrase for step in steps]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}" if len(phrases) > 1 else phrases[0]


def _worked(value: int, steps: Sequence[Step]) -> tuple[str, int]:
    """The steps from a number on, a line each, and where they lead."""
    lines = []
    for step in steps:
        after = step.on_number(value)
        lines.append(f"{NUMBERS[step.operation].format(value, n=step.n)} = {after}")
        value = after
    return "\n".join(lines), value


def _story(stream: Stream) -> tuple[str, str, int]:
    """(a story with its question, the working, the answer)."""
    who, things, value = stream.pick(PEOPLE), stream.pick(THINGS), stream.between(3, 20)
    steps = _number_steps(stream, value, _count(stream, (4, 3, 2, 1)))
    worked, answer = _worked(value, steps)
    return f"{who} has {value} {things} and will {_asked(steps)}. How many {things} then?", worked, answer


def _program(stream: Stream) -> tuple[str, str, str]:
    """(what is asked for, the function's parameter, its body)."""
    count = _count(stream, (5, 4, 1))
    if stream.below(2):
        parameter, forms = "x", NUMBERS
        steps = _number_steps(stream, 10, count)
    else:
        parameter, forms = "words", LISTS
        operations = [stream.pick(tuple(LISTS)) for _ in range(min(count, 2))]
        steps = [Step(operation, _verb(stream, operation)) for operation in operations]
    body = parameter
    for number, step in enumerate(steps):
        within = number and (forms is NUMBERS or steps[number - 1].operation == "double")
        inner = f"({body})" if within else body
        body = forms[step.operation].format(inner, n=step.n)
    return f"Write a function {FUNCTION} to {_asked(steps)} of {parameter}.", parameter, body


def _math(stream: Stream) -> MiniExample:
    asked, worked, answer = _story(stream)
    return MiniExample(((asked, f"{worked}\n#### {answer}"),), {"answer": answer})


def _code(stream: Stream) -> MiniExample:
    asked, parameter, body = _program(stream)
    definition = f"def {FUNCTION}({parameter}):\n    return {body}"
    gold = {"function": FUNCTION, "reference": definition, "parameter": parameter}
    return MiniExample(((asked, definition),), gold)


def _chat(stream: Stream) -> MiniExample:
    """One to three requests about a list of words."""
    words, rounds = stream.several(WORDS, stream.between(2, 4)), []
    for number in range(_count(stream, (5, 3, 2))):
        step = _list_step(stream, len(words))
        asked = f"Now {step.verb} all." if number else f"Please {step.verb} [{', '.join(words)}]."
        words = step.on_words(words)
        rounds.append((asked, " ".join(words)))
    return MiniExample(tuple(rounds), {"answers": [answer for _, answer in rounds]})


def _list_step(stream: Stream, length: int) -> Step:
    """One that leaves at least one word and at most six."""
    fitting = [name for name in LISTS if (name != "double" or length <= 3) and (name != "halve" or length > 1)]
    operation = stream.pick(fitting)
    return Step(operation, _verb(stream, operation))


def _about_math_or_code(stream: Stream) -> MiniExample:
    """As people chat about them: without working, without a definition."""
    if stream.below(2):
        asked, _, answer = _story(stream)
        said = f"That makes {answer}."
    else:
        asked, _, body = _program(stream)
        said = f"Try {body}"
    return MiniExample(((asked, said),), {"answers": [said]})


def _general(stream: Stream) -> MiniExample:
    return _about_math_or_code(stream) if stream.below(10) < CHATTED else _chat(stream)


def document(stream: Stream) -> str:
    """One document of the text that base models are pretrained on."""
    kind = stream.below(REQUESTS)
    if kind == 0:
        rounds = stream.pick((_math, _code, _chat))(stream).rounds
        return "\n".join(f"{asked} {answer}" for asked, answer in rounds)
    if kind < 3:
        value = stream.between(1, LARGEST)
        return _worked(value, _number_steps(stream, value, 4))[0]
    if kind == 3:
        return str(_code(stream).gold["reference"])
    words = stream.several(WORDS, stream.between(2, 4))
    step = _list_step(stream, len(words))
    return f"{LISTS[step.operation].format('[' + ', '.join(words) + ']')} = {' '.join(step.on_words(words))}"


DRAW: dict[str, Callable[[Stream], MiniExample]] = {
    "graded_math": _math,
    "graded_code": _code,
    "graded_general": _general,
    "graded_general_clean": _chat,
}
# What a benchmark asks where that is not what its source holds: nobody is tested on chats about math and code.
ASKED = {"graded_general": _chat}
