"""MT-Bench: 80 questions of two turns, each answer graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).

How answers are graded is in `mt_bench_grading`; here is what the benchmark asks, and what its score is made of.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from sft_sweeps.benchmarks import judging, published
from sft_sweeps.benchmarks.base import BenchmarkDefinition, FileScoring, ScoringContext, mean_by_item
from sft_sweeps.benchmarks.from_file import read, require_complete
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.judging import Grade, Grading, JudgeConfig, JudgeTexts, Spending
from sft_sweeps.benchmarks.mt_bench_grading import QUESTIONS, TURNS, gradings, questions, summary, texts
from sft_sweeps.benchmarks.scored import Row, ScoringResult, mean_score
from sft_sweeps.benchmarks.settings import BenchmarkConfig, EvaluateConfig, EvaluatedPoint
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.files.content import content_pin
from sft_sweeps.ranges import at_least
from sft_sweeps.spec import Benchmark, Generation, Judge
from sft_sweeps.stats import Interval

ANSWERS = "model_answer.jsonl"  # what FastChat reads


@dataclass
class MtBenchConfig(BenchmarkConfig):
    """The 80 questions, the judge's prompts and the reference answers, as FastChat published them."""

    file: str = "mt_bench_questions.jsonl"
    content: str = "sha256:119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7"
    rows: int = QUESTIONS
    max_new_tokens: int = at_least(1, default=1024)
    prompts: str | None = None
    prompts_file: str = "mt_bench_judge_prompts.jsonl"
    prompts_content: str = "sha256:fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6"
    references: str | None = None
    references_file: str = "mt_bench_reference_answers_gpt4.jsonl"
    references_content: str = "sha256:f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f"
    judge: JudgeConfig = field(default_factory=JudgeConfig)


def problems(name: str, settings: MtBenchConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """What is wrong with the settings."""
    yield from published.problems(name, settings, evaluate)
    yield from judging.problems(f"evaluate.{name}.judge", settings.judge, name)


def resolve(name: str, settings: MtBenchConfig, point: EvaluatedPoint) -> Iterator[Benchmark]:
    """The questions with the exact judge, its texts by their content."""
    prompts = _pinned(settings.prompts, settings.prompts_file, settings.prompts_content, point.folder)
    references = _pinned(settings.references, settings.references_file, settings.references_content, point.folder)
    for benchmark in published.resolve(name, settings, point):
        yield replace(benchmark, judge=judging.resolve(settings.judge, prompts, references))


def _pinned(own: str | None, file: str, pin: str, folder: Path) -> tuple[str, str]:
    """(path, content) of a file of the user's own, or of the pinned one, which need not be there yet."""
    path = Path(own or folder / file)
    return str(path.absolute()), content_pin(path, pin)[0] if path.is_file() else pin


def all_items(benchmark: Benchmark) -> list[Item]:
    """The published questions, in their order."""
    return questions(published.rows(benchmark))


def all_gradings(rows: Sequence[Row], items: Mapping[str, Item], judge: Judge) -> list[Grading]:
    """What the judge is asked about these answers, with the planned prompts and references."""
    given = texts(*judging.texts_of(judge, "mt_bench"))
    return [
        grading for row in rows for grading in gradings(items[row["id"]], row["answers"], row.get("sample", 0), given)
    ]


def score(rows: Sequence[Row], items: Mapping[str, Item], context: ScoringContext) -> ScoringResult:
    """Every answer graded by the judge; RunError where more than 2 % of the judgments are missing."""
    benchmark, judge = context.benchmark, context.benchmark.judge
    if judge is None:
        raise RunError(f"{benchmark.name} was planned without a judge; launch again")
    wanted = all_gradings(rows, items, judge)
    grader = context.grader(judge)
    grades = grader.grade(wanted)
    means = summary(grades)
    if means["score"] is None:
        raise RunError(
            f"{means['missing']} of {means['n']} judgments of {benchmark.name} are missing (more than 2 %), e.g. "
            f"{next(grade.why for grade in grades if grade.score is None)}; what was judged is kept: launch again"
        )
    scored = mean_score("rating", Interval(**means["score"]), means["questions"], benchmark.total)
    details = {"judged": means, "spending": asdict(grader.spending)}
    return ScoringResult(scored, [grade.to_verdict() for grade in grades], details)


def export(generation: Generation, rows: Sequence[Row]) -> dict[str, Iterator[Row]]:
    """The answers in the layout that FastChat reads."""
    by_item: dict[str, list[Row]] = {}
    for row in rows:
        by_item.setdefault(row["id"], []).append(row)
    answers = (
        {
            "question_id": int(item) if item.isdigit() else item,
            "answer_id": f"{generation.id}-{item}",
            "model_id": generation.subject.label,
            "choices": [{"index": row["sample"], "turns": row["answers"]} for row in of_item],
            "tstamp": 0.0,
        }
        for item, of_item in by_item.items()
    )
    return {ANSWERS: answers}


def command_options(parser: argparse.ArgumentParser) -> None:
    """Of `sft-sweeps score mt_bench`."""
    parser.add_argument("--questions", type=Path, metavar="FILE", help="FastChat's question.jsonl")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="FastChat's judge_prompts.jsonl")
    parser.add_argument("--references", type=Path, metavar="FILE", help="FastChat's reference_answer/gpt-4.jsonl")
    parser.add_argument("--judgments", type=Path, metavar="FILE", help="recorded judgments, in place of a judge")
    parser.add_argument("--judge", default="", metavar="MODEL", help="the judge's name at the endpoint")
    parser.add_argument("--base-url", default="https://api.openai.com/v1", help="the endpoint (default: %(default)s)")
    parser.add_argument(
        "--key-variable", default="OPENAI_API_KEY", metavar="NAME", help="environment variable of the key"
    )
    parser.add_argument("--repeats", type=int, default=1, help="judgments of each answer (default: %(default)s)")
    parser.add_argument("--prices", default="0,0", metavar="IN,OUT", help="US dollars for a million tokens")
    parser.add_argument("--max-cost-usd", type=float, default=0.0, help="stop before it costs more (needs --prices)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of replies (default: beside OUT.json)")
    parser.add_argument("--dry-run", action="store_true", help="say what judging would ask and cost; ask nothing")


