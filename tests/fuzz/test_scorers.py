"""Whatever a model answers or a judge replies, it is scored: as other programs' rules score it, in bounded time."""

import ast
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import references
from fast_chat import command, fast_chat
from fuzzing import hunt, told, wrong
from mutations import BYTES, odd_value, reworded, spoilt

from sft_sweeps.benchmarks import gsm8k, humaneval, judging, marked_number, plain_functions, syntax
from sft_sweeps.benchmarks.judging import Grading
from sft_sweeps.benchmarks.programs import Problem, extract, gives_function
from sft_sweeps.commands.main import main
from sft_sweeps.errors import RunError
from sft_sweeps.sandbox.run import Outcome
from sft_sweeps.score.endpoint import EndpointError, Reply
from sft_sweeps.score.judge import JudgeClient
from sft_sweeps.spec.evaluation import Judge

pytestmark = pytest.mark.fuzz

NUMBERS = (
    *("#### 18", "#### -1,000.50", "####18", "#### 1.2.3", "#### ,", "18", "-3", "$1,000.00", "1/2", ".5", "½", "%"),
    *("\\boxed{18}", "\\boxed{\\frac{1}{2}}", "\\boxed{", "}", "The answer is", "answer:", "=", "16 - 7 = 9", "1e5"),
    *("<think>", "</think>", "</s>", "USER:", "Question:", "\n", "\n\n", " ", ".", ",", "because", "−", "数学", "\0"),
    *("9" * 400, "1e999999", "(", ")", "*", "**18**", "_18_", "1_000", "Rs.18", "0x10", "\u2028", "١٨", "²", "2 1/2"),
)
REFERENCES_READ = 20_000  # characters: one of lm-eval's own patterns takes a time that grows with their square
GOLDS = ("18", "-3", "1000", "0.5", "9", "1,000", "100000")


def _answer(chance: Random) -> str:
    parts = [chance.choice(NUMBERS) for _ in range(chance.randint(0, 12))]
    times = chance.choice((*(1,) * 30, 2000))
    return chance.choice(("", " ", "\n")).join(parts) * times


def test_math_answers() -> None:
    """By the rules of gsm8k-ScRel and lm-eval exactly as these score them; by our own one number, or none."""

    def case(chance: Random) -> Iterator[str]:
        text, gold = _answer(chance), chance.choice(GOLDS)
        found = gsm8k.verdicts(text, gold)
        for rule in ("screl", "lm_eval_strict", "lm_eval_flexible") if len(text) < REFERENCES_READ else ():
            ours = found["screl_strict" if rule == "screl" else rule]
            if ours is not getattr(references, rule)(text, gold):
                yield f"{rule}: {ours} for {gold} and {text[:300]!r}"
        number = marked_number.extract(text)
        if number is not None and not number.is_finite():
            yield f"{number} of {text[:300]!r}"
        if found["hierarchical"] and number is None:
            yield f"right without a number: {text[:300]!r}"

    hunt(case)


PROMPT = '''from typing import List


def helper(x):
    return x


def f(numbers: List[int]) -> int:
    """Add them."""
'''
PROBLEM = Problem("T/0", PROMPT, "f", "def check(f):\n    assert f([1, 2]) == 3\n")
CODE = (
    *(
        "    return sum(numbers)\n",
        "def f(numbers):\n    return sum(numbers)\n",
        "```python\n",
        "```\n",
        "~~~",
        "Sure!",
    ),
    *(
        "import math\n",
        "from typing import *\n",
        ">>> def f(x):\n... ",
        "class S:\n    def f(self, x):\n        return 1\n",
    ),
    *(
        "    if numbers:\n",
        "\treturn 1\n",
        "        x = 1\n",
        "return 1\n",
        '"""',
        "'''",
        "(",
        "[",
        "{",
        "\\\n",
        "# a\n",
    ),
    *("<think>", "</think>", "<|im_end|>", "[PYTHON]", "\r\n", "\u00a0", "\ufeff", "> ", "lambda: ", "\0", "\x0c"),
    *("    yield 1\n", "print(f(1))\n", "assert f([1]) == 1\n", "if __name__ == '__main__':\n", "\n", "@decorator\n"),
    *("x = " + "(" * 300, "x = " + "-" * 500 + "1\n", "x = " + "+".join("1" * 900) + "\n", "\ud800", "9" * 5000),
    *("async def f(x): pass\n", "é = 1\n"),
)


