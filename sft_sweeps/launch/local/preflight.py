"""What this machine lacks to run the jobs itself. A cluster's nodes are not looked at here: their jobs say it."""

import sys
from collections.abc import Iterator, Sequence

from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.execution import AnswerExecution, Isolation
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.gpus import gpus_here
from sft_sweeps.plan.engines import ENGINES
from sft_sweeps.sandbox import layers


def problems(jobs: Sequence[Job]) -> Iterator[str]:
    """Everything that is missing here, each text with what to type."""
    yield from _too_few_gpus(jobs)
    yield from _sandbox(jobs)
    yield from _engines(jobs)


def _too_few_gpus(jobs: Sequence[Job]) -> Iterator[str]:
    available = gpus_here()
    needed = {job.subject.model.name: job.gpus if job.stage else job.subject.model.gpus for job in jobs}
    for name, gpus in needed.items():
        if gpus > available:
            yield (
                f"model={name} needs {gpus} GPUs, this machine has {available or 'none'}. Launch on a cluster's login "
                "node with cluster=slurm, see what it would cost with action=plan, or run the miniature: model=mini"
            )


def _sandbox(jobs: Sequence[Job]) -> Iterator[str]:
    """Why programs that models write cannot be isolated here."""
    if not any(definition_of(g.benchmark).runs_code for job in jobs for g in job.generations):
        return
    for isolation in {job.execution for job in jobs if job.kind == "score" and isinstance(job.execution, Isolation)}:
        try:
            layers.check(isolation)
        except RunError as error:
            yield str(error)


def _engines(jobs: Sequence[Job]) -> Iterator[str]:
    """Why an engine with an environment of its own cannot answer: it is absent, or has another version than planned."""
    answering = [(job, job.execution.engine_python) for job in jobs if isinstance(job.execution, AnswerExecution)]
    for engine, python in {(g.engine, python) for job, python in answering for g in job.generations}:
        backend = ENGINES.get(engine.backend)
        if not backend.own_python:
            continue
        try:
            version = backend.version(python)
        except RequestError as error:
            yield str(error)
            continue
        if (major := version.partition(".")[0]) != engine.version:
            yield (
                f"evaluate.engine_version={engine.version}: {python or sys.executable} has {backend.title} {version}; "
                f"type evaluate.engine_version={major}"
            )
