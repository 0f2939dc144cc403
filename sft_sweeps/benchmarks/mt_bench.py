"""MT-Bench: 80 questions of two turns, each answer graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).

The protocol is FastChat's single-answer grading: a prompt for each turn, which for math, reasoning and coding holds a
reference answer, and `[[rating]]` in the reply. Unlike FastChat, a reply without a rating in 1 ... 10 is *missing*, is
counted, and no mean is told when more than 2 % are missing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft_sweeps.errors import RequestError
from sft_sweeps.stats import Interval, clustered_mean

TURNS = 2
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "stem": 0.1,
    "humanities": 0.1,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
}
OTHER_TEMPERATURE = 0.7
REFERENCED = ("math", "reasoning", "coding")
MISSING_ALLOWED = 0.02
_RATING = re.compile(r"\[\[\s*(\d{1,3}(?:\.\d{1,6})?)\s*\]\]")
_FIELD = re.compile(r"\{(question|answer|question_1|question_2|answer_1|answer_2|ref_answer_1|ref_answer_2)\}")


@dataclass(frozen=True, slots=True)
class Question:
    """Two turns of one category."""

    id: str
    category: str
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Texts:
    """What the judge is given besides the answers: (system, template) by prompt name, reference turns by question."""

    prompts: Mapping[str, tuple[str, str]]
    references: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Grading:
    """One answer to grade: the `sample`-th answer to a question, in its first or second turn; `messages` ask for it."""

    question: str
    category: str
    turn: int
    sample: int
    messages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Grade:
    """What the judge said of one answer, the `repeat`-th time; no score is a missing one, and `why` says why."""

    question: str
    category: str
    turn: int
    sample: int
    repeat: int
    score: float | None
    why: str = ""
    text: str = ""


def questions(rows: Sequence[Mapping[str, object]]) -> list[Question]:
    """The questions of FastChat's question.jsonl."""
    found = []
    for place, row in enumerate(rows):
        turns = row.get("turns")
        if not isinstance(turns, list) or len(turns) != TURNS or "question_id" not in row or "category" not in row:
            raise RequestError(
                f"row {place + 1} of the MT-Bench questions needs question_id, category and {TURNS} turns"
            )
        found.append(Question(str(row["question_id"]), str(row["category"]), tuple(map(str, turns))))
    return found


def texts(prompts: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> Texts:
    """FastChat's judge_prompts.jsonl and reference_answer/*.jsonl."""
    try:
        single = {p["name"]: (p["system_prompt"], p["prompt_template"]) for p in prompts if p["type"] == "single"}
        known = {str(r["question_id"]): tuple(map(str, r["choices"][0]["turns"])) for r in references}
    except (KeyError, IndexError, TypeError) as error:
        raise RequestError(
            f"the judge prompts or reference answers are not in FastChat's layout (no {error})"
        ) from error
    needed = {name(turn, referenced) for turn in (1, 2) for referenced in (False, True)}
    if lacking := sorted(needed - set(single)):
        raise RequestError(f"the judge prompts lack {', '.join(lacking)}; use FastChat's judge_prompts.jsonl")
    return Texts(single, known)


def name(turn: int, referenced: bool) -> str:
    """The prompt's name in FastChat's file."""
    return f"single{'-math' if referenced else ''}-v1{'-multi-turn' if turn > 1 else ''}"


def gradings(question: Question, answers: Sequence[str], sample: int, given: Texts) -> list[Grading]:
    """Both turns of one conversation, ready to be graded."""
    referenced = question.category in REFERENCED
    reference = given.references.get(question.id, ())
    if referenced and len(reference) < TURNS:
        raise RequestError(f"question {question.id} ({question.category}) has no reference answer of {TURNS} turns")
    values = {"question": question.turns[0], "answer": answers[0]}
    for turn in range(TURNS):
        values |= {f"question_{turn + 1}": question.turns[turn], f"answer_{turn + 1}": answers[turn]}
        values |= {f"ref_answer_{turn + 1}": reference[turn]} if referenced else {}
    found = []
    for turn in range(1, TURNS + 1):
        system, template = given.prompts[name(turn, referenced)]
        text = _FIELD.sub(lambda field: values.get(field[1], field[0]), template)  # once: answers may hold braces
        found.append(Grading(question.id, question.category, turn, sample, (("system", system), ("user", text))))
    return found


def rating(reply: str) -> float | None:
    """The first `[[number]]` of a reply, if it is in 1 ... 10."""
    found = _RATING.search(reply)
    value = float(found[1]) if found else 0.0
    return value if 1 <= value <= 10 else None


def summary(grades: Sequence[Grade]) -> dict[str, Any]:
    """Means with intervals over questions: of all, by turn, by category; spreads of repeats; what is missing.

    `score` is None where more than 2 % are missing: no mean of what is left is the benchmark's.
    """
    there = [grade for grade in grades if grade.score is not None]
    missing = len(grades) - len(there)
    told = bool(there) and missing <= MISSING_ALLOWED * len(grades)
    turns, categories = sorted({g.turn for g in there}), sorted({g.category for g in there})
    return {
        "score": _plain(_mean(there)) if told else None,
        "n": len(grades),
        "missing": missing,
        "questions": len({grade.question for grade in grades}),
        "turns": {str(turn): _plain(_mean([g for g in there if g.turn == turn])) for turn in turns},
        "categories": {name: _plain(_mean([g for g in there if g.category == name])) for name in categories},
        "sd_between_answers": _spread(there, "sample"),
        "sd_between_judgments": _spread(there, "repeat"),
    }


def _mean(grades: Sequence[Grade]) -> Interval:
    clusters: dict[str, list[float]] = {}
    for grade in grades:
        if grade.score is not None:
            clusters.setdefault(grade.question, []).append(grade.score)
    return clustered_mean(list(clusters.values()))


def _spread(grades: Sequence[Grade], key: str) -> float | None:
    """Standard deviation of the overall mean between answers, or between judgments; None where there is one."""
    means: dict[int, list[float]] = {}
    for grade in grades:
        if grade.score is not None:
            means.setdefault(getattr(grade, key), []).append(grade.score)
    if len(means) < 2:
        return None
    import numpy as np

    return float(np.std([np.mean(values) for values in means.values()], ddof=1))


def _plain(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}
