"""Whatever reads a model's text does so in time linear in its length: the text is hostile, and read in the launcher."""

import time

import pytest

from sft_sweeps.benchmarks import humaneval, judging, mini
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.programs import extract
from sft_sweeps.benchmarks.published import parse

PIECES = [
    *"`~ \n(#'{=<>[*_1\t",
    "```",
    "~~~ ",
    "```\n ",
    "```a\n",
    "```x ```y",
    " \n",
    "x\n  ",
    '"""\n',
    "def add(",
    "def add(x): x\n",
    "def add(x):\n  pass\n",
    "def a(): pass\n",
    "@a\ndef b(): pass\n",
    "class a:\n def add(self): pass\n",
    "class ",
    "import a\n",
    "from x import y\n    z\n",
    "def add(x): return h0\ndef h0(): return h1\n",
    "```python\ndef h(): return 1\n```\n",
    "    x = (\n",
    "    # c\n# d\n",
    "x = 1\n",
    "<think>",
    "</think>",
    "<|",
    "<s>",
    "<|a|>assistant\n",
    "> ```\n",
    ">>> def\n",
    "USER:",
    "#### ",
    "#### -",
    "[[",
    "[[ ",
    "[[1",
    "[[1.",
]
# Whether an `if` is left by a return must not be asked twice at each level: 2^25 times in all.
LEVELS = range(4, 29)
NESTED = "".join(
    [
        *(f"{' ' * level}if x == {level}:\n" for level in LEVELS),
        f"{' ' * 29}x = 0\n",
        *(f"{' ' * level}else:\n{' ' * level} x = 1\n" for level in reversed(LEVELS)),
        "    return x + y\n",
    ]
)
PROBLEM = humaneval.read_problems(parse(humaneval.packaged(), "HumanEval"))[53]
MATH, CODE = Item("a", ("q",), {"answer": 1}), Item("b", ("q",), {"function": "add"})
READERS = {
    "extract": lambda text: extract(text, PROBLEM),
    "rating": judging.rating,
    "mini_math": lambda text: mini.judge("mini_math", MATH, [text]),
    "mini_code": lambda text: mini.find_definition(text, "add"),
}


def texts(size: int) -> list[str]:
    repeated = [(piece * size)[:size] for piece in PIECES]
    opened = [(opening + " " * size)[:size] + "x" for opening in ("```", "```python", "~~~", "####", "[[")]
    return [*repeated, *opened, NESTED]


@pytest.mark.parametrize("reader", READERS)
def test_no_text_is_read_in_quadratic_time(reader: str) -> None:
    """A pattern that tries every pair of places in 32,768 characters takes a quarter of a minute and more.

    One second is usual, of CPU; beside others the same machine was seen to take 3.3.
    """
    taken = [(text[:20], _seconds(reader, text)) for text in texts(1 << 15)]
    assert [(text, seconds) for text, seconds in taken if seconds > 6] == []


def _seconds(reader: str, text: str) -> float:
    started = time.process_time()
    READERS[reader](text)
    return time.process_time() - started
