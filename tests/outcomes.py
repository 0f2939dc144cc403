"""Finished work in a store, without the work: records as workers write them."""

from pathlib import Path
from typing import Any

from values import component, request

from sft_sweeps.plan.build import Plan, Subject, build
from sft_sweeps.spec.evaluation import Generation, Score
from sft_sweeps.stats import proportion
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.store.sweeps import Sweep, freeze


def finish(store: Store, item: Subject | Generation | Score, **extra: Any) -> Path:
    """A valid record of anything, with one file."""
    folder = store.read_folder(item)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "weights").write_text("w")
    write_record(folder, item.payload, ["model/weights"], extra)
    return folder


def launched(store: Store, name: str, *sources: str) -> tuple[Plan, Sweep]:
    """A sweep that trains on the sources one after the other, of which nothing is done."""
    plan = build([("x", request(tuple(map(component, sources)), "sequential"))])
    return plan, freeze(plan, store, name, "why?", [])


def finished(store: Store, name: str, *sources: str) -> tuple[Plan, Sweep]:
    """Such a sweep, of which everything is done."""
    plan, sweep = launched(store, name, *sources)
    for item in (*plan.subjects, *plan.generations, *plan.scores):
        finish(store, item)
    return plan, sweep


def accuracy(store: Store, score: Score, k: int, n: int) -> Path:
    """The record of a score of k of n."""
    found = proportion(k, n)
    value = {"metric": "accuracy", "value": found.value, "low": found.low, "high": found.high, "n": n, "k": k}
    return finish(store, score, score=value)


def loss(store: Store, score: Score, value: float, n: int) -> Path:
    """The record of a held-out loss over n examples."""
    found = {"metric": "loss", "value": value, "low": value - 0.25, "high": value + 0.25, "n": n, "k": None}
    return finish(store, score, score=found)
