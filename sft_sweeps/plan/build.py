"""The plan: a pure value. Runs become a forest of distinct stages, with the generations and scores that hang on them.

Two runs whose chains end in the same stage are the same run and are merged; two chains that begin alike share their
first stages. Nothing here looks at a disk: `store.survey` says what is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from sft_sweeps.plan import cost, hypotheses, notes, run_labels
from sft_sweeps.plan.analyses import analyses
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.plan.labels import own_words
from sft_sweeps.plan.request import Request
from sft_sweeps.spec.data import Component, Source
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge, Representations, Score
from sft_sweeps.spec.merge import Merge, merged
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.strategies import chain, merges, ordered

Subject = Stage | Model | Merge


@dataclass(frozen=True)
class Run:
    """A row of a table: a chain of stages that ends in one scored model; `points` are its command lines.

    With a `merge`, the stages stand side by side, and the run's model is their average.
    """

    label: str
    strategy: str
    model: Model
    stages: tuple[Stage, ...]
    k: Fraction | None = None
    points: tuple[str, ...] = ()
    merge: Merge | None = None

    @property
    def subject(self) -> Subject:
        """The model that the run ends in."""
        return self.derived[-1] if self.derived else self.model

    @property
    def derived(self) -> tuple[Stage | Merge, ...]:
        """The models on the way from the base model to the last, each made from the one before."""
        return (self.merge,) if self.merge else self.stages

    @property
    def made(self) -> tuple[Stage | Merge, ...]:
        """All that is made for it, in the order in which it is made."""
        return (*self.stages, self.merge) if self.merge else self.stages

    @property
    def id(self) -> str:
        return self.subject.id


TRAINED = ("done", "weights gone")  # states of a stage whose training is over, wherever its weights are now


@dataclass(frozen=True)
class State:
    """What the store knows of a stage, a generation or a score, and why it must be made, in words."""

    state: str
    why: str = ""
    step: int = 0

    @property
    def trained(self) -> bool:
        """Whether a stage's training is over."""
        return self.state in TRAINED


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep (equal ones merged) and what they need, parents before children."""

    runs: tuple[Run, ...]
    stages: tuple[Stage, ...]
    generations: tuple[Generation, ...]
    scores: tuple[Score, ...]
    rows: int
    stages_naive: int
    gpu_hours_naive: float
    notes: tuple[str, ...] = ()
    models: tuple[Model, ...] = field(default=())
    judges: tuple[Judge, ...] = ()  # that any point names; a table has room for one
    not_scored: tuple[str, ...] = ()  # why benchmarks that were named are not scored on some runs
    analyses: tuple[Representations, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()  # what the study says in advance
    unscored: tuple[str, ...] = ()  # ids of runs that get no score though one was asked for
    merges: tuple[Merge, ...] = ()

    @property
    def warning(self) -> str:
        """That runs get no score though one was asked for: the first of the notes; empty where there is none."""
        return self.notes[0] if self.unscored else ""

    @cached_property
    def labels(self) -> dict[str, str]:
        """Of everything that has weights, by id: its label, and what tells it from others of that label."""
        named = {subject.id: (subject.label, subject.payload) for subject in self.subjects}
        words = own_words(named)
        return {key: f"{label} {words[key]}".rstrip() for key, (label, _) in named.items()}

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Everything that has weights, parents first."""
        return (*self.models, *self.stages, *self.merges)

    @property
    def derived(self) -> tuple[Stage | Merge, ...]:
        """What is made from other models, parents first."""
        return (*self.stages, *self.merges)

    @cached_property
    def abilities(self) -> list[str]:
        """Those that any of its sources trains, by name."""
        return sorted({component.source.ability for stage in self.stages for component in stage.mixture.components})

    def runs_through(self, one: Stage | Merge) -> list[Run]:
        """The runs that pass through a stage, or end in a merge."""
        return self._runs_through.get(one.id, [])

    def runs_of(self, one: Stage | Merge) -> list[str]:
        """Their labels."""
        return [run.label for run in self.runs_through(one)]

    @cached_property
    def _runs_through(self) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = {}
        for run in self.runs:
            for one in run.made:
                runs.setdefault(one.id, []).append(run)
        return runs


def build(points: Sequence[tuple[str, Request]], claims: Sequence[Hypothesis] = ()) -> Plan:
    """The plan of all points, each given with the command line that names it; `claims` are the study's hypotheses."""
    builder = _Builder(claims)
    for name, request in points:
        builder.add(name, request)
    return builder.plan()


