"""MT-Bench: 80 questions of two turns, each answer graded from 1 to 10 (Zheng et al. 2023, arXiv 2306.05685).

How answers are graded is in `mt_bench_grading`; here is what the benchmark asks, and what its score is made of.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from sft_sweeps.benchmarks import judging, published
from sft_sweeps.benchmarks.base import BenchmarkDefinition, OnHub, ScoringContext, mean_by_item
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.judging import Grading, JudgeConfig
from sft_sweeps.benchmarks.mt_bench_file import command_options, from_file
from sft_sweeps.benchmarks.mt_bench_grading import QUESTIONS, TURNS, gradings, questions, summary, texts
from sft_sweeps.benchmarks.published import PinnedFile
from sft_sweeps.benchmarks.scored import Row, ScoringResult, mean_score
from sft_sweeps.benchmarks.settings import BenchmarkConfig, EvaluateConfig, EvaluatedPoint
from sft_sweeps.errors import RunError
from sft_sweeps.files.content import content_pin
from sft_sweeps.ranges import at_least
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge
from sft_sweeps.stats import Interval

ANSWERS = "model_answer.jsonl"  # what FastChat reads

FASTCHAT = (
    "https://raw.githubusercontent.com/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data"
)


@dataclass
class MtBenchConfig(BenchmarkConfig):
    """The 80 questions, the judge's prompts and the reference answers, as FastChat published them."""

    file: str = "mt_bench_questions.jsonl"
    content: str = "sha256:119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7"
    url: str = f"{FASTCHAT}/mt_bench/question.jsonl"
    rows: int = QUESTIONS
    max_new_tokens: int = at_least(1, default=1024)
    prompts: str | None = None
    prompts_file: str = "mt_bench_judge_prompts.jsonl"
    prompts_url: str = f"{FASTCHAT}/judge_prompts.jsonl"
    prompts_content: str = "sha256:fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6"
    references: str | None = None
    references_file: str = "mt_bench_reference_answers_gpt4.jsonl"
    references_url: str = f"{FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl"
    references_content: str = "sha256:f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f"
    judge: JudgeConfig = field(default_factory=JudgeConfig)


def problems(name: str, settings: MtBenchConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """What is wrong with the settings."""
    yield from published.problems(name, settings, evaluate)
    yield from judging.problems(f"evaluate.{name}.judge", settings.judge, name)


def files(name: str, settings: MtBenchConfig, folder: Path) -> Iterator[PinnedFile]:
    """The questions, the judge's prompts and the reference answers."""
    yield from published.files(name, settings, folder)
    for what, own, file, content, url in (
        ("prompts", settings.prompts, settings.prompts_file, settings.prompts_content, settings.prompts_url),
        (
            "references",
            settings.references,
            settings.references_file,
            settings.references_content,
            settings.references_url,
        ),
    ):
        if not own:
            yield PinnedFile(f"the judge's {what} of {name}", (folder / file).absolute(), content, url)


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
    scored = scored.read_as(means["n"], means["n"] - means["missing"], means["missing"])
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


DEFINITIONS = (
    BenchmarkDefinition(
        name="mt_bench",
        # 1: single-answer grading, [[rating]] in 1 ... 10, mean over turns and repeats
        # 2: a reply with several different ratings has none
        version=2,
        ability="general",
        settings=MtBenchConfig,
        judged_turns=TURNS,
        problems=problems,
        files=files,
        resolve=resolve,
        items=all_items,
        gradings=all_gradings,
        score=score,
        item_values=partial(mean_by_item, key="score"),
        export=export,
        from_file=from_file,
        command_options=command_options,
        on_hub=OnHub("HuggingFaceH4/mt_bench_prompts", "default", "train", "default"),
    ),
)
