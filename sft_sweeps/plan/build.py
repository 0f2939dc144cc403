"""The plan: a pure value. Runs become a forest of distinct stages, with the generations and scores that hang on them.

Two runs whose chains end in the same stage are the same run and are merged; two chains that begin alike share their
first stages. Nothing here looks at a disk: `store.survey` says what is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from sft_sweeps.plan import cost, hypotheses
from sft_sweeps.plan.analyses import analyses
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.plan.labels import own_words, short_names
from sft_sweeps.plan.request import Request
from sft_sweeps.spec.data import Component, Source
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge, Representations, Score
from sft_sweeps.spec.merge import Merge, merged
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.strategies import chain, merges, ordered, uses_k

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

    def runs_through(self, stage: Stage) -> list[Run]:
        """The runs that pass through a stage."""
        return self._runs_by_stage.get(stage.id, [])

    def runs_of(self, stage: Stage) -> list[str]:
        """Labels of the runs that pass through a stage."""
        return [run.label for run in self.runs_through(stage)]

    @cached_property
    def _runs_by_stage(self) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = {stage.id: [] for stage in self.stages}
        for run in self.runs:
            for stage in run.stages:
                runs[stage.id].append(run)
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
        run = Run(_label(request), request.strategy, request.model, stages, request.k, (name,), merge)
        self.rows += 1
        self.asked |= {run.id} if request.benchmarks else set()
        self.stages_naive += len(stages)
        self.gpu_hours_naive += sum(map(cost.gpu_hours, stages))
        for note in request.notes:
            self.note(note)
        if request.k is not None and not uses_k(request.strategy):
            self.note(f"strategy.k means nothing to strategy={request.strategy} and is ignored")
        for key in _ignored(request, stages):
            self.note(f"{run.label}: {key} means nothing where no stage has several sources, and is ignored")
        for c in (c for stage in stages for c in stage.mixture.components if not c.examples):
            self.note(f"{run.label}: {c.fraction} of {c.source.name} is no example; nothing of it is replayed")
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

    def note(self, text: str) -> None:
        self.notes[text] = self.notes.get(text, 0) + 1

    def plan(self) -> Plan:
        """The frozen value."""
        runs = _with_own_labels(list(self.runs.values()))
        notes = [text if n == 1 else f"{text} ({n} points)" for text, n in self.notes.items()]
        not_scored = [_not_scored(list(names), examples) for examples, names in self.unscored.items()]
        notes += not_scored
        notes += _same_runs(runs)
        scored = {g.subject.id for g in self.generations.values()}
        unscored = [run for run in runs if run.id in self.asked - scored]
        if unscored:
            notes.insert(0, f"{len(unscored)} of {len(runs)} runs get no score at all, e.g. {unscored[0].label}")
        points_of = {run.id: run.points for run in runs}
        claims = [replace(one, pairs=tuple(hypotheses.pairs(one.better, one.than, points_of))) for one in self.claims]
        for one in claims:
            if why := hypotheses.lacking(one, points_of):
                notes.append(f"not tested here: {one.claim} ({why})")
        generations = tuple(self.generations.values())
        return Plan(
            runs=tuple(runs),
            stages=tuple(self.stages.values()),
            generations=generations,
            scores=tuple(map(score_of, generations)),
            rows=self.rows,
            stages_naive=self.stages_naive,
            gpu_hours_naive=self.gpu_hours_naive,
            notes=tuple(notes),
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
    made: tuple[Subject, ...] = (run.model, *run.stages, *((run.merge,) if run.merge else ()))
    return [one for one in made if one.id in wanted or (request.every_stage and isinstance(one, Stage))]


def _same_runs(runs: Sequence[Run]) -> Iterator[str]:
    """Which points are the same run; of those that are rows of several studies, how many, and one."""
    common = _common([point for run in runs for point in run.points])
    listed: list[str] = []
    for run in runs:
        studies = dict.fromkeys(word for point in run.points for word in point.split()[:1] if word.startswith("study="))
        if len(studies) > 1:
            listed.append(f"{run.label} ({', '.join(word.removeprefix('study=') for word in studies)})")
        elif len(run.points) > 1:
            points = [" ".join(word for word in point.split() if word not in common) for point in run.points]
            named = f": {'; '.join(points)}" if any(points) else ""
            yield f"{len(run.points)} points are the same run, {run.label}{named}"
    if listed:
        yield f"{len(listed)} runs are rows of several studies, e.g. {listed[0]}"


def _common(points: Sequence[str]) -> set[str]:
    """The overrides that all points share, which tell none from another."""
    return set.intersection(*(set(point.split()) for point in points)) if len(points) > 1 else set()


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


def _not_scored(names: Sequence[str], examples: int) -> str:
    return (
        f"held-out loss of {', '.join(names)} is not scored where a run trains on all but fewer than {examples} "
        f"examples of it; data.heldout={examples} would keep as many apart (or fewer, with evaluate.examples)"
    )


def _label(request: Request) -> str:
    """A row's name: model, ability or strategy, k, and fractions that are not 1."""
    abilities = list(dict.fromkeys(c.source.ability for c in request.components))
    single = request.strategy != "base" and len(abilities) == 1
    parts = [request.model.name, f"{abilities[0]} only" if single else request.strategy]
    if request.k is not None and uses_k(request.strategy):
        parts.append(f"k={request.k}")
    fractions = {c.fraction for c in request.components}
    named = short_names(request.components)
    if request.strategy != "base" and fractions != {Fraction(1)}:
        shown = [f"{named[c.source.name]} {c.fraction}" for c in request.components if c.fraction != 1]
        parts.append(f"({fractions.pop()})" if len(fractions) == 1 else f"({', '.join(shown)})")
    if limits := {c.limit for c in request.components if c.limit is not None}:
        parts.append(f"limit {limits.pop():,}")
    parts += [f"{named[c.source.name]} x{c.repeat}" for c in request.components if c.repeat > 1]
    parts += [f"{named[c.source.name]} weight {c.weight}" for c in request.components if c.weight != 1]
    parts += [request.recipe.order] if request.recipe.order != "shuffled" else []
    if request.recipe.adapter and request.strategy != "base":
        parts.append(request.recipe.adapter.words)
    if request.recipe.seed:
        parts.append(f"seed={request.recipe.seed}")
    return " ".join(parts)


def _ignored(request: Request, stages: Sequence[Stage]) -> Iterator[str]:
    """The keys that say how sources compare, where no stage of a run has several."""
    alone = all(len(stage.mixture.components) == 1 for stage in stages)
    if alone and any(c.weight != 1 for c in request.components):
        yield "data.weight"
    if alone and request.recipe.order != "shuffled":
        yield f"data.order={request.recipe.order}"


def _with_own_labels(runs: Sequence[Run]) -> list[Run]:
    """The runs, each with a label of its own: where labels collide, what only one's command line says is added."""
    firsts: dict[str, list[str]] = {}
    for run in runs:
        firsts.setdefault(run.label, []).append(run.points[0])
    shared = {label: _common(points) for label, points in firsts.items()}
    named: dict[str, Run] = {}
    for run in runs:
        own = [word for word in run.points[0].split() if word not in shared[run.label]]
        told = [word for word in own if not word.startswith("study=")]  # what it is, before where it is listed
        many = len(firsts[run.label]) > 1
        labels = [" ".join([run.label, *words]) for words in ((told, own) if many else ((),))]
        label = next((one for one in labels if one not in named), f"{labels[-1]} {run.id}")
        named[label] = replace(run, label=label)
    return list(named.values())