def test_code_answers() -> None:
    """What is extracted compiles; and where one right block is all the code there is, it is that."""

    def case(chance: Random) -> Iterator[str]:
        text = "".join(chance.choice(CODE) for _ in range(chance.randint(0, 14)))
        if chance.random() < 0.3:
            text = reworded(text, chance, CODE)
        program = extract(text, PROBLEM)
        if not syntax.compiles(program):
            yield f"what is extracted does not compile: {text!r:.500}"
        gives_function(program, PROBLEM)
        prose = " ".join(chance.choice(("Here", "is", "it.", "Because", "1.", "of", "\n")) for _ in range(9))
        right = f"{prose}\n```python\ndef f(numbers):\n    return sum(numbers)\n```\n{prose}"
        if "return sum(numbers)" not in extract(right, PROBLEM):
            yield f"not taken from {right!r}"

    hunt(case)


def _expression(chance: Random, depth: int = 3) -> str:
    """One of those that are worked out without a sandbox, or nearly so."""
    kind = chance.randrange(9) if depth else chance.randrange(2)
    inner = lambda: _expression(chance, depth - 1)  # noqa: E731
    if kind < 2:
        return chance.choice(("x", "x", str(chance.randint(0, 120)), "'a'", "True", "y"))
    if kind < 5:
        return f"({inner()} {chance.choice(('+', '-', '*', '//', '%'))} {inner()})"
    part = lambda: chance.choice(("", inner()))  # noqa: E731
    return (
        f"{inner()}[{part()}:{part()}:{part()}]",
        f"{chance.choice(('len', 'sorted', 'max'))}({inner()})",
        f"[w.upper() for w in {inner()}]",
        f"-{inner()}",
    )[kind - 5]


def test_plain_functions() -> None:
    """What is said of a function without running it is what running it shows."""
    values = (0, 1, -3, 7, [], [3, 1, 2], ["b", "a"], "text")

    def case(chance: Random) -> Iterator[str]:
        given, reference = (f"def solve(x):\n    return {_expression(chance)}\n" for _ in range(2))
        inputs = [(value,) for value in chance.sample(values, 3) if _gives(reference, value)]
        said = plain_functions.differs(given, reference, inputs)
        if said is not None and bool(said) is not _differ(given, reference, inputs):
            yield f"{said!r} is said of {given!r} and {reference!r} at {inputs}"

    hunt(case)


def _gives(definition: str, value: Any) -> bool:
    """References give a value at each input."""
    with contextlib.suppress(Exception):
        _value(definition, value)
        return True
    return False


def _differ(given: str, reference: str, inputs: list[tuple[Any, ...]]) -> bool:
    """Whether the two differ at an input, by Python itself: these are expressions of `_expression` alone."""
    for (value,) in inputs:
        right = _value(reference, value)
        try:
            found = _value(given, value)
        except Exception:
            return True
        if type(found) is not type(right) or found != right:
            return True
    return False


def _value(definition: str, value: Any) -> Any:
    node = ast.parse(definition.partition("return ")[2].strip(), mode="eval")
    names = {"len": len, "sorted": sorted, "max": max, "x": list(value) if isinstance(value, list) else value}
    return eval(compile(node, "<own>", "eval"), {"__builtins__": {}}, names)


JUDGE = Judge("m", "", "p", "r", 0.0, 64, 1, base_url="http://127.0.0.1:9/v1", retries=0, workers=1)
SAID = ("[[5]]", "Rating: [[10]]", "[[11]]", "[[5]] or [[6]]", "[[ 7.5 ]]", "[[0]]", "5", f"[[{'9' * 400}]]", "", None)
REPLY = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "[[5]]"}}], "usage": None}


