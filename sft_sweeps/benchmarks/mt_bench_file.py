"""`sft-sweeps score mt_bench`: FastChat's answer files, graded by a judge that is asked, or by recorded judgments."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from sft_sweeps.benchmarks import judging
from sft_sweeps.benchmarks.base import FileScoring
from sft_sweeps.benchmarks.from_file import read, require_complete
from sft_sweeps.benchmarks.judging import Grade, Grading, JudgeConfig, JudgeTexts, Spending
from sft_sweeps.benchmarks.mt_bench_grading import QUESTIONS, TURNS, gradings, is_turns, questions, summary, texts
from sft_sweeps.benchmarks.scored import Row
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_pin
from sft_sweeps.spec.evaluation import Judge


def command_options(parser: argparse.ArgumentParser) -> None:
    """Of `sft-sweeps score mt_bench`."""
    parser.add_argument("--questions", type=Path, metavar="FILE", help="FastChat's question.jsonl")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="FastChat's judge_prompts.jsonl")
    parser.add_argument("--references", type=Path, metavar="FILE", help="FastChat's reference_answer/gpt-4.jsonl")
    parser.add_argument("--judgments", type=Path, metavar="FILE", help="recorded judgments, in place of a judge")
    parser.add_argument(
        "--ratings",
        choices=list(judging.RATINGS),
        default="only",
        help="of a recorded reply: the only one in it, or FastChat's first (default: %(default)s)",
    )
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
    options = task.options
    _check_options(options)
    judge = _judge_of(options)
    rows = read(task.path)
    wanted = file_gradings(rows, options.questions, texts(*judging.texts_of(judge, "mt_bench")), task.path)
    if options.judgments:
        grades = recorded(options.judgments, wanted, str(rows[0].get("model_id", "")), options.ratings)
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


def _check_options(options: argparse.Namespace) -> None:
    for name in ("questions", "prompts", "references"):
        file = getattr(options, name)
        if file is None or not file.is_file():
            raise RequestError(
                f"mt_bench needs --{name} FILE, as FastChat published it{f': no {file}' if file else ''}"
            )
    if not options.judge and not options.judgments:
        raise RequestError("mt_bench needs --judge MODEL (and --base-url), or recorded --judgments FILE")


def _foreseen(spending: Spending) -> str:
    return (
        f"{spending.calls} calls ({spending.cached} more are kept), about {spending.prompt_tokens:,} + "
        f"{spending.completion_tokens:,} tokens, ${spending.cost_usd:.2f}"
    )


def _judge_of(options: argparse.Namespace) -> Judge:
    price_in, price_out = judging.prices(options.prices)
    if not options.max_cost_usd >= 0:
        raise RequestError(f"--max-cost-usd {options.max_cost_usd} is no price; give 0 or more")
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
        choices = row.get("choices")
        for sample, choice in enumerate(choices if isinstance(choices, list) and choices else [None]):
            turns = choice.get("turns") if isinstance(choice, dict) else None
            if not is_turns(turns):
                raise RequestError(f"row {number} of {path}: a choice needs {TURNS} turns, each a text")
            wanted += gradings(question, turns, sample, given)
    return wanted


def recorded(path: Path, wanted: Sequence[Grading], model: str, ratings: str = "only") -> list[Grade]:
    """Grades from FastChat's judgment file; `[[rating]]` is read again from the reply where it is kept.

    Rows of other models are passed over; answers without a row are missing.
    """
    by_turn: dict[tuple[str, int], list[Row]] = {}
    judges = set()
    for number, row in enumerate(read(path), 1):
        if model and str(row.get("model", model)) != model:
            continue
        turn = row.get("turn", 0)
        if isinstance(turn, bool) or not isinstance(turn, int):
            raise RequestError(f"row {number} of {path}: its turn is not 1 or 2; use FastChat's judgments")
        by_turn.setdefault((str(row.get("question_id")), turn), []).append(row)
        judges.add(_judge_in(row))
    if len(judges) > 1:
        raise RequestError(
            f"{path} holds judgments of several judges ({', '.join(sorted(judges))}); their grades differ"
        )
    return [grade for one in wanted for grade in _recorded(one, by_turn.get((one.question, one.turn), []), ratings)]


def _judge_in(row: Row) -> str:
    """FastChat writes [model, prompt]."""
    judge = row.get("judge") or "unknown"
    return str(judge[0] if isinstance(judge, list) else judge)


def _recorded(one: Grading, rows: Sequence[Row], ratings: str) -> Iterator[Grade]:
    nothing: Row = {}
    for repeat, row in enumerate(rows or [nothing]):
        reply = row.get("judgment")
        score = judging.RATINGS[ratings](reply) if isinstance(reply, str) else _number(row.get("score"))
        why = "" if score is not None else ("no rating in 1 ... 10" if rows else "no judgment")
        yield Grade(one.question, one.category, one.turn, one.sample, repeat, score, why)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 10 else None


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
