"""From a plan and its scores to observations: every score of every run, after each of its stages."""

from collections.abc import Iterator
from dataclasses import replace

from sft_sweeps.analysis.observations import Observation, Part, Setting
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.identity import canonical, digest
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, Run, Subject
from sft_sweeps.report.replicates import seed_of
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.data import Component
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store


def observations(plan: Plan, store: Store | Scores) -> list[Observation]:
    """Of a plan, run by run; what is not scored is left out. A stage that several runs share is observed in each."""
    known = Scores.of(store)
    by_subject: dict[str, list[Score]] = {}
    for score in plan.scores:
        by_subject.setdefault(score.generation.subject.id, []).append(score)
    return [one for run in plan.runs for one in _of_run(run, by_subject, known)]


def _of_run(run: Run, by_subject: dict[str, list[Score]], known: Scores) -> Iterator[Observation]:
    """The base model first, where it is scored, then stage by stage."""
    setting = setting_of(run)
    subjects: tuple[Subject, ...] = (run.model, *run.derived)
    for number, subject in enumerate(subjects):
        for score in by_subject.get(subject.id, ()):
            if observed := _observed(score, setting, known):
                label = "+".join(_abilities(subject)) if subject.chain else "base"
                final = number == len(run.derived)
                yield replace(observed, stage=number, final=final, stage_label=label, run=run.id, label=run.label)


def _abilities(subject: Subject) -> list[str]:
    """What a stage was trained on, or all stages of a merge."""
    stages = [subject] if isinstance(subject, Stage) else subject.chain
    return sorted({c.source.ability for stage in stages for c in stage.mixture.components})


def setting_of(run: Run) -> Setting:
    """Where a run stands in the grid."""
    strategy = run.strategy if run.stages else "base"
    parts = tuple(_part(component) for component in _components(run))
    return Setting(
        run.model.name,
        cost.parameters(run.model.shape),
        strategy,
        parts,
        run.k,
        seed_of(run),
        _variant(run),
    )


def _part(component: Component) -> Part:
    source = component.source
    shown = [component.limit, component.repeat, component.weight] if component.shown_otherwise else []
    content = digest([canonical(source), component.seed, component.heldout, *map(str, shown)])
    return Part(source.ability, source.name, component.fraction, component.examples, content)


def _components(run: Run) -> list[Component]:
    """Each source once, in the order of its first training, with the largest share that a stage takes of it."""
    by_source: dict[str, Component] = {}
    for stage in run.stages:
        for c in stage.mixture.components:
            if c.source.name not in by_source or by_source[c.source.name].fraction < c.fraction:
                by_source[c.source.name] = c
    return list(by_source.values())


def _variant(run: Run) -> str:
    """A digest of what a setting does not name: the base model, the recipes without their seed, versions of meaning."""
    recipes = [canonical(replace(stage.recipe, seed=0)) for stage in run.stages]  # `continue` is in none of them
    versions = [stage.payload.get("versions", {}) for stage in run.stages]
    weights = [str(weight) for _, weight in run.merge.shares] if run.merge and not run.merge.equal else []
    return digest([run.model.id, _distinct(recipes), _distinct(versions), *weights])


def _distinct(values: list[object]) -> list[object]:
    """Each once: runs of one stage and of three under one recipe are of one variant."""
    return [value for index, value in enumerate(values) if value not in values[:index]]


def _observed(score: Score, setting: Setting, known: Scores) -> Observation | None:
    record = known.record(score)
    if record is None:
        return None
    try:
        scored = Scored.from_record(record, score.id)
    except ValueError:
        return None  # `collect` names it among what is missing
    benchmark = score.generation.benchmark
    values = {item: float(value) for item, value in known.values(score).items()}
    return Observation(
        setting=setting,
        benchmark=benchmark.name,
        ability=benchmark.ability or (benchmark.source.ability if benchmark.source else ""),
        metric=scored.metric,
        value=scored.value,
        low=scored.low,
        high=scored.high,
        n=scored.n,
        share=scored.share,
        protocol=protocol_of(score),
        subject=score.generation.subject.id,
        items=values,
        categories=known.categories(score),
    )


def protocol_of(score: Score) -> str:
    """A digest of how it was scored: which items, how they are asked and answered, by which scorer and judge."""
    return digest(asked_of(score))


def asked_of(score: Score) -> list[object]:
    """What that digest is of."""
    generation, judge = score.generation, score.generation.benchmark.judge
    asked = [canonical(generation.benchmark), canonical(generation.engine)]
    return [*asked, score.scorer, score.version, canonical(judge)]
