"""What benchmarks that a judge grades share: the judge's settings and texts, gradings that it is asked for, its grades.

The judge itself, which is asked over the network, is `score.judge`.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from sft_sweeps.benchmarks.published import parse
from sft_sweeps.benchmarks.scored import Row
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_pin
from sft_sweeps.ranges import at_least
from sft_sweeps.spec.evaluation import Judge

CHARACTERS_PER_TOKEN = 4.0  # for estimates of English text
_RATING = re.compile(r"\[\[\s{0,9}(\d{1,9}(?:\.\d{1,9})?)\s{0,9}\]\]")


@dataclass
class JudgeConfig:
    """Who grades the answers. The key is in the environment variable `key_variable`, never in a file."""

    model: str = ""
    revision: str = ""
    base_url: str = "https://api.openai.com/v1"
    key_variable: str = "OPENAI_API_KEY"
    temperature: float = at_least(0, default=0.0)
    max_tokens: int = at_least(1, default=2048)
    repeats: int = at_least(1, default=1)
    workers: int = at_least(1, default=4)
    timeout: float = 120.0
    retries: int = at_least(0, default=6)
    max_cost_usd: float = at_least(0, default=0.0)
    prompt_usd_per_million: float = at_least(0, default=0.0)
    completion_usd_per_million: float = at_least(0, default=0.0)


@dataclass(frozen=True, slots=True)
class JudgeTexts:
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
    """What the judge said of one answer, the `repeat`-th time; where `score` is missing, `why` says why."""

    question: str
    category: str
    turn: int
    sample: int
    repeat: int
    score: float | None
    why: str = ""
    text: str = ""

    def to_verdict(self) -> Row:
        """As a score's verdicts are kept."""
        return {**asdict(self), "item": self.question, "reason": self.why or "graded"}


@dataclass
class Spending:
    """What was asked anew, and what it cost in tokens and dollars; `cached` replies had been paid for before."""

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class Grader(Protocol):
    """A judge with the replies that were paid for (`score.judge.JudgeClient`)."""

    spending: Spending

    def grade(self, wanted: Sequence[Grading], progress: Callable[[int], None] = ...) -> list[Grade]:
        """Every grading as often as the judge repeats, in order; `progress` gets how many are done."""

    def estimate(self, wanted: Sequence[Grading]) -> Spending:
        """What `grade` would ask, without asking."""


def problems(key: str, judge: JudgeConfig, benchmark: str) -> Iterator[str]:
    """What is wrong with the text of a judge's settings."""
    if not judge.model:
        yield f"{key}.model is not set: who grades {benchmark}? Type {key}.model=gpt-4-0613, or leave {benchmark} out"
    if not judge.base_url.startswith(("http://", "https://")):
        yield f"{key}.base_url={judge.base_url} is not a URL; type one like {key}.base_url=http://localhost:8000/v1"
    elif "@" in judge.base_url.partition("?")[0] or "?" in judge.base_url:
        yield (
            f"{key}.base_url holds a user, password or query, which would be kept with the sweep; set the key in an "
            f"environment variable and name it: {key}.key_variable=NAME"
        )
    if not 0 < judge.timeout < math.inf:
        yield f"{key}.timeout={judge.timeout} is no time; type the most seconds of a reply, like {key}.timeout=120"
    if judge.max_cost_usd and not judge.prompt_usd_per_million + judge.completion_usd_per_million:
        yield f"{key}.max_cost_usd={judge.max_cost_usd} needs prices: set {key}.prompt_usd_per_million=30"


def resolve(config: JudgeConfig, prompts: tuple[str, str], references: tuple[str, str]) -> Judge:
    """The exact judge; of its prompts and references, each (path, content)."""
    return Judge(
        model=config.model,
        revision=config.revision,
        prompts=prompts[1],
        references=references[1],
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        repeats=config.repeats,
        prompts_path=prompts[0],
        references_path=references[0],
        base_url=config.base_url,
        key_variable=config.key_variable,
        workers=config.workers,
        timeout=config.timeout,
        retries=config.retries,
        max_cost_usd=config.max_cost_usd,
        prompt_usd=config.prompt_usd_per_million,
        completion_usd=config.completion_usd_per_million,
    )


def cannot_ask(judge: Judge) -> str:
    """Why a judge cannot be asked from here: its key is not in the environment; empty where it can.

    Only an endpoint on an encrypted address is taken to want a key: local servers (http://) do without.
    """
    if not judge.base_url.startswith("https://") or os.environ.get(judge.key_variable, "").strip():
        return ""
    return f"no key in the environment variable {judge.key_variable}"


def missing_texts(judge: Judge, benchmark: str) -> Iterator[str]:
    """What stands in the way of asking this judge: files that are not there, or not the planned ones."""
    for key, path, content in (
        ("prompts", judge.prompts_path, judge.prompts),
        ("references", judge.references_path, judge.references),
    ):
        name = f"evaluate.{benchmark}.{key}"
        if not Path(path).is_file():
            yield f"{name}: there is no {path}. Place FastChat's file there, or set {name}=FILE."
        elif content_pin(Path(path), content)[0] != content:
            yield f"{name}: {path} is not the planned file ({content}); plan again"


def texts_of(judge: Judge, benchmark: str) -> tuple[list[Row], list[Row]]:
    """The rows of the judge's prompts and references; RequestError unless they are the planned ones."""
    if problems_of_files := list(missing_texts(judge, benchmark)):
        raise RequestError("\n".join(problems_of_files))
    paths = (judge.prompts_path, judge.references_path)
    prompts, references = (parse(Path(path).read_bytes(), path) for path in paths)
    return prompts, references


def rating(reply: str) -> float | None:
    """The one `[[number]]` of a reply, if it is in 1 ... 10; said several times it counts, several different do not.

    A judge that quotes an answer's `[[10]]` before its own `[[1]]` gave no 10.
    """
    values = {float(number) for number in _RATING.findall(reply)}
    return _in_range(next(iter(values))) if len(values) == 1 else None


def first_rating(reply: str) -> float | None:
    """FastChat's rule: the first `[[number]]` of a reply, whatever follows; here, too, it must be in 1 ... 10."""
    match = _RATING.search(reply)
    return _in_range(float(match[1])) if match else None


RATINGS: Mapping[str, Callable[[str], float | None]] = {"only": rating, "first": first_rating}


def _in_range(value: float) -> float | None:
    return value if 1 <= value <= 10 else None


def read_texts(prompts: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> JudgeTexts:
    """FastChat's judge_prompts.jsonl (its prompts for single answers) and reference_answer/*.jsonl."""
    try:
        single = {
            _text(p["name"]): (_text(p["system_prompt"]), _text(p["prompt_template"]))
            for p in prompts
            if p["type"] == "single"
        }
        known = {str(r["question_id"]): tuple(map(_text, r["choices"][0]["turns"])) for r in references}
    except (KeyError, IndexError, TypeError) as error:
        raise RequestError(
            f"the judge prompts or reference answers are not in FastChat's layout (no {error})"
        ) from error
    return JudgeTexts(single, known)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text in {str(value)[:40]!r}")
    return value


def prices(text: str) -> tuple[float, float]:
    """What `--prices IN,OUT` says: US dollars for a million tokens of prompts and of replies."""
    try:
        prompt, completion = map(float, text.split(","))
        if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
            raise ValueError
    except ValueError as error:
        raise RequestError(f"--prices {text} is not IN,OUT; write it like --prices 30,60") from error
    return prompt, completion
