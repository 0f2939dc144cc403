"""What the peers that run HumanEval's programs have in common: tasks and answers, and ours behind the sandbox."""

import gzip
import json
import os
import time
from typing import Any

from bench.peers.peer import DATA, Found, Row, Settings, call, in_turn, row, verdicts
from sft_sweeps.benchmarks import humaneval
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import layers

Task = dict[str, Any]  # a line of HumanEval's file
Answers = list[tuple[str, str, str]]  # of each: its name, its task, the text that continues the prompt
PLUS = DATA / "benchmarks" / "humanevalplus_originfmt.jsonl.gz"
RECORDED = {
    name: DATA / "oracles" / f"humaneval_{name}.jsonl.gz" for name in ("wizardcoder15b", "codegen16b_100samples")
}
COMPUTES = "ref_func("  # in a check of HumanEval+ that calls the reference solution on each input
WORKERS = len(os.sched_getaffinity(0))  # programs at a time, as our sandbox has them
UNIT = f"s, {WORKERS} at a time"


def tasks(plus: bool, first: int | None = None, known: bool = False) -> dict[str, Task]:
    """HumanEval's tasks, or HumanEval+'s, by id; `known`: those whose check does not compute again what it expects."""
    lines = gzip.decompress(PLUS.read_bytes()) if plus else humaneval.packaged()
    rows = [json.loads(line) for line in lines.decode().splitlines()]
    return {row["task_id"]: row for row in rows[:first] if not known or COMPUTES not in row["test"]}


def canonical(of: dict[str, Task]) -> Answers:
    """The solutions that the tasks come with."""
    return [(name, name, task["canonical_solution"]) for name, task in of.items()]


def recorded(samples: int) -> Answers:
    """Greedy answers of WizardCoder-15B, and so many of CodeGen-16B's samples, to each task."""
    wizard, codegen = (_lines(path) for path in RECORDED.values())
    answers = [(f"WizardCoder {one['task_id']}", one["task_id"], one["completion"]) for one in wizard]
    for task, one in zip(sorted(tasks(plus=False)), codegen, strict=True):
        answers += [(f"CodeGen {task} #{n}", task, text) for n, text in enumerate(one["samples"][:samples])]
    return answers


def _lines(path: Any) -> list[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def chosen(plus: bool, samples: int, first: int | None = None, known: bool = False) -> tuple[dict[str, Task], Answers]:
    """The tasks, and the answers to them: the canonical ones without `samples`."""
    of = tasks(plus, first, known)
    return of, [one for one in (recorded(samples) if samples else canonical(of)) if one[1] in of]


def ours(plus: bool, samples: int = 0, first: int | None = None, known: bool = False) -> Found:
    """Every answer behind all layers that work here, as scoring runs it."""
    of, answers = chosen(plus, samples, first, known)
    problems = {problem.id: problem for problem in humaneval.read_problems(list(of.values()))}
    given = [(problems[task], problems[task].prompt + text) for _, task, text in answers]
    started = time.perf_counter()
    outcomes = humaneval.run_programs(given, Isolation())
    seconds = time.perf_counter() - started
    passed = {name: outcome.passed for (name, _, _), outcome in zip(answers, outcomes, strict=True)}
    why = {name: outcome.reason for (name, _, _), outcome in zip(answers, outcomes, strict=True)}
    return {"seconds": seconds, "passed": passed, "why": why, "layers": layers.describe(Isolation())}


def compare(peer: str, plus: bool, settings: Settings) -> list[Row]:
    """Wall time of the canonical programs in turn, and the verdicts on recorded answers, once."""
    tests = "HumanEval+'s" if plus else "HumanEval's"
    seconds = timed(peer, f"run {tests} canonical programs", settings, plus=plus)
    said, heard = (call(peer, side, plus=plus, samples=settings.samples) for side in ("ours", "theirs"))

    def why(name: str) -> Found:
        return {"our_reason": said["why"][name], "their_reason": heard["why"][name]}

    answers = f"{len(said['passed'])} recorded answers by {tests} tests"
    return [seconds, verdicts(answers, said["passed"], heard["passed"], why)]


def timed(peer: str, what: str, settings: Settings, **request: bool) -> Row:
    """Wall time of the canonical programs of the tasks that `request` chooses, both sides in turn."""
    mine, others = in_turn(peer, settings.rounds, **request)
    right, total = ([sum(one[0]["passed"].values()) for one in (mine, others)], len(mine[0]["passed"]))
    note = f"pass: {right[0]} / {right[1]} of {total}; ours behind {len(mine[0]['layers'])} layers"
    figures = [one["seconds"] for one in mine], [one["seconds"] for one in others]
    return row(what, UNIT, "less", figures, note=note)


def lacks() -> str:
    missing = [path.name for path in (PLUS, *RECORDED.values()) if not path.is_file()]
    return f"no {', '.join(missing)} in {DATA}" if missing else ""
