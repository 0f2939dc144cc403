"""MT-Bench's protocol, FastChat's single-answer grading: questions, the prompts that the judge is given, and means.

There is a prompt for each turn, which for math, reasoning and coding holds a reference answer, and `[[rating]]` in the
reply. Unlike FastChat, a reply without one rating in 1 ... 10 is *missing*, is counted, and no mean is given when more
than 2 % are missing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from sft_sweeps.benchmarks import judging
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.judging import Grade, Grading, JudgeTexts
from sft_sweeps.errors import RequestError
from sft_sweeps.stats import Interval, clustered_mean

QUESTIONS = 80
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
_FIELD = re.compile(r"\{(question|answer|question_1|question_2|answer_1|answer_2|ref_answer_1|ref_answer_2)\}")


def questions(rows: Sequence[Mapping[str, Any]]) -> list[Item]:
    """The items of FastChat's question.jsonl: two turns, and the category as gold."""
    asked = []
    for number, row in enumerate(rows, 1):
        turns = row.get("turns")
        if not is_turns(turns) or not isinstance(row.get("question_id"), str | int) or "category" not in row:
            raise RequestError(f"row {number} of the MT-Bench questions needs question_id, category and {TURNS} turns")
        category = str(row["category"])
        temperature = TEMPERATURES.get(category, OTHER_TEMPERATURE)
        asked.append(Item(str(row["question_id"]), tuple(turns), {"category": category}, "", temperature))
    return asked


def is_turns(value: object) -> TypeGuard[list[str]]:
    """Whether it is a text for each turn."""
    return isinstance(value, list) and len(value) == TURNS and all(isinstance(turn, str) for turn in value)


def texts(prompts: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> JudgeTexts:
    """FastChat's prompts and references, which must have all that is needed here."""
    read = judging.read_texts(prompts, references)
    needed = {prompt_name(turn, referenced) for turn in (1, 2) for referenced in (False, True)}
    if lacking := sorted(needed - set(read.prompts)):
        raise RequestError(f"the judge prompts lack {', '.join(lacking)}; use FastChat's judge_prompts.jsonl")
    return read


def prompt_name(turn: int, referenced: bool) -> str:
    """The prompt's name in FastChat's file."""
    return f"single{'-math' if referenced else ''}-v1{'-multi-turn' if turn > 1 else ''}"


def gradings(question: Item, answers: Sequence[str], sample: int, given: JudgeTexts) -> list[Grading]:
    """Both turns of one conversation, ready to be graded."""
    category = question.gold["category"]
    referenced = category in REFERENCED
    reference = given.references.get(question.id, ())
    if referenced and len(reference) < TURNS:
        raise RequestError(f"question {question.id} ({category}) has no reference answer of {TURNS} turns")
    values = {"question": question.turns[0], "answer": answers[0]}
    for turn in range(TURNS):
        values |= {f"question_{turn + 1}": question.turns[turn], f"answer_{turn + 1}": answers[turn]}
        values |= {f"ref_answer_{turn + 1}": reference[turn]} if referenced else {}
    both = []
    for turn in range(1, TURNS + 1):
        system, template = given.prompts[prompt_name(turn, referenced)]
        text = _FIELD.sub(lambda match: values.get(match[1], match[0]), template)  # once: answers may hold braces
        both.append(Grading(question.id, category, turn, sample, (("system", system), ("user", text))))
    return both


def summary(grades: Sequence[Grade]) -> dict[str, Any]:
    """Means with intervals over questions: of all, by turn, by category; spreads of repeats; what is missing.

    `score` is None where more than 2 % are missing: no mean of what is left is the benchmark's.
    """
    there = [grade for grade in grades if grade.score is not None]
    missing = len(grades) - len(there)
    enough = bool(there) and missing <= MISSING_ALLOWED * len(grades)
    turns, categories = sorted({g.turn for g in there}), sorted({g.category for g in there})
    return {
        "score": _plain(_mean(there)) if enough else None,
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


def _plain(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
