"""The cores of this machine: how many threads each stage computes with, and which jobs run side by side.

Another number of threads adds up in another order, so a stage's last bits depend on it. It is therefore decided by the
whole plan, done or not, and not by what happens to run: a launch that continues a sweep gives what the first one gave.
A stage that was begun ends with the threads that it began with.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sft_sweeps.config.cluster_schema import ClusterConfig, least_threads
from sft_sweeps.execution import AnswerExecution, TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import resume_states
from sft_sweeps.store.store import Store

# Of a model, below which a second thread costs as much as it gives: measured at 16 examples a step.
THREADED_WEIGHTS = 1_000_000


@dataclass(frozen=True)
class Capacity:
    """What runs at the same time: so many processes, on so many cores. A job that needs more runs alone."""

    processes: int
    cores: int

    def fits(self, job: Job, running: Collection[Job]) -> bool:
        """Whether the job can start beside those that run."""
        jobs = (*running, job)
        within = sum(one.width for one in jobs) <= self.processes and sum(map(cores_of, jobs)) <= self.cores
        return within or not running


def capacity(cluster: ClusterConfig) -> Capacity:
    """As configured, or what the cores carry, but at least one job's."""
    threads, here = least_threads(cluster), cores_here()
    processes = cluster.jobs * cluster.processes or max(cluster.processes, here // threads)
    return Capacity(processes, max(here, processes * threads))


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of(job: Job) -> int:
    """The cores that a job computes on."""
    threads = job.execution.threads if isinstance(job.execution, TrainExecution | AnswerExecution) else 1
    return job.width * threads


def with_threads(jobs: Sequence[Job], plan: Plan, store: Store, cluster: ClusterConfig) -> list[Job]:
    """The jobs, each that trains a stage with its threads."""
    most = capacity(cluster).processes // cluster.processes
    each = cores_here() // (max(1, min(most, at_once(plan.stages))) * cluster.processes)
    return [_with_threads(job, each, store, cluster) for job in jobs]


def at_once(stages: Sequence[Stage]) -> int:
    """The most stages of a plan that can run at the same time: one in each branch, so as many as have no child."""
    parents = {stage.parent.id for stage in stages}
    return sum(stage.id not in parents for stage in stages)


def _with_threads(job: Job, each: int, store: Store, cluster: ClusterConfig) -> Job:
    if not job.stage or not isinstance(job.execution, TrainExecution):
        return job
    threads = cluster.threads or (max(1, each) if _gains(job.stage) else 1)
    state = resume_states.newest(store.folder(job.stage))
    if state and state.processes == job.processes:
        # One that was saved before states named them was begun with what was the default then.
        threads = state.threads or cluster.threads or 1
    return replace(job, execution=replace(job.execution, threads=threads))


def _gains(stage: Stage) -> bool:
    return not stage.model.gpus and cost.parameters(stage.model.shape) >= THREADED_WEIGHTS
