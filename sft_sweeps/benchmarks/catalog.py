"""The items of a planned benchmark: generated, from a package, or from the user's files, whose content must be the
planned one.
"""

import hashlib
import json
from pathlib import Path

from sft_sweeps.benchmarks import gsm8k, humaneval, mini, mt_bench
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.data.mini import SOURCES
from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.files.content import content_pin
from sft_sweeps.spec import Benchmark


def items(benchmark: Benchmark) -> list[Item]:
    """The first `benchmark.examples` items, in the benchmark's order; RequestError where they cannot be had."""
    if benchmark.name in SOURCES:
        try:
            return mini.items(benchmark.name, benchmark.examples, benchmark.seed)
        except ValueError as error:
            hint = "set evaluate.examples to fewer"
            raise RequestError(f"evaluate.examples={benchmark.examples} is too many: {error}; {hint}") from error
    found = {"gsm8k": _gsm8k, "humaneval": _humaneval, "mt_bench": _mt_bench}[benchmark.name](benchmark)
    if len(found) < benchmark.examples:
        raise RequestError(f"{benchmark.name} has {len(found)} items, {benchmark.examples} were planned; plan again")
    return found[: benchmark.examples]


def problems(benchmark: Benchmark) -> dict[str, humaneval.Problem]:
    """HumanEval's tasks by id, all of them."""
    return {problem.id: problem for problem in humaneval.problems(rows(benchmark))}


def _gsm8k(benchmark: Benchmark) -> list[Item]:
    return [Item(key, (question,), {"answer": gold}) for key, question, gold in gsm8k.questions(rows(benchmark))]


def _humaneval(benchmark: Benchmark) -> list[Item]:
    found = []
    for problem in problems(benchmark).values():
        text, opening = humaneval.user_turn(problem, benchmark.style)
        found.append(Item(problem.id, (text,), {}, opening, benchmark.temperature))
    return found


def _mt_bench(benchmark: Benchmark) -> list[Item]:
    found = []
    for question in mt_bench.questions(rows(benchmark)):
        temperature = mt_bench.TEMPERATURES.get(question.category, mt_bench.OTHER_TEMPERATURE)
        found.append(Item(question.id, question.turns, {"category": question.category}, "", temperature))
    return found


def rows(benchmark: Benchmark) -> list[dict[str, object]]:
    """The rows of the benchmark's file, whose content is compared with the planned one."""
    key = f"evaluate.{benchmark.name}"
    if not benchmark.path:
        text = humaneval.packaged()
        content = f"sha256:{hashlib.sha256(text).hexdigest()}"
    else:
        path = Path(benchmark.path)
        try:
            content, _ = content_pin(path, benchmark.content)
            with packing.opened(path) as file:
                text = file.read()
        except OSError as error:
            raise RequestError(
                f"{key}: {path} cannot be read ({error.strerror}). Place the file there, or set {key}.path=FILE."
            ) from error
    if content != benchmark.content:
        raise RequestError(
            f"{key}: {benchmark.path or 'the package'} is not the planned {benchmark.content} but {content}"
        )
    return parse(text.decode("utf-8"), benchmark.path or "HumanEval")


def parse(text: str, name: str) -> list[dict[str, object]]:
    """The rows of JSON lines; RequestError names the line that is none."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RequestError(
                f"line {number} of {name} is no JSON ({error}); it must hold one JSON object a line"
            ) from error
        if not isinstance(row, dict):
            raise RequestError(f"line {number} of {name} is no JSON object; it must hold one JSON object a line")
        found.append(row)
    return found
