"""GSM8K: 1,319 grade-school problems with one number each (Cobbe et al. 2021, arXiv 2110.14168).

The same answers are scored by every rule that is in use, because they disagree and none is "the" GSM8K score:

- `screl_strict`: gsm8k-ScRel's eval.py (@25d2c40), the paper's: the first `#### number`, within 1e-4 of the gold one.
- `lm_eval_strict`: lm-evaluation-harness 0.4's strict-match: the same match, compared as text.
- `lm_eval_flexible`: its flexible-extract: the last thing that looks like a number, compared as text.
- `hierarchical`, the headline: the first marker that yields a number (`####`, `\\boxed{}`, "the answer is"), else the
  last number, read as a value: `$1,000.00`, `1/2`, `.5` and a unicode minus are numbers (`marked_number`).

`format_rate` is the share of answers that write `####`: forgetting the format and forgetting the ability are different
findings. Nothing here is quadratic in an answer's length.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from sft_sweeps.benchmarks import published
from sft_sweeps.benchmarks.base import BenchmarkDefinition, FileScoring, OnHub, ScoringContext
from sft_sweeps.benchmarks.from_file import require_complete
from sft_sweeps.benchmarks.gsm8k_file import answers, questions
from sft_sweeps.benchmarks.item import Item, Verdict
from sft_sweeps.benchmarks.marked_number import extract, value
from sft_sweeps.benchmarks.scored import Row, Scored, ScoringResult, accuracy, from_verdicts
from sft_sweeps.benchmarks.settings import BenchmarkConfig, EvaluateConfig
from sft_sweeps.spec.evaluation import Benchmark

ITEMS = 1319
HEADLINE = "hierarchical"
TOLERANCE = 1e-4

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


def screl_strict(completion: str, gold: str) -> bool:
    """The first match, as a float, near the gold value."""
    match = _STRICT.search(completion.partition("\0")[0])
    try:
        return match is not None and abs(float(match[1].replace(",", "")) - float(gold)) < TOLERANCE
    except ValueError:
        return False


def lm_eval_strict(completion: str, gold: str) -> bool:
    """The first match, as text."""
    match = _STRICT.search(completion)
    return match is not None and _as_text(match[1]) == _as_text(gold)


def lm_eval_flexible(completion: str, gold: str) -> bool:
    """The last match, as text."""
    last = ""
    for match in _FLEXIBLE.finditer(completion):
        last = match[0]
    return bool(last) and _as_text(last) == _as_text(gold)


def _as_text(number: str) -> str:
    """lm-eval's exact_match with its regexes_to_ignore: commas, dollars, what stands before ####, a final full stop."""
    number = number.replace(",", "").replace("$", "").rpartition("#### ")[2]
    return number.removesuffix(".").lower()


def hierarchical(completion: str, gold: str) -> bool:
    """The number that the answer marks as its own, else its last one, near the gold value."""
    number, wanted = extract(completion), value(gold)
    return number is not None and wanted is not None and abs(number - wanted) < Decimal(str(TOLERANCE))


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


@dataclass
class Gsm8kConfig(BenchmarkConfig):
    """The 1,319 test questions, as published."""

    file: str = "gsm8k_test.jsonl"
    url: str = (
        "https://raw.githubusercontent.com/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/"
        "grade_school_math/data/test.jsonl"
    )
    content: str = "sha256:3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"
    rows: int = ITEMS


def problems(name: str, settings: Gsm8kConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """What is wrong with the settings."""
    yield from published.problems(name, settings, evaluate)
    if settings.samples > 1:
        key = f"evaluate.{name}.samples"
        yield f"{key}={settings.samples} is not offered: GSM8K is answered once, greedily; set {key}=1"


def all_items(benchmark: Benchmark) -> list[Item]:
    """The published test file's questions, in its order."""
    return [Item(id_, (question,), {"answer": gold}) for id_, question, gold in questions(published.rows(benchmark))]


def score(rows: Sequence[Row], items: Mapping[str, Item], context: ScoringContext) -> ScoringResult:
    """The headline rule's accuracy; the record has the other rules' besides."""
    texts = [row["answers"][0] for row in rows]
    rights = [verdicts(text, items[row["id"]].gold["answer"]) for row, text in zip(rows, texts, strict=True)]
    judged = [_verdict(row["id"], text, rules) for row, text, rules in zip(rows, texts, rights, strict=True)]
    by_rule, format_rate = scores(rights, texts)
    details = {
        "rules": {rule: scored.to_record() for rule, scored in by_rule.items()},
        "format_rate": format_rate.to_record(),
    }
    result = from_verdicts(judged, context.benchmark.total, details)
    return replace(result, scored=replace(result.scored, formatted=format_rate.k or 0))


def _verdict(item: str, text: str, rules: Mapping[str, bool]) -> Verdict:
    reason = "####" if formatted(text) else "no ####"
    return Verdict(item, rules[HEADLINE], reason, dict(rules), readable=extract(text) is not None)


def scores(rights: Sequence[Mapping[str, bool]], texts: Sequence[str]) -> tuple[dict[str, Scored], Scored]:
    """Every rule's accuracy, and the share of answers in the format."""
    by_rule = {rule: accuracy([right[rule] for right in rights]) for rule in RULES}
    return by_rule, accuracy([formatted(text) for text in texts])


def command_options(parser: argparse.ArgumentParser) -> None:
    """Of `sft-sweeps score gsm8k`."""
    parser.add_argument(
        "--questions", type=Path, metavar="FILE", help="GSM8K's test.jsonl: golds, by id, for rows without their own"
    )


def from_file(task: FileScoring) -> Row:
    """Verdicts by every rule, and each rule's accuracy; rows are {"id", "completion", "gold"}, or lm-eval's samples."""
    given = answers(task.path, task.options.questions)
    require_complete(len(given), ITEMS, "GSM8K items", task.path, task.partial)
    rights = [verdicts(one.completion, one.gold) for one in given]
    by_rule, format_rate = scores(rights, [one.completion for one in given])
    return {
        "benchmark": "gsm8k",
        "items": [{"id": one.id, "verdicts": rules} for one, rules in zip(given, rights, strict=True)],
        "scores": {name: scored.to_record() for name, scored in (by_rule | {"format_rate": format_rate}).items()},
        "headline": HEADLINE,
        "unreadable": sum(extract(one.completion) is None for one in given),
        "total": ITEMS,
        "partial": len(given) != ITEMS,
    }


DEFINITIONS = (
    BenchmarkDefinition(
        name="gsm8k",
        # 1: the hierarchical rule; ScRel's and lm-eval's two beside it
        # 2: the hierarchical rule reads calculations after a marker, nested braces, and numbers behind `_`, Rs. and 是
        version=2,
        ability="math",
        settings=Gsm8kConfig,
        problems=problems,
        items=all_items,
        score=score,
        from_file=from_file,
        command_options=command_options,
        on_hub=OnHub("openai/gsm8k", "main", "test", "gsm8k"),
    ),
)
