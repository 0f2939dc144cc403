"""How well averages of single-ability models rank the mixtures that were trained: what a preview by `merge` is worth.

Each average of equal weights is paired with the run that was trained at once on all that its stages were trained on,
from the same weights by the same recipe. Over the mixtures of one model, by benchmark: Kendall's tau-b of the two
orders, and the tau of what costs nothing, ranking the mixtures by how much of the benchmark's own ability they hold.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sft_sweeps.analysis import rank_agreement
from sft_sweeps.analysis.cells import without_seed
from sft_sweeps.analysis.observations import LOWER_IS_BETTER, grouped
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import canonical, canonical_json
from sft_sweeps.plan.build import Plan, Run, Subject
from sft_sweeps.report.replicates import seed_of
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Benchmark, Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.stats import Interval
from sft_sweeps.store.store import RECORD, Store
from sft_sweeps.terminal import counted, duration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Previewed:
    """A mixture: the mean score of its average and of what was trained on it, over their common seeds."""

    label: str
    preview: float
    trained: float
    seeds: int


@dataclass(frozen=True)
class Previews:
    """Those of one model on one benchmark.

    `tau` is None where a side is all ties, `tau_of_amount` besides where the benchmark has no ability of its own.
    `picked` is the mixture that the previews rank first, `best` the one that training does. Seconds are what the
    averages took, the training of the mixtures, and that of the stages that were averaged, as far as they are known.
    """

    benchmark: str
    model: str
    mixtures: tuple[Previewed, ...]
    share: bool
    tau: Interval | None
    tau_of_amount: float | None
    picked: Previewed
    best: Previewed
    seconds_merging: float
    seconds_training: float
    seconds_stages: float


@dataclass(frozen=True)
class Pair:
    """An average's run and the trained one of the same mixture and seed; `mixture` is what all their seeds share."""

    mixture: str
    preview: Run
    trained: Run


def previews(plan: Plan, known: Scores) -> Iterator[Previews]:
    """By model and benchmark, in the plan's order; of fewer than three mixtures the order says nothing."""
    scores = {(s.generation.subject.id, s.generation.benchmark.name): s for s in plan.scores}
    benchmarks = dict.fromkeys(generation.benchmark.name for generation in plan.generations)
    for of_model in grouped(pairs(plan), lambda pair: pair.trained.stages[0].parent.id).values():
        for name in benchmarks:
            found = [(pair, *values) for pair in of_model if (values := _values(pair, name, scores, known))]
            items = {tuple(ours) for _, ours, _ in found}
            by_mixture = grouped(found, lambda one: one[0].mixture)
            if len(by_mixture) > rank_agreement.FEW and len(items) == 1:
                yield _previews(name, list(by_mixture.values()), scores, known)


def pairs(plan: Plan) -> list[Pair]:
    """Each average of equal weights with the trained run of its mixture; what has no partner is left out."""
    trained = {_key(run.stages): run for run in plan.runs if not run.merge and len(run.stages) == 1}
    merged = [(run, key) for run in plan.runs if run.merge and run.merge.equal and (key := _key(run.stages))]
    return [Pair(_mixture(run.stages), run, trained[key]) for run, key in merged if key in trained]


def _key(stages: Sequence[Stage]) -> str:
    """What side by side was trained on what, how, and from what; empty where the stages were not trained alike."""
    recipes = {canonical_json(stage.recipe) for stage in stages}
    return canonical_json([_mixture(stages), recipes.pop()]) if len(recipes) == 1 else ""


def _mixture(stages: Sequence[Stage]) -> str:
    """The same without the training seed."""
    parts = sorted(canonical_json(c) for stage in stages for c in stage.mixture.components)
    return canonical_json([stages[0].parent.id, parts, canonical(replace(stages[0].recipe, seed=0))])


Items = Mapping[str, float | bool]
Found = tuple[Pair, Items, Items]  # with the values of the items of the average, of what was trained


def _values(
    pair: Pair, benchmark: str, scores: Mapping[tuple[str, str], Score], known: Scores
) -> tuple[Items, Items] | None:
    ours, theirs = (known.values(scores.get((run.id, benchmark))) for run in (pair.preview, pair.trained))
    return (ours, {item: theirs[item] for item in ours}) if ours and ours.keys() == theirs.keys() else None


