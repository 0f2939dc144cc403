"""Judging that launches left open: which answers of a sweep wait for a judge, and having them graded, from here.

A launch without a judge's key answers everything and asks nobody. The replies are kept as a launch keeps them
(`judge.JudgeClient`), each score has its own record, so that what was interrupted goes on where it was.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.errors import Interrupted, RequestError, SweepError
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.plan.build import Plan, score_of
from sft_sweeps.score.judge_cost import Bill, capped
from sft_sweeps.score.judge_cost import estimate as priced
from sft_sweeps.score.score import score
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge
from sft_sweeps.store import claims, heartbeats
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, survey

Adapt = Callable[[Judge], Judge]  # who is asked in a judge's place, or the same one asked in another way


@dataclass(frozen=True)
class OpenJudging:
    """Answers of a sweep that are not judged yet (with the judge to ask), how many models are not even answered, and
    the scores that are there by what they are of.
    """

    survey: Survey
    generations: tuple[Generation, ...] = ()
    unanswered: int = 0
    scores: Mapping[str, Scored] = field(default_factory=dict)

    @cached_property
    def bill(self) -> Bill:
        """What asking will cost; nothing is asked."""
        return priced(self.survey)


@dataclass
class Judged:
    """What came of it: scores by what they are of; why others have none."""

    scores: dict[str, Scored] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    spent_usd: float = 0.0
    calls: int = 0
    cached: int = 0


def open_judging(plan: Plan, store: Store, adapt: Adapt = lambda judge: judge) -> OpenJudging:
    """What of a plan waits for a judge; RequestError where this version would score it otherwise than was planned."""
    judged = [g for g in plan.generations if g.benchmark.judge]
    _same_version(judged, plan)
    asked = [replace(g, benchmark=_asking(g.benchmark, adapt, store.root / "data")) for g in judged]
    part = replace(plan, generations=tuple(asked), scores=tuple(map(score_of, asked)))
    found = survey(part, store)
    unscored = [g for g in asked if found.states[score_of(g).id].state != "done"]
    answered = tuple(g for g in unscored if found.states[g.id].state == "done")
    shown = replace(part, generations=answered, scores=tuple(map(score_of, answered)))
    done = {_name(g, plan): found.records.get(score_of(g).id) for g in asked if g not in unscored}
    scores = {name: Scored.from_record(record) for name, record in done.items() if record}
    return OpenJudging(replace(found, plan=shown), answered, len(unscored) - len(answered), scores)


def _name(generation: Generation, plan: Plan) -> str:
    """Of what a score is: its benchmark and the run that ends in the model, or the model's own label."""
    runs = {run.id: run.label for run in plan.runs}
    return f"{generation.benchmark.name} of {runs.get(generation.subject.id) or plan.labels[generation.subject.id]}"


def judge_all(
    work: OpenJudging,
    bill: Bill,
    sweep: str,
    stop: Callable[[], bool],
    progress: Callable[[], None] = lambda: None,
) -> Judged:
    """Have every model's answers graded, one model after the other; one that fails does not keep the others waiting."""
    store, done = work.survey.store, Judged()
    for generation in work.generations:
        name = _name(generation, work.survey.plan)
        try:
            _judge(capped(generation, bill), store, sweep, stop)
            _add(done, name, score_of(generation).id, store.record(score_of(generation)) or {})
        except Interrupted:
            raise
        except (SweepError, OSError) as error:
            done.failed[name] = str(error)
        progress()
    return done


def _judge(generation: Generation, store: Store, sweep: str, stop: Callable[[], bool]) -> None:
    """Score one model's answers under the claim that a judging job would hold; RequestError where another has it."""
    folder = KINDS["judge"].claim_folder(store.folder(generation.subject))
    folder.mkdir(parents=True, exist_ok=True)
    claim = claims.take(folder, sweep)
    if claim is None:
        holder = claims.holder(folder)
        whose = f"{holder.who} (sweep {holder.sweep})" if holder else "another process"
        raise RequestError(f"{whose} is judging it")
    with heartbeats.working(folder, claim):
        score(generation, store, stop)


def _add(done: Judged, name: str, key: str, record: Mapping[str, Any]) -> None:
    done.scores[name] = Scored.from_record(record, key)
    spending = record.get("spending", {})
    done.spent_usd += spending.get("cost_usd", 0.0)
    done.calls += spending.get("calls", 0)
    done.cached += spending.get("cached", 0)


def _asking(benchmark: Benchmark, adapt: Adapt, folder: Path) -> Benchmark:
    """The benchmark with the judge to ask; its files in this store's data folder, where they are not where they were.

    A sweep may be judged on another machine than it was launched on.
    """
    assert benchmark.judge is not None
    judge = adapt(benchmark.judge)
    prompts, references = _here(judge.prompts_path, folder), _here(judge.references_path, folder)
    judge = replace(judge, prompts_path=prompts, references_path=references)
    return replace(benchmark, path=_here(benchmark.path, folder), judge=judge)


def _here(path: str, folder: Path) -> str:
    return path if not path or Path(path).is_file() else str((folder / Path(path).name).absolute())


def _same_version(judged: Iterable[Generation], plan: Plan) -> None:
    """RequestError unless the scores of a frozen plan are those that this version would make."""
    planned = {score.generation.id: score.id for score in plan.scores}
    for generation in judged:
        fresh = replace(generation)  # under today's id, not the one that it was frozen with
        if fresh.id != generation.id or score_of(fresh).id != planned[generation.id]:
            raise RequestError(
                f"another version of sft-sweeps planned this sweep, and {generation.benchmark.name} means something "
                "else now; launch the sweep again (it trains nothing anew), then judge it"
            )
