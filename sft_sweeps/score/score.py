"""Scores are made from kept answers alone: a new scorer needs no model, and nothing here needs torch."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from sft_sweeps.benchmarks import catalog, gsm8k, humaneval, mini, mt_bench
from sft_sweeps.benchmarks.humaneval import Problem
from sft_sweeps.benchmarks.item import Item, Verdict
from sft_sweeps.benchmarks.mt_bench import Grade, Question
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.identity import digest
from sft_sweeps.plan.build import score_of
from sft_sweeps.sandbox import run as sandbox
from sft_sweeps.sandbox.run import Outcome, Task
from sft_sweeps.score import judge as judging
from sft_sweeps.spec import Benchmark, Generation
from sft_sweeps.stats import Interval, proportion, weighted_mean
from sft_sweeps.store.answers import ITEMS, VERDICTS, AnswerRow, read_rows, write_rows
from sft_sweeps.store.store import Store, write_record

JUDGMENTS = "judgments"  # in the store: replies that were paid for, for every stage
PROGRAM_SECONDS = 10.0  # wall time of a HumanEval program: a slow machine must not fail what a fast one passes
PROGRAM_MB = 1024
Stop = Callable[[], bool]


def score_all(
    generations: Sequence[Generation], store: Store, stop: Stop, isolation: Isolation = sandbox.DEFAULT
) -> None:
    """Score those that are not scored yet; a signal stops between two."""
    for generation in generations:
        if stop():
            raise Interrupted("scoring stopped; launch again to continue")
        if store.record(score_of(generation)) is None:
            score(generation, store, stop, isolation)


def score(
    generation: Generation, store: Store, stop: Stop = lambda: False, isolation: Isolation = sandbox.DEFAULT
) -> None:
    """Judge the kept answers; the record carries k, n, the interval and which items they were."""
    wanted, benchmark = score_of(generation), generation.benchmark
    folder = store.score(wanted)
    if store.record(generation) is None:
        raise RunError(f"{generation.subject.label} has not answered {benchmark.name}; launch again")
    rows = read_rows(store.read_folder(generation) / ITEMS)
    if benchmark.generates:
        complete(rows, benchmark)
    verdicts, extra = _scored(benchmark, rows, store, stop, isolation)
    write_rows(folder / VERDICTS, verdicts)
    reasons = Counter(str(verdict["reason"]) for verdict in verdicts if "reason" in verdict)
    extra |= {"reasons": dict(reasons), "items": digest([row["id"] for row in rows])}
    write_record(folder, wanted.payload, [VERDICTS], extra)


def complete(rows: Sequence[AnswerRow], benchmark: Benchmark) -> None:
    """RunError unless every item is answered as often as planned: a partial set is no smaller benchmark."""
    answered = {(row["id"], row.get("sample", 0)) for row in rows}
    expected = benchmark.examples * benchmark.samples
    if not len(rows) == len(answered) == expected:
        items = len({row["id"] for row in rows})
        raise RunError(f"{benchmark.name} has {benchmark.examples} items, {items} were answered; nothing is scored")


def _scored(
    benchmark: Benchmark, rows: Sequence[AnswerRow], store: Store, stop: Stop, isolation: Isolation
) -> tuple[list[AnswerRow], AnswerRow]:
    """The verdict on each row, and what the record says besides."""
    if benchmark.source is not None:
        found = weighted_mean([row["loss"] for row in rows], [row["tokens"] for row in rows])
        verdicts = [{"item": row["id"], "loss": row["loss"], "tokens": row["tokens"]} for row in rows]
        return verdicts, {"score": _score("loss", found, len(rows), None)}
    if benchmark.judge is not None:
        return _graded(benchmark, rows, store, stop)
    items = {item.id: item for item in catalog.items(benchmark)}
    if unknown := next((row["id"] for row in rows if row["id"] not in items), None):
        raise RunError(f"{unknown} is no item of {benchmark.name}; nothing is scored")
    if benchmark.name == "gsm8k":
        return _gsm8k(benchmark, rows, items)
    if benchmark.name == "humaneval":
        return _humaneval(benchmark, rows, isolation)
    judged = [mini.judge(benchmark.name, items[row["id"]], row["answers"], isolation) for row in rows]
    return list(map(asdict, judged)), {"score": accuracy([v.correct for v in judged], benchmark.total)}


def _gsm8k(
    benchmark: Benchmark, rows: Sequence[AnswerRow], items: Mapping[str, Item]
) -> tuple[list[AnswerRow], AnswerRow]:
    found = [gsm8k.verdicts(row["answers"][0], items[row["id"]].gold["answer"]) for row in rows]
    verdicts = [
        asdict(Verdict(row["id"], rules[gsm8k.HEADLINE], _why(row["answers"][0]), dict(rules)))
        for row, rules in zip(rows, found, strict=True)
    ]
    score = accuracy([rules[gsm8k.HEADLINE] for rules in found], benchmark.total)
    return verdicts, {"score": score, **gsm8k_scores(found, [row["answers"][0] for row in rows])}


def _why(answer: str) -> str:
    return "####" if gsm8k.formatted(answer) else "no ####"


def gsm8k_scores(verdicts: Sequence[Mapping[str, bool]], answers: Sequence[str]) -> AnswerRow:
    """Every rule's accuracy, and the share of answers in the format."""
    rules = {name: accuracy([found[name] for found in verdicts]) for name in gsm8k.RULES}
    return {"rules": rules, "format_rate": accuracy([gsm8k.formatted(answer) for answer in answers])}


