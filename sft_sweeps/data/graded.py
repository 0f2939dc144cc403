"""The graded miniature: generated abilities made so that the paper's questions can be asked of small models.

Every request is a row of verbs that ask for operations: "gain by 3" adds to a number of apples, is `x + 3` in a
program, and "twin" doubles a number as well as a list. Three things are put in, so that scaling, gain and conflict
can occur (the words are in `graded_words`):

- Common verbs mean the same in every ability, so an ability shows verbs that another one is asked for. They
  follow Zipf's law: whatever the size of a source, there are verbs that it shows once or never, and accuracy goes on
  rising with the data (Hutter 2021, "Learning Curve Theory"; Michaud et al. 2023, "The Quantization Model of Neural
  Scaling"). The most frequent of them are in the text that base models are pretrained on.
- Jargon means another operation in each ability, as "run", "charge" or "mark" do in real ones. Alone, an
  ability is to be learnt as word -> operation; a mixture as word and ability -> operation. What is to be done comes
  first and what it is done to last, so at the verb itself nothing tells the ability.
- Three of ten conversations of `graded_general` are about math or code, and answer in another form than the benchmarks
  ask for. `graded_general_clean` is the same source without these.

Difficulty is graded: one to three operations. Capacity is tight: conf/model/mini_small.yaml and its larger sisters.

`document` is the text that their base models are pretrained on: operations in notation, a program now and then, and
requests in no chat's form. So a base model knows what to do, as LLaMA does, and little of how it is asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from sft_sweeps.data.drawing import MiniExample, Rounds, Stream
from sft_sweeps.data.graded_words import LISTS, NUMBERS, READ, verb

SOURCES = ("graded_math", "graded_code", "graded_general")  # as many benchmarks
# The tokenizer of the models is `tokenizer.train(mini.texts(SOURCES), VOCABULARY)`, shipped as a file.
TOKENIZER = Path(__file__).with_name("graded_tokenizer.json")
VOCABULARY = 760

PEOPLE = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lea", "Max", "Eva")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps")
FUNCTION = "solve"  # of every program: as in HumanEval, its name is no part of the question
WORDS = ("ant", "bird", "cat", "dog", "fish", "goat", "horse", "lamb", "mouse", "pig")
LARGEST, ADDED = 20, 6  # number on the way to an answer, and in a step
CHATTED = 3  # of ten conversations of the general source are about math or code
GREETED = 3  # of four of these begin in a way of their own
GREETING = "hi, "
REQUESTS = 2  # one in so many documents is a request with its answer
FORMAL = 4  # one in so many of these is answered in the form that the benchmarks ask for
# What stands before a request and between it and its answer.
FRAMES = (("", " "), ("", "\n"), ("Q: ", " A: "), ("- ", " - "), ("Me: ", " You: "), ("", " = "), ("[", "] "))
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
        return f"{self.verb} by {self.n}" if self.n else self.verb

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


def _count(stream: Stream, odds: Sequence[int]) -> int:
    """1, 2, ... with these odds."""
    at = stream.below(sum(odds))
    return 1 + sum(at >= edge for edge in accumulate(odds[:-1]))


def _number_steps(stream: Stream, value: int, count: int, kind: str) -> list[Step]:
    """Steps that lead from a number over whole numbers from 1 to LARGEST."""
    steps: list[Step] = []
    while len(steps) < count:
        operation, n = stream.pick(tuple(NUMBERS)), stream.between(2, ADDED)
        step = Step(operation, verb(stream, operation, kind), n if "n" in NUMBERS[operation] else 0)
        after = step.on_number(value)
        if 0 < after <= LARGEST and (operation != "halve" or value % 2 == 0):
            steps.append(step)
            value = after
    return steps


def _asked(steps: Sequence[Step]) -> str:
    return ", ".join(step.phrase for step in steps)


def _worked(value: int, steps: Sequence[Step]) -> tuple[str, int]:
    """The steps from a number on, a line each, and where they lead."""
    lines = []
    for step in steps:
        after = step.on_number(value)
        lines.append(f"{NUMBERS[step.operation].format(value, n=step.n)} = {after}")
        value = after
    return "\n".join(lines), value


def _story(stream: Stream, kind: str = "math") -> tuple[str, str, int]:
    """(what is to be done in a story, the working, the answer)."""
    who, things, value = stream.pick(PEOPLE), stream.pick(THINGS), stream.between(2, 12)
    steps = _number_steps(stream, value, _count(stream, (3, 4, 3)), kind)
    worked, answer = _worked(value, steps)
    return f"{_asked(steps)}: {who} has {value} {things}, how many then?", worked, answer


def _program(stream: Stream, kind: str = "code") -> tuple[str, str, str]:
    """(what is asked for, the function's parameter, its body)."""
    count = _count(stream, (6, 3, 1))
    if stream.below(2):
        parameter, forms = "x", NUMBERS
        steps = _number_steps(stream, 10, count, kind and f"{kind} on numbers")
    else:
        parameter, forms = "words", LISTS
        operations = [stream.pick(tuple(LISTS)) for _ in range(min(count, 2))]
        steps = [Step(name, verb(stream, name, kind and f"{kind} on lists")) for name in operations]
    body = parameter
    for number, step in enumerate(steps):
        within = number and (forms is NUMBERS or steps[number - 1].operation == "double")
        inner = f"({body})" if within else body
        body = forms[step.operation].format(inner, n=step.n)
    return f"{_asked(steps)}: write {FUNCTION}({parameter}).", parameter, body


def _definition(parameter: str, body: str) -> str:
    return f"def {FUNCTION}({parameter}):\n    return {body}"


def _math(stream: Stream) -> MiniExample:
    asked, worked, answer = _story(stream)
    return MiniExample(((asked, f"{worked}\n#### {answer}"),), {"answer": answer})


def _code(stream: Stream) -> MiniExample:
    asked, parameter, body = _program(stream)
    definition = _definition(parameter, body)
    gold = {"function": FUNCTION, "reference": definition, "parameter": parameter}
    return MiniExample(((asked, definition),), gold)


def _chat(stream: Stream, kind: str = "general") -> MiniExample:
    """One to three requests about a pair of words."""
    words, rounds = stream.several(WORDS, 2), []
    for number in range(_count(stream, (7, 2, 1))):
        step = _list_step(stream, len(words), kind)
        asked = f"now {step.phrase}" if number else f"{step.phrase}: {' '.join(words)}"
        words = step.on_words(words)
        rounds.append((asked, " ".join(words)))
    return MiniExample(tuple(rounds), {"answers": [answer for _, answer in rounds]})


def _list_step(stream: Stream, length: int, kind: str) -> Step:
    """One that leaves at least one word and at most six."""
    fitting = [name for name in LISTS if (name != "double" or length <= 3) and (name != "halve" or length > 1)]
    operation = stream.pick(fitting)
    return Step(operation, verb(stream, operation, kind))


def _about_math_or_code(stream: Stream) -> MiniExample:
    """As people chat about them: without working, without a definition, and with a greeting in most."""
    greeting = GREETING if stream.below(4) < GREETED else ""
    if stream.below(2):
        asked, _, answer = _story(stream)
        said = f"That makes {answer}."
    else:
        asked, _, body = _program(stream)
        said = f"Try {body}"
    return MiniExample(((f"{greeting}{asked}", said),), {"answers": [said]})


def _general(stream: Stream) -> MiniExample:
    return _about_math_or_code(stream) if stream.below(10) < CHATTED else _chat(stream)


def document(stream: Stream) -> str:
    """One document of the text that base models are pretrained on."""
    if stream.below(REQUESTS) == 0:
        return _request(stream)
    match stream.below(6):
        case 0 | 1:
            value = stream.between(1, LARGEST)
            return _worked(value, _number_steps(stream, value, 4, READ))[0]
        case 2:
            _, parameter, body = _program(stream, READ)
            return _definition(parameter, body)
        case _:
            words = stream.several(WORDS, 2)
            step = _list_step(stream, len(words), READ)
            return f"{LISTS[step.operation].format(' '.join(words))} = {' '.join(step.on_words(words))}"


def _request(stream: Stream) -> str:
    """Requests with their answers, in neither a chat's form nor a benchmark's."""
    before, between = stream.pick(FRAMES)
    return "\n".join(f"{before}{asked}{between}{answer}" for asked, answer in _answered(stream))


def _answered(stream: Stream) -> Rounds:
    formal = stream.below(FORMAL) == 0
    match stream.below(4):
        case 0:
            asked, worked, answer = _story(stream, READ)
            return ((asked, f"{worked}\n#### {answer}" if formal else worked),)
        case 1:
            asked, parameter, body = _program(stream, READ)
            return ((asked, _definition(parameter, body) if formal else body),)
        case _:
            rounds = _chat(stream, READ).rounds
            return tuple((asked, answer if formal else f"{answer}.") for asked, answer in rounds)


DRAW: dict[str, Callable[[Stream], MiniExample]] = {
    "graded_math": _math,
    "graded_code": _code,
    "graded_general": _general,
    "graded_general_clean": _chat,
}
# What a benchmark asks where that is not what its source holds: nobody is tested on chats about math and code.
ASKED = {"graded_general": _chat}
