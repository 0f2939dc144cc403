"""From a plan and the store's states to the jobs that are missing.

A job is what a local process or Slurm runs: encode the sources of a sweep, prepare a base model, train a stage,
generate a subject's missing answers to all benchmarks with one load of its weights, or score them, which needs neither
weights nor a GPU (where a judge grades them: a network). Every job has at most one parent job, so the jobs are a
forest; what encodes is above all that needs it. A job is frozen as a JSON file that says everything its worker needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sft_sweeps.execution import Execution, Tracking
from sft_sweeps.plan.build import Plan, State, Subject, score_of
from sft_sweeps.spec import Generation, Model, Source, Stage
from sft_sweeps.store.store import Store

NOT_TRACKED = Tracking()
PROGRESS = "progress.json"  # in the folder of a job's claim, for who watches: {"what", "done", "of"}
Stop = Callable[[], bool]  # whether a job was asked to stop
Kind = Literal["encode", "prepare", "train", "generate", "score", "judge"]


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

    kind: Kind
    root: str
    subject: Stage | Model
    execution: Execution
    generations: tuple[Generation, ...] = ()
    parent: str = ""
    read_from: tuple[str, ...] = ()
    tracking: Tracking = NOT_TRACKED
    encodings: tuple[Encoding, ...] = ()

    @property
    def id(self) -> str:
        """Unique within a sweep, readable."""
        return f"{self.kind}-{self.subject.id}"

    @property
    def processes(self) -> int:
        return self.execution.processes if self.kind == "train" else 1

    @property
    def width(self) -> int:
        """Processes that compute at the same time; replicas on GPUs have those to themselves and count as one."""
        apart = self.kind == "generate" and not self.gpus
        return max(1, self.execution.replicas) if apart else self.processes

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
        return self.kind in ("prepare", "train")

    @property
    def releases(self) -> tuple[str, ...]:
        """Ids of the stages that may be needed no more once this job is done."""
        return (self.subject.id, self.subject.parent.id) if isinstance(self.subject, Stage) else (self.subject.id,)

    @property
    def gpus(self) -> int:
        """What the work needs here: neither encoding nor preparing nor scoring needs one."""
        if self.kind in ("encode", "prepare", "score", "judge"):
            return 0
        return (self.subject.model if isinstance(self.subject, Stage) else self.subject).gpus

    @property
    def steps(self) -> int:
        """Length of the work in optimizer steps; other work counts as one."""
        return self.subject.steps if self.kind == "train" and isinstance(self.subject, Stage) else 1


def claim_folder(job: Job, folder: Path) -> Path:
    """Where a job's claim lies: the folder of its subject, or one in it for those that only read the model."""
    return folder if job.makes_model else folder / job.kind


def missing(
    plan: Plan, states: Mapping[str, State], root: str, execution: Execution, read_from: Sequence[str] = ()
) -> list[Job]:
    """Everything of the plan that is not done, as jobs, parents first."""
    others = tuple(read_from)
    lacking = _lacking(plan, states)
    to_make = _to_make(plan, states, lacking)
    jobs: list[Job] = []
    makers: dict[str, str] = {}  # subject id -> the job that makes it
    for subject in plan.subjects:
        above = makers.get(subject.parent.id, "") if isinstance(subject, Stage) else ""
        if subject.id in to_make:
            kind: Kind = "train" if isinstance(subject, Stage) else "prepare"
            jobs.append(Job(kind, root, subject, _on(execution, subject), (), above, others))
            makers[subject.id] = jobs[-1].id
    for subject in plan.subjects:
        if generations := lacking.get(subject.id):
            above, unanswered = "", tuple(g for g in generations if states[g.id].state != "done")
            if unanswered:
                jobs.append(Job("generate", root, subject, execution, unanswered, makers.get(subject.id, ""), others))
                above = jobs[-1].id
            of: tuple[tuple[Kind, bool], ...] = (("score", False), ("judge", True))  # only judges need a network
            for kind, judged in of:
                wanted = tuple(g for g in generations if (g.benchmark.judge is not None) == judged)
                if wanted:
                    jobs.append(Job(kind, root, subject, execution, wanted, above, others))
    return jobs


def _on(execution: Execution, subject: Subject) -> Execution:
    """One process for each GPU that the model asks for."""
    model = subject.model if isinstance(subject, Stage) else subject
    return replace(execution, processes=max(model.gpus, execution.processes))


def _lacking(plan: Plan, states: Mapping[str, State]) -> dict[str, list[Generation]]:
    """By subject, the generations whose scores are not done."""
    found: dict[str, list[Generation]] = {}
    for generation in plan.generations:
        if states[score_of(generation).id].state != "done":
            found.setdefault(generation.subject.id, []).append(generation)
    return found


def _to_make(plan: Plan, states: Mapping[str, State], lacking: Mapping[str, list[Generation]]) -> set[str]:
    """Subjects that must be made: those without a record, and those whose purged weights something still needs.

    A score that is made from a kept generation needs no weights.
    """
    make: set[str] = set()
    needed = {key for key, found in lacking.items() if any(states[g.id].state != "done" for g in found)}
    for stage in reversed(plan.stages):
        state = states[stage.id].state
        if state != "done" and (state != "weights gone" or stage.id in needed):
            make.add(stage.id)
            needed.add(stage.parent.id)
    for model in plan.models:
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
    made = Job(
        "encode", first.root, encodings[0].model, first.execution, read_from=first.read_from, encodings=encodings
    )
    return [made, *(replace(job, parent=made.id) if job.id in waiting else job for job in jobs)]


def urgency(jobs: list[Job]) -> dict[str, int]:
    """Steps on the longest chain that starts with each job, so that long chains start first."""
    below: dict[str, int] = {}
    found: dict[str, int] = {}
    for job in reversed(jobs):  # children before parents
        found[job.id] = job.steps + below.get(job.id, 0)
        below[job.parent] = max(below.get(job.parent, 0), found[job.id])
    return found


def maker(subject: Subject) -> str:
    """The id of the job that makes a subject's weights."""
    return f"{'train' if isinstance(subject, Stage) else 'prepare'}-{subject.id}"