def _humaneval(
    benchmark: Benchmark, rows: Sequence[AnswerRow], isolation: Isolation
) -> tuple[list[AnswerRow], AnswerRow]:
    problems = catalog.problems(benchmark)
    programs = [humaneval.extract(row["answers"][0], problems[row["id"]]) for row in rows]
    outcomes = run_programs([(problems[row["id"]], text) for row, text in zip(rows, programs, strict=True)], isolation)
    verdicts = [
        asdict(Verdict(row["id"], outcome.passed, outcome.reason, {"program": text}, row.get("sample", 0)))
        for row, text, outcome in zip(rows, programs, outcomes, strict=True)
    ]
    passes = [outcome.passed for outcome in outcomes]
    return verdicts, {
        **humaneval_scores([row["id"] for row in rows], passes, benchmark.total),
        "sandbox": sandbox.describe(isolation),
    }


def run_programs(
    programs: Sequence[tuple[Problem, str]], isolation: Isolation, progress: Callable[[int], None] = lambda _: None
) -> list[Outcome]:
    """Each program behind the sandbox with its problem's checks, as many at once as there are cores; in order."""
    sandbox.check(isolation)

    def run(pair: tuple[Problem, str]) -> Outcome:
        problem, program = pair
        task = Task(program, problem.check, problem.entry_point, problem.preamble)
        return sandbox.execute(task, timeout=PROGRAM_SECONDS, memory_mb=PROGRAM_MB, isolation=isolation)

    found = []
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        for done, outcome in enumerate(pool.map(run, programs), 1):
            found.append(outcome)
            progress(done)
    return found


def humaneval_scores(tasks: Sequence[str], passes: Sequence[bool], total: int = 0) -> AnswerRow:
    """pass@1 as the score, with Wilson's interval where each task has one sample; and every pass@k that n allows."""
    by_task: dict[str, list[bool]] = {}
    for task, passed in zip(tasks, passes, strict=True):
        by_task.setdefault(task, []).append(passed)
    least = min(map(len, by_task.values()))
    estimates = {
        f"pass@{k}": _mean([humaneval.pass_at_k(len(found), sum(found), k) for found in by_task.values()])
        for k in humaneval.ks(least)
    }
    if least == max(map(len, by_task.values())) == 1:
        return {"score": accuracy(list(passes), total), "pass_at": estimates}
    found = weighted_mean([sum(found) / len(found) for found in by_task.values()], [1.0] * len(by_task))
    return {"score": _score("pass@1", found, len(by_task), None, total), "pass_at": estimates}


def _graded(
    benchmark: Benchmark, rows: Sequence[AnswerRow], store: Store, stop: Stop
) -> tuple[list[AnswerRow], AnswerRow]:
    """MT-Bench: every answer graded by the judge."""
    judge = benchmark.judge
    assert judge is not None
    known = {q.id: q for q in mt_bench.questions(catalog.rows(benchmark))}
    texts = judging.given(judge)
    wanted = []
    for row in rows:
        question: Question = known[row["id"]]
        wanted += mt_bench.gradings(question, row["answers"], row.get("sample", 0), texts)
    bench = judging.JudgeClient(judge, store.root / JUDGMENTS, stop)
    grades = bench.grade(wanted)
    summary = mt_bench.summary(grades)
    if summary["score"] is None:
        raise RunError(
            f"{summary['missing']} of {summary['n']} judgments of {benchmark.name} are missing (more than 2 %), e.g. "
            f"{next(grade.why for grade in grades if grade.score is None)}; what was judged is kept: launch again"
        )
    score = _score("rating", Interval(**summary["score"]), summary["questions"], None, benchmark.total)
    return list(map(grade_row, grades)), {"score": score, "judged": summary, "spending": asdict(bench.spending)}


def grade_row(grade: Grade) -> AnswerRow:
    """A grade as a verdict is kept."""
    return {**asdict(grade), "item": grade.question, "reason": grade.why or "graded"}


def accuracy(correct: Sequence[bool], total: int = 0) -> AnswerRow:
    """k of n with Wilson's interval; `total` is how many items the benchmark has."""
    k, n = sum(correct), len(correct)
    return _score("accuracy", proportion(k, n), n, k, total)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _score(metric: str, found: Interval, n: int, k: int | None, total: int = 0) -> AnswerRow:
    score = {"metric": metric, "value": found.value, "low": found.low, "high": found.high, "n": n, "k": k}
    return score | {"total": total} if total else score