class _Builder:
    """Gathers distinct values by identity, in order of first need."""

    def __init__(self, claims: Sequence[Hypothesis]) -> None:
        self.claims = claims
        self.runs: dict[str, Run] = {}
        self.stages: dict[str, Stage] = {}
        self.merges: dict[str, Merge] = {}
        self.requests: list[tuple[Subject, Request]] = []
        self.models: dict[str, Model] = {}
        self.generations: dict[str, Generation] = {}
        self.notes: dict[str, int] = {}
        self.judges: dict[Judge, None] = {}
        self.rows, self.stages_naive, self.gpu_hours_naive = 0, 0, 0.0
        self.asked: set[str] = set()  # ids of the runs for which any point names a benchmark
        self.unscored: dict[int, dict[str, None]] = {}  # sources whose held-out loss is not, by its number of examples

    def add(self, name: str, request: Request) -> None:
        """One point of the sweep."""
        stages = self.chain(request)
        merge = self.merge(stages) if merges(request.strategy) and len(stages) > 1 else None
        run = Run(run_labels.label(request), request.strategy, request.model, stages, request.k, (name,), merge)
        self.rows += 1
        self.asked |= {run.id} if request.benchmarks else set()
        self.stages_naive += len(stages)
        self.gpu_hours_naive += sum(map(cost.gpu_hours, stages))
        for text in notes.of_point(run.label, request, stages):
            self.notes[text] = self.notes.get(text, 0) + 1
        if first := self.runs.get(run.id):
            self.runs[run.id] = replace(first, points=(*first.points, name))
        else:
            self.runs[run.id] = run
        self.score(run, request)
        self.requests.append((run.subject, request))

    def chain(self, request: Request) -> tuple[Stage, ...]:
        """The run's stages, shared with other runs where they are the same."""
        base = self.models.setdefault(request.model.id, request.model)
        stages: list[Stage] = []
        for mixture in chain(request.strategy, request.components, request.k):
            parent = stages[-1] if stages and not merges(request.strategy) else base
            recipe = ordered(request.recipe.after(parent), mixture, request.components)
            stage = Stage(parent, mixture, recipe)
            stages.append(self.stages.setdefault(stage.id, stage))
        return tuple(stages)

    def merge(self, stages: Sequence[Stage]) -> Merge:
        """The average of some stages, shared like these."""
        merge = merged(stages)
        return self.merges.setdefault(merge.id, merge)

    def score(self, run: Run, request: Request) -> None:
        """The generations of those of a run's models that are asked for."""
        for subject in _scored(run, request):
            for benchmark in request.benchmarks:
                if benchmark.source and reaches_heldout(subject, benchmark, benchmark.source.rows):
                    self.unscored.setdefault(benchmark.examples, {})[benchmark.source.name] = None
                    continue
                generation = Generation(subject, benchmark, request.engine)
                self.generations.setdefault(generation.id, generation)
                if benchmark.judge:
                    self.judges.setdefault(benchmark.judge)

    def plan(self) -> Plan:
        """The frozen value."""
        runs = list(self.runs.values())
        labels = run_labels.own([(run.label, run.points[0], run.id) for run in runs])
        runs = [replace(run, label=label) for run, label in zip(runs, labels, strict=True)]
        said = [text if n == 1 else f"{text} ({n} points)" for text, n in self.notes.items()]
        not_scored = [notes.not_scored(list(names), examples) for examples, names in self.unscored.items()]
        said += not_scored
        said += run_labels.same({run.label: run.points for run in runs})
        scored = {g.subject.id for g in self.generations.values()}
        unscored = [run for run in runs if run.id in self.asked - scored]
        if unscored:
            said.insert(0, f"{len(unscored)} of {len(runs)} runs get no score at all, e.g. {unscored[0].label}")
        points_of = {run.id: run.points for run in runs}
        claims = [replace(one, pairs=tuple(hypotheses.pairs(one.better, one.than, points_of))) for one in self.claims]
        for one in claims:
            if why := hypotheses.lacking(one, points_of):
                said.append(f"not tested here: {one.claim} ({why})")
        generations = tuple(self.generations.values())
        return Plan(
            runs=tuple(runs),
            stages=tuple(self.stages.values()),
            generations=generations,
            scores=tuple(map(score_of, generations)),
            rows=self.rows,
            stages_naive=self.stages_naive,
            gpu_hours_naive=self.gpu_hours_naive,
            notes=tuple(said),
            models=tuple(self.models.values()),
            judges=tuple(self.judges),
            not_scored=tuple(not_scored),
            analyses=analyses(self.requests),
            hypotheses=tuple(claims),
            unscored=tuple(run.id for run in unscored),
            merges=tuple(self.merges.values()),
        )


def _scored(run: Run, request: Request) -> list[Subject]:
    """The models of a run that are scored, in the order in which they are made."""
    wanted = {run.subject.id, run.model.id if request.base_model else ""}
    if request.specialized and not run.merge:
        roles = [{c.source.role for c in stage.mixture.components} for stage in run.stages]
        first = next((number for number, found in enumerate(roles) if "general" in found), 0)
        wanted |= {run.stages[first - 1].id} if first else set()
    made: tuple[Subject, ...] = (run.model, *run.made)
    return [one for one in made if one.id in wanted or (request.every_stage and isinstance(one, Stage))]


def score_of(generation: Generation) -> Score:
    """The score that a generation is given."""
    benchmark = generation.benchmark
    return Score(generation, benchmark.name.partition(":")[0], benchmark.scorer_version)


def seen(subject: Subject, source: Source) -> Iterator[Component]:
    """What a subject and its ancestors were trained on of a source."""
    for stage in subject.chain:
        yield from (c for c in stage.mixture.components if c.source.name == source.name)


def reaches_heldout(subject: Subject, benchmark: Benchmark, rows: int) -> bool:
    """Whether training reached into the examples of a source of `rows` on which its held-out loss is taken."""
    return benchmark.source is not None and reaches_last(subject, benchmark.source, benchmark.examples, rows)


def reaches_last(subject: Subject, source: Source, examples: int, rows: int) -> bool:
    """Whether training reached into the last so many examples of a source of `rows`."""
    free = rows - examples
    return free <= 0 or any(c.taken_of(rows) > free for c in seen(subject, source))
