"""EvalPlus's executor: a program's function is called with HumanEval+'s inputs in a fork, and compared with what the
canonical solution returned. Inputs are read from HumanEval+ in the original layout, whose checks ours runs."""

import ast
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from bench.peers import environments, programs
from bench.peers.peer import Found, Peer, Row, Settings
from bench.peers.programs import ours

__all__ = ["PEER", "ours", "theirs"]


@dataclass(frozen=True)
class Expected:
    """A task as EvalPlus keeps it."""

    name: str
    prompt: str
    inputs: list[Any]
    outputs: list[Any]
    tolerance: float
    seconds: list[float]


def expected(task: programs.Task) -> Expected:
    """Its inputs and tolerance from the text of its check; the outputs, and their time, by `trusted_exec`."""
    from evalplus.gen.util import trusted_exec

    check = next(node for node in ast.parse(task["test"]).body if getattr(node, "name", "") == "check")
    assert isinstance(check, ast.FunctionDef)
    inputs = next(ast.literal_eval(node.value) for node in check.body if isinstance(node, ast.Assign))
    last = next(node for node in ast.walk(check.body[-1]) if isinstance(node, ast.Constant | ast.Compare))
    tolerance = ast.literal_eval(last.comparators[0] if isinstance(last, ast.Compare) else last)
    name, prompt = task["entry_point"], task["prompt"]
    outputs, seconds = trusted_exec(prompt + task["canonical_solution"], inputs, name, record_time=True)
    return Expected(name, prompt, inputs, outputs, tolerance, seconds)


def check_one(of: Expected, text: str) -> str:
    from evalplus.eval import untrusted_check

    code = of.prompt + text
    limits = {"atol": of.tolerance, "ref_time": of.seconds, "fast_check": True}
    return str(untrusted_check("humaneval", code, of.inputs, of.name, of.outputs, **limits)[0])


def theirs(plus: bool, samples: int = 0, first: int | None = None, known: bool = False) -> Found:
    """As its `evaluate` calls it; what is expected is known before the time is taken, as it keeps it in a file."""
    tasks, answers = programs.chosen(plus, samples, first, known)
    outputs = {name: expected(task) for name, task in tasks.items()}
    started = time.perf_counter()
    with ProcessPoolExecutor(programs.WORKERS) as pool:
        results = list(pool.map(check_one, [outputs[task] for _, task, _ in answers], [text for _, _, text in answers]))
    seconds = time.perf_counter() - started
    why = {name: result for (name, _, _), result in zip(answers, results, strict=True)}
    return {"seconds": seconds, "passed": {name: result == "pass" for name, result in why.items()}, "why": why}


def compare(settings: Settings) -> list[Row]:
    """Wall time and verdicts; the time also without the tasks whose check, in the original layout, runs the reference
    solution on every input."""
    seconds, verdicts = programs.compare("evalplus", True, settings)
    what = "run the programs whose tests hold the outputs"
    return [seconds, programs.timed("evalplus", what, settings, plus=True, known=True), verdicts]


PEER = Peer(
    name="evalplus",
    title="EvalPlus",
    package="evalplus",
    runs="`untrusted_check` on HumanEval+'s inputs until one fails, two at a time; ours runs the same tests as "
    "`sft-sweeps score humaneval --tasks` does",
    compare=compare,
    lacks=lambda: programs.lacks() or environments.lacks("evalplus"),
)
