"""Sample answers of a model with their verdicts: wrong ones first, so many of each benchmark.

Only the lines that are shown are parsed: a benchmark's answers are a thousand lines, of each of a hundred models.
"""

import contextlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks.registry import items_of
from sft_sweeps.errors import SweepError
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.report.page import text
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Benchmark, Score
from sft_sweeps.store.answers import ITEMS, VERDICTS

LONGEST = 1200  # characters of a prompt or answer
CUT = " […] "
PLAIN = ("item", "question", "sample", "reason", "detail", "correct", "readable", "text", "score", "turn", "repeat")


@dataclass(frozen=True)
class Answer:
    """An item's turns, each what was asked and answered, and the verdict; `right` is None for a grade."""

    item: str
    turns: tuple[tuple[str, str], ...]
    verdict: str
    right: bool | None = None


@dataclass(frozen=True)
class Sample:
    """Some answers to one benchmark, of so many wrong ones; `why` says why there are none."""

    benchmark: str
    answers: tuple[Answer, ...] = ()
    wrong: int = 0
    total: int = 0
    why: str = ""


def sample(score: Score, scores: Scores, most: int) -> Sample | None:
    """Of one score at most so many answers; None where its benchmark asks nothing."""
    benchmark = score.generation.benchmark
    if not benchmark.generates or not (values := scores.values(score)):
        return None
    share = all(isinstance(value, bool) or value in (0.0, 1.0) for value in values.values())
    wrong = [item for item, value in values.items() if value < 1] if share else []
    chosen = _chosen(values, most)
    title = text.title(benchmark.name)
    try:
        given = _rows(scores.store.read_folder(score.generation) / ITEMS, "id", chosen)
        judged = _rows(scores.store.read_folder(score) / VERDICTS, "item", chosen)
    except (OSError, ValueError) as error:
        return Sample(title, why=f"its answers cannot be read ({type(error).__name__})")
    asked = _prompts(benchmark)
    right = {item: bool(value == 1) if share else None for item, value in values.items()}
    shown = [_answer(item, given[item], judged.get(item, []), asked, right[item]) for item in chosen if item in given]
    why = "" if shown else "its answers are not there any more"
    return Sample(title, tuple(shown), len(wrong), len(values), why)


def _chosen(values: Any, most: int) -> list[str]:
    """The lowest values first; the last place is for the highest one, which shows what was wanted."""
    ordered = sorted(values, key=lambda item: float(values[item]))
    return ordered if len(ordered) <= most else [*ordered[: max(most - 1, 1)], *ordered[-1:]][:most]


def _rows(path: Path, key: str, wanted: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of some items; a line that names none of them is not parsed."""
    marks = [json.dumps(item) for item in wanted]
    found: dict[str, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if any(mark in line for mark in marks):
                row = parse_line(line)
                if isinstance(row, dict) and str(row.get(key)) in wanted:
                    found.setdefault(str(row[key]), []).append(row)
    return found


@lru_cache(maxsize=8)
def _prompts(benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    """What each item asks; nothing where the benchmark's file is not on this machine."""
    with contextlib.suppress(SweepError, OSError, ValueError, KeyError):
        return {item.id: item.turns for item in items_of(benchmark)}
    return {}


def _answer(
    item: str,
    given: Sequence[dict[str, Any]],
    judged: Sequence[dict[str, Any]],
    asked: dict[str, tuple[str, ...]],
    right: bool | None,
) -> Answer:
    answered = given[0].get("answers") or [given[0].get("answer", "")]
    prompts = asked.get(item) or ("",) * len(answered)
    turns = [(cut(prompt), cut(str(one))) for prompt, one in zip(prompts, answered, strict=False)]
    return Answer(item, tuple(turns), "; ".join(dict.fromkeys(filter(None, map(_verdict, judged)))), right)


def _verdict(row: dict[str, Any]) -> str:
    """What a verdict says, in a line."""
    words = [str(row["reason"])] if row.get("reason") else []
    if row.get("score") is not None:
        words = [f"turn {row.get('turn', 1)}: {row['score']}"]
    detail = row.get("detail")
    numbers = _plain(detail) if isinstance(detail, dict) else []
    return ", ".join([*words, *numbers])


def _plain(detail: dict[str, Any]) -> Iterable[str]:
    """Short values of a verdict's detail."""
    for name, value in detail.items():
        if isinstance(value, bool | int | float) or (isinstance(value, str) and 0 < len(value) <= 40):
            yield f"{name} {value}"


def cut(given: str) -> str:
    """A text without its middle, where it is long."""
    half = (LONGEST - len(CUT)) // 2
    return given if len(given) <= LONGEST else given[:half] + CUT + given[-half:]
