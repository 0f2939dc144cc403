"""What a file of rows is, before it is a source: its format, what of it can be used, what it seems to teach.

Rows are read by the code that encodes a source, so what is dropped here is dropped there.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sft_sweeps.data import tags
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import examples_of, reader_of
from sft_sweeps.data.row_filter import RowFilter, Tally, check_bad_rows
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.rows import read_rows
from sft_sweeps.spec.data import Source

SIGNS_IN = 2000  # examples, the first, in which signs of an ability are looked for
MOST = 0.5  # of them that have its signs, where a file is said to be of it
# A first guess, which encoding replaces: LLaMA's tokens on GSM8K and Code Alpaca (conf/source) lie within 9 % of it.
CHARACTERS, TEMPLATE = 3.0, 40  # of a token; tokens that a template adds
PROGRAM = re.compile(
    r"^\s*(?:def |class |import |from \w+ import |#include|function |SELECT |public )|```", re.MULTILINE
)
CALCULATION = re.compile(r"\d\s*[-+*/×÷=]\s*[$£€]?\d|####|\\boxed|<<")


@dataclass
class Look:
    """What was seen; `signs` counts the examples with signs of `code` and of `math` among the first `looked_at`."""

    format: str
    content: str
    tally: Tally
    rounds: int = 0
    characters: int = 0
    looked_at: int = 0
    signs: Counter[str] = field(default_factory=Counter)

    @property
    def mean_tokens(self) -> float:
        """Of an example, guessed."""
        return round(TEMPLATE + self.characters / CHARACTERS / max(self.tally.examples, 1), 1)

    @property
    def ability(self) -> str:
        """`code` or `math` where most examples have its signs, else `general`."""
        return next((name for name in ("code", "math") if self.signs[name] > MOST * self.looked_at), "general")


def look(path: Path, source: Source, limit_key: str) -> Look:
    """Read the whole file as that source; RequestError where it is none, or more of it cannot be used than may be."""
    content, _ = content_pin(path)
    row_filter = RowFilter()
    reader, rows = reader_of(read_rows(path, source.name), source, path)
    seen = Look(reader.format, content, row_filter.tally)
    for example in examples_of(reader, rows, row_filter):
        seen.rounds += len(example.rounds)
        seen.characters += sum(map(len, example.messages))
        if seen.looked_at < SIGNS_IN:
            seen.looked_at += 1
            seen.signs.update(signs(example))
    check_bad_rows(seen.tally, path, source, limit_key)
    return seen


def signs(example: Example) -> list[str]:
    """The abilities that an example has signs of: code, or where there is none, math.

    By words of the prompts, as for a source's `drop_tags`, and by what a program or a calculation looks like.
    """
    prompts, answers = example.messages[::2], example.messages[1::2]
    if any(map(PROGRAM.search, answers)) or any(map(tags.WORDS["code"].search, prompts)):
        return ["code"]
    if any(map(CALCULATION.search, answers)) or any(map(tags.WORDS["math"].search, prompts)):
        return ["math"]
    return []
