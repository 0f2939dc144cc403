"""Whether training data hold the test items of benchmarks: any 13 words of an item in a row, or all of a shorter item.

Words are runs of letters and digits, lower case; 13 is what GPT-3's authors chose (Brown et al. 2020, appendix C). A
hit is something to look at, not a proof: phrases that everybody writes are hits too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_sweeps.data.example import Example
from sft_sweeps.files.rows import read_rows

WIDTH = 13
LEAST = 6  # words: a shorter item ("2 + 2?") is found anywhere
WORD = re.compile(r"\w+")
TEXTS = ("question", "prompt", "turns", "query", "instruction")  # where items have what they ask
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".jsonl.zst")


@dataclass
class Hits:
    """Of one benchmark: its items, and for each that is in a row the first rows that hold it."""

    items: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)


class Items:
    """The test items of the benchmarks in a folder: a file each, one JSON object an item."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.hits: dict[str, Hits] = {}
        self._phrases: dict[str, dict[int, tuple[str, str]]] = {}  # first word -> hash of a phrase -> benchmark, item
        self._widths: dict[str, set[int]] = {}
        for path in files:
            name = path.name.partition(".")[0]
            hits = self.hits[name] = Hits()
            for index, row in enumerate(read_rows(path, name)):
                if isinstance(row.value, dict):
                    hits.items += 1
                    self._add(name, str(_id(row.value, index)), _texts(row.value))

    def check(self, example: Example) -> None:
        """Note which items a training example holds."""
        for text in example.messages:
            words = WORD.findall(text.lower())
            for start, word in enumerate(words):
                if word in self._phrases:
                    self._check_at(words, start, word, example.id)

    def _check_at(self, words: list[str], start: int, word: str, example_id: str) -> None:
        phrases = self._phrases[word]
        for width in self._widths[word]:
            if hit := phrases.get(hash(tuple(words[start : start + width]))):
                rows = self.hits[hit[0]].found.setdefault(hit[1], [])
                if example_id not in rows:
                    rows.append(example_id)

    def _add(self, benchmark: str, item: str, texts: Iterable[str]) -> None:
        for text in texts:
            words = WORD.findall(text.lower())
            width = min(WIDTH, len(words))
            if width < LEAST:
                continue
            for start in range(len(words) - width + 1):
                phrase = words[start : start + width]
                self._phrases.setdefault(phrase[0], {})[hash(tuple(phrase))] = (benchmark, item)
                self._widths.setdefault(phrase[0], set()).add(width)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that may hold test items, references and judges' prompts left out."""
    files = (path for path in sorted(folder.iterdir()) if path.name.endswith(SUFFIXES)) if folder.is_dir() else ()
    return [path for path in files if not re.search("reference|judge|train|sample", path.name)]


def _id(row: Mapping[str, Any], index: int) -> Any:
    return next((row[key] for key in ("task_id", "question_id", "id") if key in row), index)


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    for key in TEXTS:
        value = row.get(key)
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (text for text in value if isinstance(text, str))
