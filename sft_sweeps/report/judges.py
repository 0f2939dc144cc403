"""Scores by another judge than the sweep's (`sft-sweeps judge SWEEP --judge OTHER`), and how far the two agree.

Two judges are two protocols: no axis, table column or comparison of runs has both. They graded the same answers, so
that their grades are compared question by question: their mean difference with Student's interval, and Kendall's tau-b
(analysis/rank_agreement.py), how often two answers are put in the same order.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sft_sweeps.analysis import rank_agreement
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import revive
from sft_sweeps.plan.build import Plan
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Judge, Score
from sft_sweeps.stats import Interval, paired_means
from sft_sweeps.store.store import RECORD


@dataclass(frozen=True)
class OtherScore:
    """A model's score by another judge, and by the sweep's where it is there; `apart` is theirs minus ours by question.

    The grades of questions are there where both judges graded the same ones.
    """

    label: str
    other: Scored
    first: Scored | None = None
    apart: Interval | None = None


@dataclass(frozen=True)
class OtherJudge:
    """All that another judge graded of one benchmark.

    `apart` is over all models that both graded. `tau` is of their answers, `tau_of_runs` of the models' mean grades:
    None where a judge gave all one grade, or there are fewer than three models.
    """

    benchmark: str
    judge: str
    first: str
    models: tuple[OtherScore, ...]
    apart: Interval | None = None
    tau: Interval | None = None
    tau_of_runs: Interval | None = None


Graded = tuple[OtherScore, Sequence[float], Sequence[float]]  # with the questions' grades by the first, by the other


def other_judges(plan: Plan, known: Scores) -> Iterator[OtherJudge]:
    """By benchmark and judge, in the plan's order."""
    labels = plan.labels | {run.id: run.label for run in plan.runs}
    pairs = [(score, other) for score in plan.scores for other in _by_others(score, known)]
    asked = grouped(pairs, lambda pair: (pair[0].generation.benchmark.name, _judge(pair[1]), _judge(pair[0])))
    for (benchmark, judge, first), of in asked.items():
        graded = [_graded(labels[one.generation.subject.id], one, other, known) for one, other in of]
        if found := [one for one in graded if one]:
            yield OtherJudge(benchmark, judge, first, tuple(score for score, _, _ in found), *_agreeing(found))


def _by_others(score: Score, known: Scores) -> Iterator[Score]:
    """Scores of the same answers by other judges, as their records say; a record that says less is passed over."""
    own, name = score.generation, score.generation.benchmark.name
    if own.benchmark.judge is None:
        return
    folder = known.store.read_folder(score)
    for path in sorted(folder.parent.glob(f"{name.replace(':', '-')}-*/{RECORD}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            payload = read_json(path)["payload"]
            judge = revive(Judge, payload["judge"])
            other = replace(score, generation=replace(own, benchmark=replace(own.benchmark, judge=judge)))
            if path.parent != folder and other.payload == payload:
                yield other


def _judge(score: Score) -> str:
    judge = score.generation.benchmark.judge
    assert judge is not None
    return judge.model + (f" ({judge.revision})" if judge.revision else "")


def _graded(label: str, first: Score, other: Score, known: Scores) -> Graded | None:
    """None where the other's record cannot be trusted."""
    by_other = _scored(other, known)
    if by_other is None:
        return None
    ours, theirs = known.values(first), known.values(other)
    by_first = _scored(first, known)
    if by_first is None or not ours or ours.keys() != theirs.keys():
        return OtherScore(label, by_other, by_first), (), ()
    one, two = [float(ours[item]) for item in ours], [float(theirs[item]) for item in ours]
    return OtherScore(label, by_other, by_first, paired_means(two, one).interval), one, two


def _scored(score: Score, known: Scores) -> Scored | None:
    with contextlib.suppress(ValueError):
        return Scored.from_record(known.record(score) or {}, score.id)
    return None


def _agreeing(found: Sequence[Graded]) -> tuple[Interval | None, Interval | None, Interval | None]:
    """Over the models whose questions both graded, as many as most have: the mean difference, and both taus."""
    import numpy as np

    most = max((len(ours) for _, ours, _ in found), default=0)
    if not most:
        return None, None, None
    both = [(ours, theirs) for _, ours, theirs in found if len(ours) == most]
    first, other = (np.asarray(of, dtype=np.float64) for of in zip(*both, strict=True))
    apart = paired_means(other.mean(axis=0).tolist(), first.mean(axis=0).tolist()).interval
    runs = (
        rank_agreement.of_models(list(first[:, None]), list(other[:, None])) if len(both) > rank_agreement.FEW else None
    )
    return apart, rank_agreement.of_answers(first, other), runs


def said(one: OtherJudge) -> str:
    """How far the two agree."""
    parts = [f"{one.judge} graded these answers, the sweep's own judge {one.first} none of them."]
    if one.apart:
        parts = [f"The grades of {one.judge} minus those of {one.first} for the same answers: {_signed(one.apart)}."]
    if one.tau:
        runs = f", of runs {rank_agreement.text(one.tau_of_runs)}" if one.tau_of_runs else ""
        parts.append(f"Kendall's tau of their orders of answers is {rank_agreement.text(one.tau)}{runs}.")
    elif one.apart:
        parts.append("One of them gave all answers one grade, which orders nothing.")
    return " ".join([*parts, "Scores of two judges share no axis, and are side by side here alone."])


def rows(one: OtherJudge) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table."""
    header = ["run", f"by {one.judge}", f"by {one.first}", "difference by question"]
    return header, [
        [m.label, m.other.text(), m.first.text() if m.first else "-", _signed(m.apart) if m.apart else "-"]
        for m in one.models
    ]


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def records(plan: Plan, known: Scores) -> Mapping[str, Any]:
    """What such scores' records say, by id: a report follows from these too."""
    return {other.id: known.record(other) for score in plan.scores for other in _by_others(score, known)}
