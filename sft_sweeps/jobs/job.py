"""From a plan and the store's states to the jobs that are missing.

A job is what a local process or Slurm runs: encode the sources of a sweep, prepare a base model, train a stage,
average stages, generate a subject's missing answers to all benchmarks with one load of its weights, take its
representations of queries, or score answers, which needs neither weights nor a GPU (where a judge grades them: a
network). Every job has at most one parent job, so the jobs are a forest, but for those that average stages: these wait
for the others too. What encodes is above all that needs it. A job is frozen as JSON that says everything its worker
needs.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sft_sweeps.execution import AnswerExecution, Execution, Executions, Tracking, TrainExecution
from sft_sweeps.identity import parents_of
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.plan.build import Subject, score_of
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.evaluation import Generation, Representations
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey

NOT_TRACKED = Tracking()
PROGRESS = "progress.json"  # in the folder of a job's claim, for who watches: {"what", "done", "of"}
Stop = Callable[[], bool]  # whether a job was asked to stop


@dataclass(frozen=True)
class Encoding:
    """A source as a model is given it: what is stored encoded under `key`, or is to be stored (data/encode).

    Without the model's tokenizer there is no key, and only a plan can be made of it.
    """

    source: Source
    model: Model
    template: str
    max_length: int
    key: str


@dataclass(frozen=True)
class Job:
    """One unit of work in the folder of its subject, in the store at `root`; other stores are only read."""

    kind: str
    root: str
    subject: Stage | Model | Merge
    execution: Execution | None = None
    generations: tuple[Generation, ...] = ()
    parent: str = ""
    read_from: tuple[str, ...] = ()
    tracking: Tracking = NOT_TRACKED
    encodings: tuple[Encoding, ...] = ()
    analyses: tuple[Representations, ...] = ()
    besides: tuple[str, ...] = ()  # jobs that it waits for as for its parent: those of a merge's other stages

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is no kind of job; valid: {', '.join(KINDS)}")
        if not isinstance(self.execution, wanted := KINDS[self.kind].execution):
            given = type(self.execution).__name__
            raise ValueError(f"a job to {self.kind} runs by {wanted.__name__}, not by {given}")

    @property
    def id(self) -> str:
        """Unique within a sweep, readable."""
        return f"{self.kind}-{self.subject.id}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The jobs that are to be done before it."""
        return (*filter(None, [self.parent]), *self.besides)

    @property
    def processes(self) -> int:
        """Ranks, each a process, that work on it together."""
        return self.execution.processes if isinstance(self.execution, TrainExecution) else 1

    @property
    def width(self) -> int:
        """Processes that compute at the same time; replicas on GPUs have those to themselves and count as one."""
        if isinstance(self.execution, AnswerExecution) and not self.gpus and not self.analyses:
            return max(1, self.execution.replicas)
        return self.processes

    @property
    def store(self) -> Store:
        return Store(self.root, self.read_from)

    @property
    def folder(self) -> Path:
        """Of its subject, in the store that the job writes to."""
        return self.store.folder(self.subject)

    @property
    def makes_model(self) -> bool:
        """Its work is a model, and done when that has a record."""
        return KINDS[self.kind].makes_model

    @property
    def stage(self) -> Stage | None:
        """The stage that it trains; None for a job of another kind."""
        return self.subject if self.kind == "train" and isinstance(self.subject, Stage) else None

    @property
    def releases(self) -> tuple[Stage | Merge, ...]:
        """The stages and merges that may be needed no more once this job is done."""
        if isinstance(self.subject, Merge):
            return (self.subject, *self.subject.parents)
        if not isinstance(self.subject, Stage):
            return ()
        return (self.subject, self.subject.parent) if isinstance(self.subject.parent, Stage) else (self.subject,)

    @property
    def gpus(self) -> int:
        """How many it uses: to train, one for each rank."""
        if self.stage and self.subject.model.gpus:
            return self.processes
        return self.subject.model.gpus if KINDS[self.kind].gpus else 0

    @property
    def steps(self) -> int:
        """Length of the work in optimizer steps; other work counts as one."""
        return self.stage.steps if self.stage else 1


def claim_folder(job: Job, folder: Path) -> Path:
    """Where a job's claim lies, in its subject's folder."""
    return KINDS[job.kind].claim_folder(folder)


def places(job: Job) -> list[Path]:
    """The folders in which a job prepares what it publishes: that of its claim first."""
    items = [score_of(g) if KINDS[job.kind].scores else g for g in job.generations]
    return [claim_folder(job, job.folder), *(job.store.write_folder(item) for item in (*items, *job.analyses))]


def missing(survey: Survey, executions: Executions) -> list[Job]:
    """Everything of a plan that is not done, as jobs, parents first."""
    unscored, unseen = _unscored(survey), _unseen(survey)
    to_make = _to_make(survey, unscored, unseen)
    jobs = [_making(subject, survey, executions, to_make) for subject in survey.plan.subjects if subject.id in to_make]
    for subject in survey.plan.subjects:
        jobs += _evaluating(subject, unscored.get(subject.id, []), survey, executions, to_make)
        jobs += _analysing(subject, unseen.get(subject.id, []), survey, executions, to_make)
    return jobs