def _previews(
    name: str, mixtures: Sequence[Sequence[Found]], scores: Mapping[tuple[str, str], Score], known: Scores
) -> Previews:
    import numpy as np

    first = mixtures[0][0][0]
    score = scores[first.trained.id, name]
    scored = Scored.from_record(known.record(score) or {}, score.id)
    sides: list[list[Values]] = [
        [np.asarray([list(side(one).values()) for one in of], dtype=np.float64) for of in mixtures]
        for side in (_of_preview, _of_trained)
    ]
    listed = [
        Previewed(_label(of), float(ours.mean()), float(theirs.mean()), len(of))
        for of, ours, theirs in zip(mixtures, *sides, strict=True)
    ]
    sign = -1 if scored.metric in LOWER_IS_BETTER else 1
    amounts = [_amount(of[0][0].trained.stages[0], score.generation.benchmark) for of in mixtures]
    every = [pair for of in mixtures for pair, _, _ in of]
    return Previews(
        benchmark=name,
        model=first.trained.model.name,
        mixtures=tuple(listed),
        share=scored.share,
        tau=rank_agreement.of_models(*sides),
        tau_of_amount=rank_agreement.tau_b(amounts, [sign * one.trained for one in listed]),
        picked=max(listed, key=lambda one: sign * one.preview),
        best=max(listed, key=lambda one: sign * one.trained),
        seconds_merging=_seconds((pair.preview.subject for pair in every), known.store),
        seconds_training=_seconds((pair.trained.subject for pair in every), known.store),
        seconds_stages=_seconds((stage for pair in every for stage in pair.preview.stages), known.store),
    )


def _of_preview(found: Found) -> Items:
    return found[1]


def _of_trained(found: Found) -> Items:
    return found[2]


def _label(of: Sequence[Found]) -> str:
    """As the trained run is called, without its seed."""
    run = min((pair.trained for pair, _, _ in of), key=seed_of)
    return without_seed(run.label, seed_of(run)).removeprefix(f"{run.model.name} ")


def _amount(stage: Stage, benchmark: Benchmark) -> float:
    """How many examples a mixture has of the benchmark's own ability."""
    ability = benchmark.ability or (benchmark.source.ability if benchmark.source else "")
    return float(sum(c.examples for c in stage.mixture.components if c.source.ability == ability))


def _seconds(subjects: Iterable[Subject], store: Store) -> float:
    """What making some models took, each once, as far as their records say it."""
    total = 0.0
    for subject in {one.id: one for one in subjects}.values():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record: Any = read_json(store.read_folder(subject) / RECORD)
            total += float(record["seconds"])
    return round(total, 3)


def rows(found: Sequence[Previews]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table."""
    header = ["benchmark", "model", "mixtures", "tau", "tau of amount", "first by preview", "first by training"]
    return header, [
        [
            one.benchmark,
            one.model,
            str(len(one.mixtures)),
            rank_agreement.text(one.tau) if one.tau else "all ties",
            f"{one.tau_of_amount:.2f}" if one.tau_of_amount is not None else "-",
            _trained(one, one.picked),
            _trained(one, one.best),
        ]
        for one in found
    ]


def _trained(of: Previews, one: Previewed) -> str:
    """A mixture and what its training came to."""
    return f"{one.label}: {f'{100 * one.trained:.1f}%' if of.share else f'{one.trained:.3f}'}"


def said(found: Sequence[Previews]) -> str:
    """What the table shows, and what the two ways took."""
    first = found[0]
    mixtures = counted(len(first.mixtures), "mixture")
    return (
        "A preview is the average of the weights of single-ability models. tau is Kendall's tau-b between the order "
        f"in which the previews put the {mixtures} and the order in which training on them does, with a 95 % interval "
        "over items (and seeds, where there are several); tau of amount is that of ranking mixtures by how much they "
        "hold of the benchmark's own ability, which costs nothing. Averaging took "
        f"{_took(first.seconds_merging)}, training these mixtures {_took(first.seconds_training)}, training the stages "
        f"that were averaged {_took(first.seconds_stages)}.{_beaten(found)}"
    )


def _beaten(found: Sequence[Previews]) -> str:
    """Where ranking by amount did better, as it costs nothing."""
    better = [
        one for one in found if one.tau_of_amount is not None and (not one.tau or one.tau_of_amount > one.tau.value)
    ]
    return f" By amount alone the ranking is better on {len(better)} of {len(found)} benchmarks." if better else ""


def _took(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{seconds:.1f} s"
