"""What judging a sweep will ask and cost, told before anything is sent, and the ceiling on it.

Answers that are there count with their own prompts, less the replies that are kept. Others are taken as ASSUMED_ANSWER
tokens long, as recorded answers of chat models are (two of LLaMA-2's size 7B: 1,117 and 1,338 characters).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sft_sweeps.benchmarks.judging import CHARACTERS_PER_TOKEN, Spending, cannot_ask
from sft_sweeps.benchmarks.registry import definition_of, items_of
from sft_sweeps.errors import RequestError
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan.build import score_of
from sft_sweeps.score.score import JUDGMENTS
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge
from sft_sweeps.store.answers import ITEMS, AnswerRow, read_rows
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey

ASSUMED_ANSWER = 300  # tokens
AGAIN = 0.02  # of the replies, asked once more for the rating alone


@dataclass(frozen=True)
class Bill:
    """What each generation that is not judged yet will cost, by its id; `unknown` says why tokens cannot be told."""

    judge: Judge | None = None
    parts: Mapping[str, Spending] = field(default_factory=dict)
    guessed: int = 0  # generations that are not answered yet
    unknown: str = ""
    benchmark: str = ""  # that is judged

    @property
    def key(self) -> str:
        """Of the judge's settings."""
        return f"evaluate.{self.benchmark}.judge"

    @cached_property
    def total(self) -> Spending:
        """Of the whole sweep."""
        total = Spending()
        for part in self.parts.values():
            total.calls += part.calls
            total.cached += part.cached
            total.prompt_tokens += part.prompt_tokens
            total.completion_tokens += part.completion_tokens
            total.cost_usd += part.cost_usd
        return total

    @property
    def left_open(self) -> str:
        """Why a launch does not judge what is to be judged; empty where it does, or nothing is."""
        return cannot_ask(self.judge) if self.judge and self.parts else ""

    @property
    def priced(self) -> bool:
        return self.judge is not None and self.judge.prompt_usd + self.judge.completion_usd > 0

    def line(self) -> str:
        """For people; empty where nothing is to be judged."""
        if self.judge is None or not self.parts:
            return ""
        why = f"; left open ({self.left_open}): sft-sweeps judge asks afterwards" if self.left_open else ""
        return self.text() + why

    def text(self, set_prices: str = "") -> str:
        """What will be asked, and what that costs; `set_prices` is what to type where prices are not known."""
        assert self.judge is not None
        all_, judge = self.total, self.judge
        kept = f" ({all_.cached:,} more are kept or equal)" if all_.cached else ""
        text = f"judging by {judge.model}: {all_.calls:,} calls{kept} for {len(self.parts)} model"
        text += "" if len(self.parts) == 1 else "s"
        if self.unknown:
            return f"{text}; tokens cannot be told: {self.unknown}"
        text += f", about {all_.prompt_tokens:,} + {all_.completion_tokens:,} tokens"
        text += (
            f", ${all_.cost_usd:,.2f}"
            if self.priced
            else f"; for dollars {set_prices or f'set {self.key}.prompt_usd_per_million=30'}"
        )
        text += f" of at most ${judge.max_cost_usd:,.2f}" if judge.max_cost_usd else ""
        return text + (f"; {ASSUMED_ANSWER} tokens assumed of answers yet to be made" if self.guessed else "")

    def problem(self) -> str:
        """Why the ceiling forbids the launch; empty where it does not."""
        cost, judge = self.total.cost_usd, self.judge
        if judge is None or self.left_open or not judge.max_cost_usd or cost <= judge.max_cost_usd:
            return ""
        return (
            f"{self.key}.max_cost_usd={judge.max_cost_usd:g}: {self.line()}. Raise it to {cost * 1.2:.2f}, judge fewer "
            f"(evaluate.examples, evaluate.{self.benchmark}.samples, {self.key}.repeats), or leave {self.benchmark} out"
        )

    def share(self, generation: Generation) -> float:
        """The generation's part of the ceiling in US dollars: jobs judge side by side and know nothing of each other.

        By what each will cost; a little for kept replies too, as some were without a rating and may be asked again.
        """
        assert self.judge is not None
        return self.judge.max_cost_usd * self._weights[generation.id] / self._weight

    @cached_property
    def _weights(self) -> dict[str, float]:
        all_ = self.total
        price = AGAIN * (all_.cost_usd / all_.calls if all_.calls and all_.cost_usd else 1.0)
        return {key: one.cost_usd + price * (one.calls + one.cached) for key, one in self.parts.items()}

    @cached_property
    def _weight(self) -> float:
        return sum(self._weights.values())


def estimate(survey: Survey) -> Bill:
    """What is still to be judged of a plan; nothing is asked."""
    states, store = survey.states, survey.store
    judged = [g for g in survey.plan.generations if g.benchmark.judge and states[score_of(g).id].state != "done"]
    if not judged:
        return Bill()
    guesses: dict[Benchmark, Spending] = {}  # of equal benchmarks, answers that are not there cost the same
    parts: dict[str, Spending] = {}
    unknown = ""
    for generation in judged:
        benchmark, there = generation.benchmark, states[generation.id].state == "done"
        try:
            if there:
                rows = read_rows(store.read_folder(generation) / ITEMS)
                parts[generation.id] = _estimate(benchmark, rows, store)
            else:
                if benchmark not in guesses:
                    guesses[benchmark] = _estimate(benchmark, None, store)
                parts[generation.id] = guesses[benchmark]
        except RequestError as error:
            unknown = str(error).splitlines()[0] if Path(benchmark.path).is_file() else "its questions are not here yet"
            parts[generation.id] = Spending(calls=_calls(benchmark))
    guessed = sum(states[g.id].state != "done" for g in judged)
    first = judged[0].benchmark
    return Bill(first.judge, parts, guessed, unknown, first.name)


def _calls(benchmark: Benchmark) -> int:
    assert benchmark.judge is not None
    return benchmark.examples * definition_of(benchmark).judged_turns * benchmark.samples * benchmark.judge.repeats


def _estimate(benchmark: Benchmark, rows: Sequence[AnswerRow] | None, store: Store) -> Spending:
    """Of these answers, or (None) of answers of the assumed length, which no kept reply can be to."""
    from sft_sweeps.score.judge import JudgeClient  # httpx, which a plan without a judge does not need

    judge = benchmark.judge
    assert judge is not None
    items = {item.id: item for item in items_of(benchmark)}
    long = "x" * round(ASSUMED_ANSWER * CHARACTERS_PER_TOKEN)
    assumed = rows is None
    rows = rows or [
        {"id": item.id, "answers": [long] * len(item.turns), "sample": sample}
        for item in items.values()
        for sample in range(benchmark.samples)
    ]
    wanted = definition_of(benchmark).gradings(rows, items, judge)
    return JudgeClient(judge, store.root / JUDGMENTS).estimate(wanted, assumed=assumed)


def with_budget(job: Job, bill: Bill) -> Job:
    """A judging job with its share of the ceiling."""
    if job.kind != "judge" or bill.judge is None or not bill.judge.max_cost_usd:
        return job
    return replace(job, generations=tuple(capped(g, bill) for g in job.generations))


def capped(generation: Generation, bill: Bill) -> Generation:
    """The generation, whose judge may cost its share of the ceiling."""
    benchmark = generation.benchmark
    if benchmark.judge is None or not benchmark.judge.max_cost_usd:
        return generation
    judge = replace(benchmark.judge, max_cost_usd=bill.share(generation))
    return replace(generation, benchmark=replace(benchmark, judge=judge))
