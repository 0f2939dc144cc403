"""The benchmarks of the miniature abilities: items no training example shares a prompt with, judged mechanically.

mini_math reads the number after the first `####`. mini_code takes the asked function out of the answer and runs it
in the sandbox against the reference on fixed inputs. mini_general compares every turn's answer with the one right
answer; a later turn refers to what the conversation *should* hold, and the item is correct when every turn is. The
graded_ benchmarks are judged in the same way.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sft_sweeps.benchmarks import plain_functions
from sft_sweeps.benchmarks.base import BenchmarkDefinition, ScoringContext
from sft_sweeps.benchmarks.item import Item, Verdict
from sft_sweeps.benchmarks.scored import Row, ScoringResult, from_verdicts
from sft_sweeps.benchmarks.settings import EvaluateConfig, EvaluatedPoint
from sft_sweeps.data import graded, mini
from sft_sweeps.data.drawing import Stream
from sft_sweeps.data.mini import INPUTS, draw
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Isolation
from sft_sweeps.identity import VERSIONS
from sft_sweeps.ranges import NumberRange
from sft_sweeps.sandbox.parallel import run_each
from sft_sweeps.sandbox.run import DEFAULT, execute
from sft_sweeps.sandbox.servers import Servers
from sft_sweeps.sandbox.task import Task
from sft_sweeps.spec.evaluation import Benchmark

_NUMBER = re.compile(r"####\s*(-?[\d,]{0,40}\d)")
_FAILED_DRAWS = 2000  # in a row, before the distinct test prompts count as used up


def problems(name: str, settings: None, evaluate: EvaluateConfig) -> Iterator[str]:
    """What is wrong with the keys of `evaluate` that the minis share."""
    del name, settings
    yield from NumberRange(1)("evaluate.examples", evaluate.examples)
    yield from NumberRange(1)("evaluate.max_new_tokens", evaluate.max_new_tokens)


def resolve(name: str, settings: None, point: EvaluatedPoint) -> Iterator[Benchmark]:
    """So many generated items, by their seed."""
    del settings
    evaluate = point.evaluate
    yield Benchmark(
        name=name,
        content=f"generated:{name}:version={VERSIONS[mini.component(name)]}:seed={evaluate.seed}",
        examples=evaluate.examples,
        template=point.template,
        max_new_tokens=evaluate.max_new_tokens,
        seed=evaluate.seed,
    )


def planned_items(benchmark: Benchmark) -> list[Item]:
    """As many as are planned; RequestError where there are not as many."""
    try:
        return items(benchmark.name, benchmark.examples, benchmark.seed)
    except ValueError as error:
        hint = "set evaluate.examples to fewer"
        raise RequestError(f"evaluate.examples={benchmark.examples} is too many: {error}; {hint}") from error


def items(name: str, count: int, seed: int) -> list[Item]:
    """The first `count` items of a benchmark under a seed; no two have the same turns."""
    stream = Stream(f"test/{name}/{seed}")
    by_turns: dict[tuple[str, ...], Item] = {}
    failed = 0
    while len(by_turns) < count:
        drawn = draw(name, stream, test=True)
        turns = tuple(prompt for prompt, _ in drawn.rounds)
        if turns not in by_turns:
            by_turns[turns] = Item(f"{name}/test/{len(by_turns)}", turns, drawn.gold)
            failed = 0
        elif (failed := failed + 1) > _FAILED_DRAWS:
            raise ValueError(f"{name} has only about {len(by_turns)} distinct test items, {count} were asked for")
    return list(by_turns.values())


def judge(
    name: str,
    item: Item,
    answers: Sequence[str],
    isolation: Isolation = DEFAULT,
    servers: Servers | None = None,
) -> Verdict:
    """Judge the answers to an item, one for each of its turns; programs among them run behind `isolation`."""
    if len(answers) != len(item.turns):
        raise ValueError(f"{item.id} has {len(item.turns)} turns, {len(answers)} answers were given")
    return _code(item, answers, isolation, servers) if runs_programs(name) else _JUDGES[_ability(name)](item, answers)


def runs_programs(name: str) -> bool:
    """Whether answers to a benchmark are programs."""
    return _ability(name) == "code"


def _ability(name: str) -> str:
    return name.partition("_")[2]


def _math(item: Item, answers: Sequence[str]) -> Verdict:
    match = _NUMBER.search(answers[0])
    if match is None:
        reason = "no number after ####" if "####" in answers[0] else "no ####"
        return Verdict(item.id, False, reason, readable=False)
    number = int(match[1].replace(",", ""))
    correct = number == item.gold["answer"]
    return Verdict(item.id, correct, "right" if correct else "wrong number", {"number": number})


def _code(item: Item, answers: Sequence[str], isolation: Isolation, servers: Servers | None) -> Verdict:
    function = item.gold["function"]
    definition = find_definition(answers[0], function)
    if definition is None:
        return Verdict(item.id, False, "no definition", readable=False)
    try:
        compile(definition, "<answer>", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return Verdict(item.id, False, "does not compile", {"definition": definition}, readable=False)
    detail = {"definition": definition}
    inputs = INPUTS[item.gold["parameter"]]
    if (why := plain_functions.differs(definition, item.gold["reference"], inputs)) is not None:
        return Verdict(item.id, not why, why or "passed", detail)
    outcome = execute(Task(definition, _check(item.gold), function), isolation=isolation, servers=servers)
    return Verdict(item.id, outcome.passed, outcome.reason, detail)


def find_definition(answer: str, function: str) -> str | None:
    """The first definition of the function in the answer: its line and the indented or empty lines after it."""
    lines = answer.strip().split("\n")
    for start, line in enumerate(lines):
        if line.startswith(f"def {function}("):
            body = []
            for later in lines[start + 1 :]:
                if later and not later[0].isspace():
                    break
                body.append(later)
            return "\n".join([line, *body]).rstrip() + "\n"
    return None


def _check(gold: Mapping[str, Any]) -> str:
    """A program that compares the answer's function with the reference, in value and type, on every input."""
    function = gold["function"]
    return (
        f"answered = {function}\n{gold['reference']}\n"
        f"for arguments in {INPUTS[gold['parameter']]!r}:\n"
        f"    given, wanted = answered(*arguments), {function}(*arguments)\n"
        f"    assert type(given) is type(wanted) and given == wanted, (arguments, given)\n"
    )