class _Endpoint:
    """Replies of any kind in place of a server's; what is done with them is the product's."""

    def __init__(self, chance: Random, real: Any) -> None:
        self.chance, self.real = chance, real

    def ask(self, _: Any) -> Reply:
        chance = self.chance
        if chance.random() < 0.05:
            raise EndpointError("it hung up")
        reply = json.loads(json.dumps(REPLY))
        reply["choices"][0]["message"]["content"] = chance.choice(SAID)
        counts = (3, -1, 1e300, None, "x", True)
        reply["usage"] = {"prompt_tokens": chance.choice(counts), "completion_tokens": chance.choice(counts)}
        content = json.dumps(reply).encode()
        if chance.random() < 0.6:
            content = spoilt(content, chance)
        status = chance.choice((*(200,) * 8, 400, 404, 429, 500, 503))
        return Reply(status, content.decode("utf-8", "replace"), chance.choice(("", "0", "x", "-1", "٣", "²")))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def test_replies_of_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grade in 1 ... 10 or none with the reason; never less than nothing is paid; what is kept is read alike."""
    real = JudgeClient(JUDGE, tmp_path).endpoint
    monkeypatch.setattr("sft_sweeps.score.judge.LONGEST_PAUSE", 0.0)

    def case(chance: Random) -> Iterator[str]:
        cache = tmp_path / str(chance.getrandbits(64))
        asked = [Grading(str(n), "math", 1, 0, (("user", f"q{n}"),)) for n in range(2)]
        for again in range(2):
            client = JudgeClient(JUDGE, cache)
            client.__dict__["endpoint"] = _Endpoint(chance, real)
            with contextlib.suppress(RunError):
                grades = client.grade(asked)
                yield from _odd_grades(grades, client.spending)
            for path in cache.rglob("*.json") if not again and chance.random() < 0.7 else ():
                path.write_bytes(spoilt(path.read_bytes(), chance))

    hunt(case)


def _odd_grades(grades: list[judging.Grade], spent: judging.Spending) -> Iterator[str]:
    for grade in grades:
        if (grade.score is None) is not bool(grade.why):
            yield f"{grade}"
        said = judging.rating(grade.text)  # none where it was asked again, for the rating alone
        if grade.score is not None and not (1 <= grade.score <= 10 and said in (grade.score, None)):
            yield f"{grade}"
    if not (0 <= spent.prompt_tokens < 1e9 and 0 <= spent.completion_tokens < 1e9):
        yield f"{spent}"


FILES: dict[str, list[Any]] = {
    "gsm8k": [{"id": n, "completion": "#### 3", "gold": "3"} for n in range(3)],
    "humaneval": [{"task_id": f"HumanEval/{n}", "completion": "    return 1\n"} for n in range(3)],
}


def test_files_of_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sft-sweeps score` on files that were spoilt; programs are not run here."""
    monkeypatch.setattr(humaneval, "run_programs", lambda pairs, *_: [Outcome(False, "not run")] * len(pairs))
    bench = fast_chat(tmp_path)

    def case(chance: Random) -> Iterator[str]:
        name = chance.choice(("gsm8k", "humaneval", "mt_bench"))
        if name == "mt_bench":
            yield from _spoilt_fast_chat(bench, tmp_path, chance)
            return
        rows = [odd_value(json.loads(json.dumps(one)), chance) if chance.random() < 0.3 else one for one in FILES[name]]
        path = tmp_path / "in"
        path.write_bytes(spoilt("\n".join(map(json.dumps, rows)).encode(), chance, BYTES))
        more = ["--extract"] if name == "humaneval" and chance.random() < 0.5 else []
        line = ["score", name, str(path), "--out", str(tmp_path / "o.json"), "--partial", *more]
        yield from wrong(told(lambda: main(line)), f"{name} {path.read_bytes()[:400]!r}")

    hunt(case, 0.1)


def _spoilt_fast_chat(bench: dict[str, Path], folder: Path, chance: Random) -> Iterator[str]:
    judgments = folder / "judgments.jsonl"
    judged = {"question_id": 81, "model": "m", "turn": 1, "score": 5, "judgment": "[[5]]", "judge": ["j", "p"]}
    judgments.write_text(json.dumps(judged))
    path = chance.choice([*bench.values(), judgments])
    before = path.read_bytes()
    path.write_bytes(spoilt(before, chance, BYTES))
    try:
        line = command(bench, folder / "o.json", "--judgments", str(judgments), "--partial")
        yield from wrong(told(lambda: main(line)), f"{path.name} {path.read_bytes()[:200]!r}")
    finally:
        path.write_bytes(before)
