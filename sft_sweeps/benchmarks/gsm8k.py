"""GSM8K: 1,319 grade-school problems with one number each (Cobbe et al. 2021, arXiv 2110.14168).

The same answers are scored by every rule that is in use, because they disagree and none is "the" GSM8K score:

- `screl_strict`: gsm8k-ScRel's eval.py (@25d2c40), the paper's: the first `#### number`, within 1e-4 of the gold one.
- `lm_eval_strict`: lm-evaluation-harness 0.4's strict-match: the same match, compared as text.
- `lm_eval_flexible`: its flexible-extract: the last thing that looks like a number, compared as text.
- `hierarchical`, the headline: the first marker that yields a number (`####`, `\\boxed{}`, "the answer is"), else the
  last number, read as a value: `$1,000.00`, `1/2`, `.5` and a unicode minus are numbers.

`format_rate` is the share of answers that write `####`: forgetting the format and forgetting the ability are different
findings. Nothing here is quadratic in an answer's length.
"""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, DecimalException

from sft_sweeps.errors import RequestError

HEADLINE = "hierarchical"
TOLERANCE = 1e-4
_DIGITS = 40  # beyond which a number is none: no answer is, and arithmetic on a megabyte of digits is an attack

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_STOPS = re.compile(r"USER:|</s>")
_HASHES = re.compile(r"####\s*([^\n]*)")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_ANSWER = re.compile(r"(?i)\b(?:final\s+)?answer\s*(?:is|:)\s*:?\s*([^\n]*)")
# No digit run is entered in its middle and each is read once, so that a megabyte of digits costs one pass.
_NUMBER = re.compile(
    r"(?<![\w.])(?P<open>\(?)(?P<sign>[-−]?)\s?\$?\s?(?P<number>\d[\d,]*+(?:\.\d++)?|\.\d++)"
    r"(?P<exponent>[eE][-+]?\d++)?(?:\s?/\s?(?P<divisor>\d++))?"
)


def screl_strict(completion: str, gold: str) -> bool:
    """The first match, as a float, near the gold value."""
    found = _STRICT.search(completion.partition("\0")[0])
    try:
        return found is not None and abs(float(found[1].replace(",", "")) - float(gold)) < TOLERANCE
    except ValueError:
        return False


def lm_eval_strict(completion: str, gold: str) -> bool:
    """The first match, as text."""
    found = _STRICT.search(completion)
    return found is not None and _as_text(found[1]) == _as_text(gold)


def lm_eval_flexible(completion: str, gold: str) -> bool:
    """The last match, as text."""
    last = ""
    for found in _FLEXIBLE.finditer(completion):
        last = found[0]
    return bool(last) and _as_text(last) == _as_text(gold)


def _as_text(number: str) -> str:
    """lm-eval's exact_match with its regexes_to_ignore: commas, dollars, what stands before ####, a final full stop."""
    number = number.replace(",", "").replace("$", "").rpartition("#### ")[2]
    return number.removesuffix(".").lower()


def hierarchical(completion: str, gold: str) -> bool:
    """The number that the answer marks as its own, else its last one, near the gold value."""
    found, wanted = extract(completion), value(gold)
    return found is not None and wanted is not None and abs(found - wanted) < Decimal(str(TOLERANCE))


def extract(completion: str) -> Decimal | None:
    """The answer's number; None where it has none."""
    text = completion[: stop.start()] if (stop := _STOPS.search(completion)) else completion
    for found in _HASHES.finditer(text):
        if (number := value(found[1])) is not None:
            return number
    for marker in (_BOXED, _ANSWER):
        numbers = [value(found[1]) for found in marker.finditer(text)]
        if marked := [number for number in numbers if number is not None]:
            return marked[-1]
    last = None
    for found in _NUMBER.finditer(text):
        last = found
    return None if last is None else _number(last)


def value(text: str) -> Decimal | None:
    """The first number in a text, as a value."""
    found = _NUMBER.search(text)
    return None if found is None else _number(found)


def _number(found: "re.Match[str]") -> Decimal | None:
    number, exponent, divisor = found["number"].replace(",", ""), found["exponent"] or "", found["divisor"] or "1"
    if max(len(number), len(divisor)) > _DIGITS or len(exponent) > 6:
        return None
    try:
        return Decimal(f"{'-' if found['sign'] else ''}{number}{exponent}") / Decimal(divisor)
    except DecimalException:  # a division by zero, or beyond every exponent
        return None


RULES: dict[str, Callable[[str, str], bool]] = {
    "screl_strict": screl_strict,
    "lm_eval_strict": lm_eval_strict,
    "lm_eval_flexible": lm_eval_flexible,
    "hierarchical": hierarchical,
}


def verdicts(completion: str, gold: str) -> dict[str, bool]:
    """Whether the answer is right by each of the rules; `gold` is the bare number."""
    return {name: rule(completion, gold) for name, rule in RULES.items()}


def formatted(completion: str) -> bool:
    """Whether the answer uses the training data's format."""
    return "####" in completion


def gold_of(answer: str) -> str:
    """The number after #### of a reference solution, or the text itself where it is a bare number."""
    text = answer.rpartition("####")[2].strip().replace(",", "")
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        raise RequestError(
            f"gold answer {answer[-60:]!r} is no number; write it as 72, or a solution ending in #### 72"
        )
    return text


def questions(rows: Sequence[dict[str, object]]) -> list[tuple[str, str, str]]:
    """(id, question, gold) of the published test file's rows, in its order."""
    found = []
    for place, row in enumerate(rows):
        question, answer = row.get("question", row.get("query")), row.get("answer", row.get("response"))
        if not isinstance(question, str) or not isinstance(answer, str):
            raise RequestError(
                f"row {place + 1} of the GSM8K file has no question and answer; use the published test.jsonl"
            )
        found.append((f"gsm8k/test/{place}", question, gold_of(answer)))
    return found