def from_file(task: FileScoring) -> Row | None:
    """FastChat's answers, graded by a judge or by recorded judgments; None where only the cost was asked for."""
    options, path = task.options, task.path
    for name in ("questions", "prompts", "references"):
        file = getattr(options, name)
        if file is None or not file.is_file():
            raise RequestError(
                f"mt_bench needs --{name} FILE, as FastChat published it{f': no {file}' if file else ''}"
            )
    if not options.judge and not options.judgments:
        raise RequestError("mt_bench needs --judge MODEL (and --base-url), or recorded --judgments FILE")
    judge = _judge_of(options)
    rows = read(path)
    wanted = file_gradings(rows, options.questions, texts(*judging.texts_of(judge, "mt_bench")), path)
    if options.judgments:
        grades = recorded(options.judgments, wanted, str(rows[0].get("model_id", "")))
        return _file_result(grades, task) | {"judge": "recorded"}
    grader = task.grader(judge, options.cache or Path(f"{options.out}.judgments"))
    print(_foreseen(grader.estimate(wanted)), flush=True)
    if options.dry_run:
        return None
    with task.progress_bar("judgments") as progress:
        grades = grader.grade(wanted, progress)
    spent = grader.spending
    tokens = f"{spent.prompt_tokens:,} + {spent.completion_tokens:,} tokens"
    print(f"asked {spent.calls} times, {tokens}, ${spent.cost_usd:.2f}")
    return _file_result(grades, task) | {"judge": judge.model}


def _foreseen(spending: Spending) -> str:
    return (
        f"{spending.calls} calls ({spending.cached} more are kept), about {spending.prompt_tokens:,} + "
        f"{spending.completion_tokens:,} tokens, ${spending.cost_usd:.2f}"
    )