def _making(subject: Subject, survey: Survey, executions: Executions, to_make: Collection[str]) -> Job:
    """The job that makes a subject's weights; a stage is trained by a process for each GPU that its model asks for."""
    root, read_from = _roots(survey.store)
    if isinstance(subject, Merge):
        first, *others = [maker(stage) for stage in subject.parents if stage.id in to_make] or [""]
        return Job("merge", root, subject, parent=first, read_from=read_from, besides=tuple(others))
    if not isinstance(subject, Stage):
        return Job("prepare", root, subject, read_from=read_from)
    execution = replace(executions.train, processes=max(subject.model.gpus, executions.train.processes))
    parent = maker(subject.parent) if subject.parent.id in to_make else ""
    return Job("train", root, subject, execution, parent=parent, read_from=read_from)


def _evaluating(
    subject: Subject,
    generations: Sequence[Generation],
    survey: Survey,
    executions: Executions,
    to_make: Collection[str],
) -> Iterator[Job]:
    """The jobs that make a subject's scores of some generations: those that are not there are answered first."""
    root, read_from = _roots(survey.store)
    unanswered = tuple(g for g in generations if survey.states[g.id].state != "done")
    answers = ""
    if unanswered:
        parent = maker(subject) if subject.id in to_make else ""
        job = Job("generate", root, subject, executions.answer, unanswered, parent, read_from)
        answers = job.id
        yield job
    for kind in (one for one in KINDS.values() if one.scores):  # a judge is asked over the network, other scoring not
        if wanted := tuple(g for g in generations if (g.benchmark.judge is not None) == kind.network):
            yield Job(kind.name, root, subject, executions.score, wanted, answers, read_from)


def _analysing(
    subject: Subject,
    wanted: Sequence[Representations],
    survey: Survey,
    executions: Executions,
    to_make: Collection[str],
) -> Iterator[Job]:
    """The job that takes a subject's missing representations, with one load of its weights."""
    if wanted:
        root, read_from = _roots(survey.store)
        parent = maker(subject) if subject.id in to_make else ""
        yield Job(
            "represent", root, subject, executions.answer, parent=parent, read_from=read_from, analyses=tuple(wanted)
        )


def _roots(store: Store) -> tuple[str, tuple[str, ...]]:
    """A store's folder and those of the stores that it reads from, as they mean the same on another machine."""
    return str(store.root.absolute()), tuple(str(other.root.absolute()) for other in store.others)


def _unscored(survey: Survey) -> dict[str, list[Generation]]:
    """By subject, the generations whose scores are not done."""
    unscored: dict[str, list[Generation]] = {}
    for generation in survey.plan.generations:
        if survey.states[score_of(generation).id].state != "done":
            unscored.setdefault(generation.subject.id, []).append(generation)
    return unscored


def _unseen(survey: Survey) -> dict[str, list[Representations]]:
    """By subject, the representations that are not done."""
    unseen: dict[str, list[Representations]] = {}
    for one in survey.plan.analyses:
        if survey.states[one.id].state != "done":
            unseen.setdefault(one.subject.id, []).append(one)
    return unseen


def _to_make(survey: Survey, unscored: Mapping[str, list[Generation]], unseen: Collection[str]) -> set[str]:
    """Subjects that must be made: those without a record, and those whose purged weights something still needs.

    A score that is made from a kept generation needs no weights.
    """
    make: set[str] = set()
    states = survey.states
    needed = {key for key, asked in unscored.items() if any(states[g.id].state != "done" for g in asked)}
    needed |= set(unseen)
    for one in reversed(survey.plan.derived):
        state = states[one.id].state
        if state != "done" and (state != "weights gone" or one.id in needed):
            make.add(one.id)
            needed.update(parents_of(one.payload))
    for model in survey.plan.models:
        if model.initialised and states[model.id].state != "done" and model.id in needed:
            make.add(model.id)
    return make


def encode_first(jobs: Sequence[Job], lacking: Sequence[tuple[Job, Encoding]]) -> list[Job]:
    """The jobs with one that encodes what some of them lack, above every tree that holds one of these.

    It works in the folder of the first base model that it encodes for.
    """
    if not lacking:
        return list(jobs)
    by_id = {job.id: job for job in jobs}

    def top(job: Job) -> Job:
        return top(by_id[job.parent]) if job.parent else job

    waiting, first = {top(job).id for job, _ in lacking}, lacking[0][0]
    encodings = tuple({encoding.key or encoding: encoding for _, encoding in lacking}.values())
    made = Job("encode", first.root, encodings[0].model, read_from=first.read_from, encodings=encodings)
    return [made, *(replace(job, parent=made.id) if job.id in waiting else job for job in jobs)]


def urgency(jobs: list[Job]) -> dict[str, int]:
    """Steps on the longest chain that starts with each job, so that long chains start first."""
    below: dict[str, int] = {}  # the longest chain under each job
    steps: dict[str, int] = {}
    for job in reversed(jobs):  # children before parents
        steps[job.id] = job.steps + below.get(job.id, 0)
        for above in job.needs:
            below[above] = max(below.get(above, 0), steps[job.id])
    return steps


def maker(subject: Subject) -> str:
    """The id of the job that makes a subject's weights."""
    kind = "merge" if isinstance(subject, Merge) else "train" if subject.chain else "prepare"
    return f"{kind}-{subject.id}"
