"""Which conversations are about code or math: by the tags of a tagger, or by words and code fences in place of them.

The paper dropped the conversations whose InsTag tags match "code" or "math". A file of tags is JSON lines or an array
of {"id", "tags"}, with tags as a list of texts or of {"tag", "explanation"}, or as InsTagger's answer itself, the JSON
text of such a list. Without a file, words in the human turns and code fences in any turn stand in for a tagger; that is
a fallback, and everything that is reported says so.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.data.example import Example
from sft_sweeps.data.groups import without_number
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import read_rows
from sft_sweeps.spec.data import Cleaning

FENCE = "```"
WORDS = {
    "code": re.compile(
        r"\b(?:code|coding|program(?:ming|mer)?|python|java(?:script)?|typescript|c\+\+|c#|golang|rust|php|sql|html|css|"
        r"bash|regex|algorithms?|compiler?|debug(?:ging)?|api|json|django|flask|react|node\.?js|docker|kubernetes|git|"
        r"github|stack ?trace|syntax error|def|import|public class|select .{1,80} from)\b",
        re.IGNORECASE,
    ),
    "math": re.compile(
        r"\b(?:math(?:s|ematics|ematical)?|algebra|calculus|geometry|trigonometry|equations?|integrals?|derivatives?|"
        r"theorem|polynomials?|matri(?:x|ces)|eigenvalues?|probability|solve for|square root|logarithm|fractions?)\b",
        re.IGNORECASE,
    ),
}


def drop_reason(cleaning: Cleaning) -> Callable[[Example], str]:
    """For an example, the reason to drop it ("tag_code", "word_math", "code_fence"), or ""."""
    if cleaning.tags:
        return _tagged(cleaning)
    unknown = [tag for tag in cleaning.drop_tags if tag not in WORDS]
    if unknown:
        raise RequestError(
            f"clean.drop_tags={unknown[0]} needs clean.tags_file=FILE; without tags, only {', '.join(WORDS)} have words"
        )
    return _worded(cleaning.drop_tags)


def _tagged(cleaning: Cleaning) -> Callable[[Example], str]:
    tags = read_tags(Path(cleaning.tags_path))
    patterns = {tag: re.compile(tag, re.IGNORECASE) for tag in cleaning.drop_tags}

    def reason(example: Example) -> str:
        own = tags.get(example.row_id, tags.get(without_number(example.row_id), ()))
        return next((f"tag_{tag}" for tag, pattern in patterns.items() if any(map(pattern.search, own))), "")

    return reason


def _worded(dropped: tuple[str, ...]) -> Callable[[Example], str]:
    def reason(example: Example) -> str:
        if "code" in dropped and any(FENCE in text for text in example.messages):
            return "code_fence"
        for tag in dropped:
            if any(WORDS[tag].search(prompt) for prompt in example.messages[::2]):
                return f"word_{tag}"
        return ""

    return reason


@lru_cache(maxsize=2)
def read_tags(path: Path) -> dict[str, tuple[str, ...]]:
    """The tags of every id of a file."""
    tags = {}
    for row in read_rows(path, "clean.tags_file"):
        if not isinstance(row.value, dict) or row.value.get("id") is None or "tags" not in row.value:
            raise RequestError(
                f'clean.tags_file={path}: {row.location} is no {{"id", "tags"}}. Write one a conversation.'
            )
        tags[str(row.value["id"])] = tuple(_texts(row.value["tags"]))
    if not tags:
        raise RequestError(f"clean.tags_file={path} has no tags.")
    return tags


def _texts(value: Any) -> Iterator[str]:
    """Tags from a list, or from a tagger's answer: the JSON list in it, else the answer itself."""
    if isinstance(value, str):
        start, end = value.find("["), value.rfind("]")
        try:
            value = json.loads(value[start : end + 1])
        except ValueError:
            yield value
            return
    for tag in value if isinstance(value, list) else []:
        text = tag.get("tag") if isinstance(tag, dict) else tag
        if isinstance(text, str):
            yield text