def _general(item: Item, answers: Sequence[str]) -> Verdict:
    turns = [given.strip() == wanted for given, wanted in zip(answers, item.gold["answers"], strict=True)]
    wrong = ", ".join(str(number) for number, right in enumerate(turns, 1) if not right)
    return Verdict(item.id, all(turns), f"wrong turns: {wrong}" if wrong else "right", {"turns": turns})


_JUDGES: dict[str, Callable[[Item, Sequence[str]], Verdict]] = {"math": _math, "general": _general}


def score(rows: Sequence[Row], items: Mapping[str, Item], context: ScoringContext) -> ScoringResult:
    """The share of items that are right in every turn."""
    name, total, isolation = context.benchmark.name, context.benchmark.total, context.isolation

    def verdict(row: Row, servers: Servers | None = None) -> Verdict:
        return judge(name, items[row["id"]], row["answers"], isolation, servers)

    verdicts = run_each(verdict, rows, isolation) if runs_programs(name) else list(map(verdict, rows))
    return from_verdicts(verdicts, total)


# 1: math: the number after the first ####; code: the function is run on hidden cases; general: every turn is checked
_VERSIONS = dict.fromkeys((*mini.SOURCES, *graded.SOURCES), 1)
DEFINITIONS = tuple(
    BenchmarkDefinition(
        name=name,
        version=_VERSIONS[name],
        ability=_ability(name),
        runs_code=runs_programs(name),
        problems=problems,
        resolve=resolve,
        items=planned_items,
        score=score,
    )
    for name in _VERSIONS
)