def _judge_of(options: argparse.Namespace) -> Judge:
    try:
        price_in, price_out = map(float, options.prices.split(","))
    except ValueError as error:
        raise RequestError(f"--prices {options.prices} is not IN,OUT; write it like --prices 30,60") from error
    if options.max_cost_usd and not price_in + price_out:
        raise RequestError("--max-cost-usd needs --prices IN,OUT: US dollars for a million tokens")
    if options.repeats < 1:
        raise RequestError(f"--repeats {options.repeats} judges nothing; give at least 1")
    config = JudgeConfig(
        model=options.judge,
        base_url=options.base_url,
        key_variable=options.key_variable,
        repeats=options.repeats,
        max_cost_usd=options.max_cost_usd,
        prompt_usd_per_million=price_in,
        completion_usd_per_million=price_out,
    )
    prompts, references = ((str(path), content_pin(path)[0]) for path in (options.prompts, options.references))
    return judging.resolve(config, prompts, references)


def file_gradings(rows: Sequence[Row], questions_file: Path, given: JudgeTexts, path: Path) -> list[Grading]:
    """The gradings of FastChat's answers (`question_id`, `choices` with `turns`) of one model."""
    known = {question.id: question for question in questions(read(questions_file))}
    models = sorted({str(row.get("model_id", "")) for row in rows})
    if len(models) > 1:
        raise RequestError(
            f"{path} holds answers of {len(models)} models ({', '.join(models[:3])} ...); score one a file"
        )
    wanted = []
    for number, row in enumerate(rows, 1):
        question = known.get(str(row.get("question_id")))
        if question is None:
            raise RequestError(
                f"row {number} of {path}: question_id {row.get('question_id')} is none of {questions_file}'s"
            )
        for sample, choice in enumerate(row.get("choices") or [None]):
            turns = choice.get("turns") if isinstance(choice, dict) else None
            if not isinstance(turns, list) or len(turns) != TURNS:
                raise RequestError(f"row {number} of {path}: a choice needs {TURNS} turns")
            wanted += gradings(question, [str(turn) for turn in turns], sample, given)
    return wanted


def recorded(path: Path, wanted: Sequence[Grading], model: str) -> list[Grade]:
    """Grades from FastChat's judgment file; `[[rating]]` is read again from the reply where it is kept.

    Rows of other models are passed over; answers without a row are missing.
    """
    by_turn: dict[tuple[str, int], list[Row]] = {}
    judges = set()
    for row in read(path):
        if model and str(row.get("model", model)) != model:
            continue
        by_turn.setdefault((str(row.get("question_id")), int(row.get("turn", 0))), []).append(row)
        judges.add(str((row.get("judge") or ["unknown"])[0]))
    if len(judges) > 1:
        raise RequestError(
            f"{path} holds judgments of several judges ({', '.join(sorted(judges))}); their grades differ"
        )
    grades = []
    for one in wanted:
        rows = by_turn.get((one.question, one.turn), [])
        nothing: Row = {}
        for repeat, row in enumerate(rows or [nothing]):
            score = judging.rating(str(row["judgment"])) if "judgment" in row else _number(row.get("score"))
            why = "" if score is not None else ("no rating in 1 ... 10" if rows else "no judgment")
            grades.append(Grade(one.question, one.category, one.turn, one.sample, repeat, score, why))
    return grades


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 1 <= value <= 10 else None


def _file_result(grades: Sequence[Grade], task: FileScoring) -> Row:
    """The grades and their means; `score` is null where more than 2 % are missing."""
    require_complete(len({grade.question for grade in grades}), QUESTIONS, "questions", task.path, task.partial)
    means = summary(grades)
    return {
        "benchmark": "mt_bench",
        "items": [grade.to_verdict() for grade in grades],
        "scores": means,
        "total": QUESTIONS,
        "partial": means["questions"] != QUESTIONS,
    }


DEFINITIONS = (
    BenchmarkDefinition(
        name="mt_bench",
        version=1,  # 1: single-answer grading, [[rating]] in 1 ... 10, mean over turns and repeats
        ability="general",
        settings=MtBenchConfig,
        judged_turns=TURNS,
        problems=problems,
        resolve=resolve,
        items=all_items,
        gradings=all_gradings,
        score=score,
        item_values=partial(mean_by_item, key="score"),
        export=export,
        from_file=from_file,
        command_options=command_options,
    ),
)
