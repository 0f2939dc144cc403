"""A finished sweep in a store, without training: answers, verdicts, losses and records as workers write them."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from outcomes import finish

from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.stats import proportion
from sft_sweeps.store.answers import ITEMS, VERDICTS, write_rows
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.store.sweeps import Sweep, freeze
from sft_sweeps.tracking.metrics import Metrics

Right = Callable[[Score], Sequence[bool]]


def score(store: Store, of: Score, right: Sequence[bool], answer: str = "an answer") -> None:
    """One score with its answers: which of its items are right."""
    name = of.generation.benchmark.name
    ids = [f"{name}/test/{number}" for number in range(len(right))]
    folder = store.generation(of.generation)
    write_rows(folder / ITEMS, [{"id": one, "sample": 0, "answers": [answer], "finished": [True]} for one in ids])
    write_record(folder, of.generation.payload, [ITEMS], {})
    folder = store.score(of)
    reasons = {True: "right", False: "wrong number"}
    verdicts = [{"item": i, "correct": r, "reason": reasons[r], "sample": 0} for i, r in zip(ids, right, strict=True)]
    write_rows(folder / VERDICTS, verdicts)
    found = proportion(sum(right), len(right))
    value = {"metric": "accuracy", "value": found.value, "low": found.low, "high": found.high, "n": len(right)}
    write_record(folder, of.payload, [VERDICTS], {"score": {**value, "k": sum(right)}})


def train(store: Store, plan: Plan, steps: int = 30) -> None:
    """Every model is there, every stage with its losses and the time that it took."""
    for model in plan.models:
        finish(store, model)
    for stage in plan.stages:
        folder = finish(store, stage, seconds=12.5, execution={"processes": 1, "device": "x86_64"})
        with closing(Metrics(folder)) as file:
            for step in range(1, steps + 1):
                file.write({"step": step, "steps": steps, "loss": 3 / step})


def made(root: Path, plan: Plan, right: Right, name: str = "made", text: str = "What is kept?") -> Sweep:
    """The sweep of a plan: everything is trained, and scored where `right` gives verdicts.

    `text` is the sweep's question and every answer.
    """
    store = Store(root)
    train(store, plan)
    for one in plan.scores:
        if verdicts := right(one):
            score(store, one, verdicts, text)
    return freeze(plan, Store(root), name, text, [point for run in plan.runs for point in run.points])


def claim(text: str, better: str, than: str, benchmark: str = "mini_math") -> Hypothesis:
    return Hypothesis(text, benchmark, better, than)
