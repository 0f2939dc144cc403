"""A finished sweep of `study=paper` in a store, without any training: the speed and looks of reports are seen on it.

Its scores are made up. Of each run as many items are right as the paper prints, at random places, and MT-Bench's grades
lie around its mean in eight categories; a benchmark that the paper does not print for a run stays missing.

    python -m bench.paper_sweep STORE       then: sft-sweeps report --output-dir STORE --out REPORT
"""

import random
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.next_replay import paper_grid, planned
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.stats import clustered_mean, proportion
from sft_sweeps.store.answers import ITEMS, VERDICTS, write_rows
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.store.sweeps import Sweep, freeze
from sft_sweeps.tracking.metrics import Metrics

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
STEPS, TURNS = 200, 2  # of a stage's curve, of a question
QUESTION = "How do abilities depend on the mixture?"
Row = dict[str, Any]


def finished(root: Path) -> Sweep:
    """The sweep, trained and scored, in an empty folder."""
    plan, store = planned("study=paper"), Store(root)
    printed = {(one.run, one.benchmark): one for of in paper_grid(plan).scores.values() for one in of}
    _train(plan, store)
    for score in plan.scores:
        if one := printed.get((score.generation.subject.id, score.generation.benchmark.name)):
            _score(score, one, store)
    return freeze(plan, store, "paper", QUESTION, [point for run in plan.runs for point in run.points])


def _train(plan: Plan, store: Store) -> None:
    """Every stage with the losses of its steps, which took as long as was planned."""
    for subject in plan.subjects:
        folder = store.folder(subject)
        weights = folder / "model" / "weights"
        weights.parent.mkdir(parents=True)
        weights.write_text("made up")
        extra: Row = {}
        if subject in plan.stages:
            with closing(Metrics(folder)) as file:
                for step in range(1, STEPS + 1):
                    file.write({"step": step, "steps": STEPS, "loss": 0.6 + 2 / step**0.5})
            hours = cost.gpu_hours(subject)
            extra = {"seconds": 3600 * hours / subject.model.gpus, "execution": {"processes": subject.model.gpus}}
        write_record(folder, subject.payload, ["model/weights"], extra)


def _score(score: Score, like: Observation, store: Store) -> None:
    """One score with its answers."""
    stream = random.Random(f"{like.run} {like.benchmark}")
    ids = [f"{like.benchmark}/{number}" for number in range(like.n)]
    folder = store.generation(score.generation)
    write_rows(folder / ITEMS, [{"id": one, "sample": 0, "answers": ["An answer."] * TURNS} for one in ids])
    write_record(folder, score.generation.payload, [ITEMS], {})
    verdicts, scored = _shares(ids, like, stream) if like.share else _grades(ids, like, stream)
    folder = store.score(score)
    write_rows(folder / VERDICTS, verdicts)
    write_record(folder, score.payload, [VERDICTS], {"score": {"metric": like.metric, "n": like.n, **scored}})


def _shares(ids: list[str], like: Observation, stream: random.Random) -> tuple[list[Row], Row]:
    right = set(stream.sample(ids, round(like.value * like.n)))
    verdicts = [{"item": one, "sample": 0, "correct": one in right, "reason": "made up"} for one in ids]
    found = proportion(len(right), like.n)
    return verdicts, {"value": found.value, "low": found.low, "high": found.high, "k": len(right)}


def _grades(ids: list[str], like: Observation, stream: random.Random) -> tuple[list[Row], Row]:
    verdicts, means = list[Row](), list[list[float]]()
    for number, one in enumerate(ids):
        grades = [float(min(10, max(1, round(stream.gauss(like.value, 2))))) for _ in range(TURNS)]
        kind = CATEGORIES[number * len(CATEGORIES) // len(ids)]
        verdicts += [{"item": one, "category": kind, "turn": n, "score": grade} for n, grade in enumerate(grades, 1)]
        means.append(grades)
    found = clustered_mean(means)
    return verdicts, {"value": found.value, "low": found.low, "high": found.high}


if __name__ == "__main__":
    print(finished(Path(sys.argv[1])).folder)
